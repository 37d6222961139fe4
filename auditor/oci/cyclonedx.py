"""CycloneDX documents as JSON, 1.2 to 1.7 (ECMA-424).

A package is a component; components can have components of their own. Files, devices,
models and data are components, too, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from auditor.oci.sbom_packages import PackageCollector, known
from auditor.oci.strict_json import string_or_none

# "component", property "type".
_NO_PACKAGES = frozenset(
    {"cryptographic-asset", "data", "device", "file", "machine-learning-model"}
)
# Properties of Trivy: the source package of a binary one.
_SOURCE = "aquasecurity:trivy:SrcName"
_SOURCE_VERSION = "aquasecurity:trivy:SrcVersion"


def is_cyclonedx(document: Mapping[str, Any]) -> bool:
    """Whether it is CycloneDX as JSON: "bomFormat" is required since 1.2."""
    return document.get("bomFormat") == "CycloneDX"


def read_cyclonedx(document: Mapping[str, Any], packages: PackageCollector) -> None:
    """Collect the packages of a document."""
    for component in _components(document):
        if component.get("type") in _NO_PACKAGES:
            continue
        source, source_version = _source(component.get("properties"))
        packages.add(
            name=component.get("name"),
            group=component.get("group"),
            version=component.get("version"),
            purl=component.get("purl"),
            license_name=_license(component.get("licenses")),
            source=source,
            source_version=source_version,
        )


def _components(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The components, each before those inside it."""
    waiting = [document.get("components")]
    while waiting:
        listed = waiting.pop()
        if not isinstance(listed, list):
            continue
        for component in listed:
            if isinstance(component, dict):
                yield component
                waiting.append(component.get("components"))


def _license(licenses: object) -> str | None:
    """The expression, or the names of the licences, all of which apply."""
    names = []
    for entry in licenses if isinstance(licenses, list) else ():
        if not isinstance(entry, dict):
            continue
        expression = string_or_none(entry.get("expression"))
        if expression is not None:
            return expression
        named = entry.get("license")
        if isinstance(named, dict):
            name = known(named.get("id")) or known(named.get("name"))
            names += [] if name is None else [name]
    return " AND ".join(dict.fromkeys(names)) or None


def _source(properties: object) -> tuple[str | None, str | None]:
    found: dict[object, str | None] = {}
    for entry in properties if isinstance(properties, list) else ():
        if isinstance(entry, dict) and entry.get("name") in {_SOURCE, _SOURCE_VERSION}:
            found[entry["name"]] = known(entry.get("value"))
    return found.get(_SOURCE), found.get(_SOURCE_VERSION)
