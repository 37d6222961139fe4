"""The packages of an SBOM, and package URLs: what is kept of each, in all formats.

A package has its full name: with its group or owner where the name alone is ambiguous,
as `org.apache.logging.log4j:log4j-core` (Maven) or `@angular/core` (npm), and without
the distribution of a Debian package.

A package URL is `pkg:deb/debian/openssl@3.0.11-1~deb12u2?arch=amd64&upstream=...`:
ECMA-427, "Package-URL specification"; the qualifiers of a type: package-url/purl-spec,
types-doc/.
"""

from __future__ import annotations

from urllib.parse import unquote

import orjson

from auditor.fast_dataclass import dataclass
from auditor.oci.strict_json import name_or_none

# -- package URLs ----------------------------------------------------------------------

SCHEME = "pkg:"
_SOURCE_RPM = ".src.rpm"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageUrl:
    """The parts of a package URL, decoded; `type` is in small letters.

    `namespace` is an owner, a distribution or a group: `debian`, `@angular`,
    `org.apache.logging.log4j`. `epoch` is that of an RPM.
    """

    type: str
    namespace: str | None
    name: str
    version: str | None
    source: str | None = None
    source_version: str | None = None
    epoch: str | None = None


def parse_package_url(text: str) -> PackageUrl | None:
    """The package URL, or None for what is none (section "How to parse")."""
    if text[: len(SCHEME)].lower() != SCHEME:
        return None
    rest = text[len(SCHEME) :].strip("/").partition("#")[0]
    rest, _, query = rest.partition("?")
    kind, slash, path = rest.partition("/")
    folder, _, last = path.strip("/").rpartition("/")
    # The last one: the name of an npm package begins with %40, or with @ where it was
    # not encoded.
    name, at, version = last.rpartition("@")
    if not at or not name:
        name, version = last, ""
    name = unquote(name).strip()
    if not slash or not kind or not name:
        return None
    qualifiers = _qualifiers(query)
    source, source_version = _upstream(qualifiers.get("upstream", ""))
    parts = [part for part in unquote(folder).split("/") if part]
    return PackageUrl(
        type=kind.lower(),
        namespace="/".join(parts) or None,
        name=name,
        version=unquote(version) or None,
        source=source,
        source_version=source_version,
        epoch=qualifiers.get("epoch"),
    )


def _qualifiers(query: str) -> dict[str, str]:
    """The qualifiers with a value; the first of several with the same key."""
    found: dict[str, str] = {}
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if value:
            found.setdefault(key.lower(), unquote(value))
    return found


def _upstream(value: str) -> tuple[str | None, str | None]:
    """The source package of a binary one, and its version if it is another one.

    Anchore's syft writes `openssl` for `libssl3`, `gcc-12@12.2.0-14` for `libgcc-s1`,
    and the file for an RPM: `bash-5.1.8-6.el9.src.rpm`.
    """
    name, _, version = value.partition("@")
    if name.endswith(_SOURCE_RPM):
        name, version = _source_rpm(name)
    return name or None, version or None


def _source_rpm(file: str) -> tuple[str, str]:
    parts = file.removesuffix(_SOURCE_RPM).rsplit("-", 2)
    if len(parts) < 3:
        return file, ""
    return parts[0], f"{parts[1]}-{parts[2]}"


# -- packages --------------------------------------------------------------------------

# An image with a desktop has some 3,000 packages, one with a big web application some
# 10,000; SBOMs of whole build servers have more.
MAX_PACKAGES = 50_000
# Of the packages of an SBOM as JSON; a package takes some 200 bytes.
MAX_PACKAGES_BYTES = 16 * 1024 * 1024
# A longer package URL is left out; the longest seen have some 300 characters.
MAX_URL_CHARS = 1000
# Their namespace is the distribution, which is no part of the name.
DISTRIBUTION_TYPES = frozenset({"alpm", "apk", "deb", "rpm"})
# What SPDX writes where nothing is known (SPDX 2.3, clauses 7.5, 7.13 and 7.15).
_UNKNOWN = frozenset({"NOASSERTION", "NONE"})


@dataclass(frozen=True, kw_only=True)
class SbomPackage:
    """A package that an SBOM lists; what it does not say is None."""

    name: str
    version: str | None
    type: str | None
    purl: str | None
    license: str | None
    source: str | None
    source_version: str | None


class PackageCollector:
    """Collects the distinct packages of one SBOM, up to the limits.

    `left_out` counts those above the limits, `nameless` entries without a name.
    """

    def __init__(self) -> None:
        self._found: dict[SbomPackage, None] = {}
        self._size = 0
        self.left_out = 0
        self.nameless = 0

    @property
    def packages(self) -> tuple[SbomPackage, ...]:
        """What was collected, by name, version and type."""
        return tuple(sorted(self._found, key=_order))

    def add(
        self,
        *,
        name: object,
        group: object = None,
        version: object = None,
        purl: object = None,
        license_name: str | None = None,
        source: object = None,
        source_version: object = None,
    ) -> None:
        """Add an entry of the document; values of wrong types count as missing."""
        url_text = name_or_none(purl)
        url = parse_package_url(url_text) if url_text is not None else None
        full_name = name_or_none(_full_name(url, known(name), known(group)))
        if full_name is None:
            self.nameless += 1
            return
        is_kept = url is not None and url_text is not None
        if url_text is not None and len(url_text) > MAX_URL_CHARS:
            is_kept = False
        package = SbomPackage(
            name=full_name,
            version=_version(url, known(version)),
            type=None if url is None else name_or_none(url.type),
            purl=url_text if is_kept else None,
            license=name_or_none(license_name),
            source=name_or_none(known(source) or (url and url.source)),
            source_version=name_or_none(
                known(source_version) or (url and url.source_version)
            ),
        )
        if package in self._found:
            return
        self._size += len(orjson.dumps(package)) + 1
        if len(self._found) >= MAX_PACKAGES or self._size > MAX_PACKAGES_BYTES:
            self.left_out += 1
            return
        self._found[package] = None


def known(value: object) -> str | None:
    """A text of an SBOM that says something."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    return None if not text or text in _UNKNOWN else text


def _order(package: SbomPackage) -> tuple[str, ...]:
    return (
        package.name,
        package.version or "",
        package.type or "",
        package.purl or "",
        package.license or "",
        package.source or "",
        package.source_version or "",
    )


def _full_name(url: PackageUrl | None, name: str | None, group: str | None) -> str:
    if url is not None and url.type in DISTRIBUTION_TYPES:
        return name or url.name
    if url is not None and url.namespace is not None:
        return f"{url.namespace}{_separator(url.type)}{url.name}"
    if group is not None and name is not None and not name.startswith(f"{group}/"):
        return f"{group}{_separator(url.type if url else None)}{name}"
    return name or (url.name if url is not None else "")


def _separator(kind: str | None) -> str:
    return ":" if kind == "maven" else "/"


def _version(url: PackageUrl | None, version: str | None) -> str | None:
    if url is None:
        return name_or_none(version)
    found = version or url.version
    is_rpm = url.type == "rpm" and found is not None and ":" not in found
    if is_rpm and url.epoch not in {None, "0"}:
        found = f"{url.epoch}:{found}"
    return name_or_none(found)
