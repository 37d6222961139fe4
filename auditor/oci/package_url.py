"""Package URLs: `pkg:deb/debian/openssl@3.0.11-1~deb12u2?arch=amd64&upstream=...`.

ECMA-427, "Package-URL specification"; the qualifiers of a type: package-url/purl-spec,
types-doc/.
"""

from __future__ import annotations

from urllib.parse import unquote

from auditor.fast_dataclass import dataclass

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
