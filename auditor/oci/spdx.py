"""SPDX documents: 2.2 and 2.3 as JSON or tag-value text, 3.0 as JSON-LD.

SPDX 2.3 (ISO/IEC 5962:2021 is 2.2.1), clause 7, "Package information", its JSON schema
and clause 6; SPDX 3.0.1, "Software" profile and its JSON-LD serialisation: `@graph` is
a list of elements. Licences of 3.0 are relationships, which are not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from auditor.oci.sbom_packages import PackageCollector, known
from auditor.oci.strict_json import string_or_none

# `SPDX-2.3`
_VERSION = re.compile(r"SPDX-([0-9]{1,3}\.[0-9]{1,3})")
_TAG_VERSION = b"SPDXVersion:"
# Written by Trivy: clause 7.12, "Source information", is free text.
_BUILT_FROM = re.compile(r"built package from: (\S{1,500}) (\S{1,500})")
_PURL_TYPES = frozenset({"purl", "packageUrl", "packageURL"})


def is_spdx(document: Mapping[str, Any]) -> bool:
    """Whether it is SPDX 2 as JSON."""
    return "spdxVersion" in document


def is_spdx3(document: Mapping[str, Any]) -> bool:
    """Whether it is SPDX 3 as JSON-LD."""
    context = document.get("@context")
    return isinstance(context, str) and "spdx" in context and "@graph" in document


def is_tag_value(raw: bytes) -> bool:
    """Whether it is SPDX 2 as tag-value text; comments may come first."""
    for line in raw[:_SNIFFED_BYTES].splitlines():
        text = line.strip()
        if text and not text.startswith(b"#"):
            return text.startswith(_TAG_VERSION)
    return False


_SNIFFED_BYTES = 4096


def spdx_version(text: object) -> str | None:
    """`2.3` of `SPDX-2.3`."""
    match = _VERSION.fullmatch(text) if isinstance(text, str) else None
    return None if match is None else match[1]


def read_spdx(document: Mapping[str, Any], packages: PackageCollector) -> None:
    """Collect the packages of an SPDX 2 document."""
    for entry in _objects(document.get("packages")):
        source, source_version = _built_from(entry.get("sourceInfo"))
        packages.add(
            name=entry.get("name"),
            version=entry.get("versionInfo"),
            purl=_purl(entry.get("externalRefs")),
            license_name=known(entry.get("licenseConcluded"))
            or known(entry.get("licenseDeclared")),
            source=source,
            source_version=source_version,
        )


def _purl(references: object) -> str | None:
    """The first package URL among the external references of a package."""
    for entry in _objects(references):
        if entry.get("referenceType") == "purl":
            return string_or_none(entry.get("referenceLocator"))
    return None


def _built_from(text: object) -> tuple[str | None, str | None]:
    match = _BUILT_FROM.match(text) if isinstance(text, str) else None
    return (None, None) if match is None else (match[1], match[2])


def read_spdx3(document: Mapping[str, Any], packages: PackageCollector) -> str | None:
    """Collect the packages of an SPDX 3 document; return its version."""
    version: str | None = None
    for element in _objects(document.get("@graph")):
        kind = element.get("type", element.get("@type"))
        if kind == "CreationInfo":
            version = version or string_or_none(element.get("specVersion"))
        if kind == "software_Package":
            packages.add(
                name=element.get("name"),
                version=element.get("software_packageVersion"),
                purl=element.get("software_packageUrl")
                or _identifier(element.get("externalIdentifier")),
            )
    return version


def _identifier(identifiers: object) -> str | None:
    for entry in _objects(identifiers):
        if entry.get("externalIdentifierType") in _PURL_TYPES:
            return string_or_none(entry.get("identifier"))
    return None


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    """The objects of a list; anything else is passed over."""
    if isinstance(value, list):
        yield from (entry for entry in value if isinstance(entry, dict))


# -- tag-value ---------------------------------------------------------------------


def read_tag_value(raw: bytes, packages: PackageCollector) -> str | None:
    """Collect the packages of a tag-value document; return its version.

    A package begins with `PackageName:` and ends where another element begins.
    """
    version: str | None = None
    entry: dict[str, str] | None = None
    for tag, value in _tags(raw.decode("utf-8", "replace")):
        match tag:
            case "SPDXVersion":
                version = version or spdx_version(value)
            case "PackageName":
                _add(entry, packages)
                entry = {tag: value}
            case "FileName" | "SnippetSPDXID" | "LicenseID" | "Relationship":
                _add(entry, packages)
                entry = None
            case "ExternalRef" if entry is not None:
                words = value.split()
                if words[1:2] == ["purl"] and len(words) > 2:
                    entry.setdefault(tag, words[2])
            case _ if entry is not None:
                entry.setdefault(tag, value)
    _add(entry, packages)
    return version


def _add(entry: Mapping[str, str] | None, packages: PackageCollector) -> None:
    if entry is None:
        return
    source, source_version = _built_from(entry.get("PackageSourceInfo"))
    packages.add(
        name=entry["PackageName"],
        version=entry.get("PackageVersion"),
        purl=entry.get("ExternalRef"),
        license_name=known(entry.get("PackageLicenseConcluded"))
        or known(entry.get("PackageLicenseDeclared")),
        source=source,
        source_version=source_version,
    )


_OPEN, _CLOSE = "<text>", "</text>"


def _tags(text: str) -> Iterator[tuple[str, str]]:
    """The tags and values; a value in `<text>` may have several lines."""
    lines = iter(text.split("\n"))
    for line in lines:
        if line.startswith("#"):
            continue
        tag, colon, value = line.partition(":")
        value = value.strip()
        if not colon:
            continue
        if value.startswith(_OPEN):
            value = _long_text(value.removeprefix(_OPEN), lines)
        yield tag.strip(), value


def _long_text(first: str, lines: Iterable[str]) -> str:
    if _CLOSE in first:
        return first.partition(_CLOSE)[0]
    parts = [first]
    for line in lines:
        before, close, _ = line.partition(_CLOSE)
        parts.append(before)
        if close:
            break
    return "\n".join(parts)
