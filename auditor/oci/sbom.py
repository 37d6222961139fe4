"""SBOMs: what format a document has, and the packages that it lists.

    parse_sbom(raw)    bytes -> envelope? -> in-toto statement? -> SPDX, CycloneDX, syft

The content decides, not the media type. An SBOM can be the document itself, the
predicate of an in-toto statement (BuildKit's attestation-storage.md), or that in a DSSE
envelope, by itself (cosign specs/ATTESTATION_SPEC.md) or in a sigstore bundle
(protobuf-specs, sigstore_bundle.proto). Signatures of envelopes are not verified here.

CycloneDX as XML is not read: its documents are nearly always JSON, and Python's parser
of XML is not made for hostile input.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.cyclonedx import is_cyclonedx, read_cyclonedx
from auditor.oci.descriptor import is_digest
from auditor.oci.sbom_packages import PackageCollector, SbomPackage
from auditor.oci.spdx import (
    is_spdx,
    is_spdx3,
    is_tag_value,
    read_spdx,
    read_spdx3,
    read_tag_value,
    spdx_version,
)
from auditor.oci.strict_json import duplicate_key, name_or_none, string_or_none
from auditor.util.text import safe_text

# SBOMs with every file of an image reach some tens of MB.
MAX_SBOM_BYTES = 32 * 1024 * 1024
# A bundle has an envelope, that a statement, and that a predicate with `Data`.
_MAX_LEVELS = 6
# Statements name the image, and sometimes its platforms.
MAX_SUBJECTS = 100
_STATEMENT = "https://in-toto.io/Statement/"
# Predicates of SBOMs: https://spdx.dev/Document, https://cyclonedx.org/bom,
# https://syft.dev/bom.
_PREDICATES = ("spdx", "cyclonedx", "syft")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sbom:
    """What an SBOM says.

    `format` is spdx, cyclonedx or syft, `format_version` that of the format. `subjects`
    are the digests of the in-toto statement that it is in. `warnings` are sentences.
    """

    format: str
    format_version: str | None
    subjects: tuple[str, ...]
    packages: tuple[SbomPackage, ...]
    packages_left_out: int
    warnings: tuple[str, ...]


def parse_sbom(raw: bytes) -> Sbom | None:
    """Read a document; None if it is an in-toto statement about something else.

    Raises `ProtocolError` for a document that is not an SBOM, or cannot be read.
    """
    reader = _Reader()
    return reader.read_text(raw, _MAX_LEVELS)


class _Reader:
    """Reads one document, level by level."""

    def __init__(self) -> None:
        self._packages = PackageCollector()
        self._subjects: tuple[str, ...] = ()
        self._warnings: list[str] = []

    def read_text(self, raw: bytes, levels: int) -> Sbom | None:
        if is_tag_value(raw):
            version = read_tag_value(raw, self._packages)
            return self._sbom("spdx", version)
        start = raw[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
        if start.startswith(b"<"):
            raise ProtocolError("the SBOM is XML, which is not read; attach JSON")
        return self._read_value(self._load(raw), levels)

    def _load(self, raw: bytes) -> object:
        raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            document = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise ProtocolError(
                f"the SBOM is not JSON: {error.msg} at character {error.pos}"
            ) from None
        repeated = duplicate_key(raw, document)
        if repeated is not None:
            self._warnings.append(
                f'the key "{safe_text(repeated, 60)}" is there twice in one object; the'
                " last one counts"
            )
        return document

    def _read_value(self, value: object, levels: int) -> Sbom | None:
        if levels == 0:
            raise ProtocolError("the SBOM is in too many envelopes")
        if not isinstance(value, dict):
            raise ProtocolError("the SBOM is JSON but not an object")
        if "payload" in value and "payloadType" in value:
            return self.read_text(_payload(value), levels - 1)
        if isinstance(envelope := value.get("dsseEnvelope"), dict):
            return self._read_value(envelope, levels - 1)
        if str(value.get("_type")).startswith(_STATEMENT):
            return self._read_statement(value, levels)
        return self._read_document(value)

    def _read_statement(self, statement: dict[str, Any], levels: int) -> Sbom | None:
        predicate_type = string_or_none(statement.get("predicateType")) or ""
        if not any(word in predicate_type.lower() for word in _PREDICATES):
            return None
        self._subjects = _digests(statement.get("subject"))
        predicate = statement.get("predicate")
        if isinstance(predicate, dict) and set(predicate) <= {"Data", "Timestamp"}:
            predicate = predicate.get("Data")  # cosign before 2.0
        if isinstance(predicate, str):  # SPDX as tag-value, or JSON in a string
            return self.read_text(predicate.encode("utf-8", "replace"), levels - 1)
        return self._read_value(predicate, levels - 1)

    def _read_document(self, document: Mapping[str, Any]) -> Sbom:
        if is_cyclonedx(document):
            read_cyclonedx(document, self._packages)
            return self._sbom("cyclonedx", document.get("specVersion"))
        if is_spdx(document):
            read_spdx(document, self._packages)
            return self._sbom("spdx", spdx_version(document.get("spdxVersion")))
        if is_spdx3(document):
            return self._sbom("spdx", read_spdx3(document, self._packages))
        if _is_syft(document):
            _read_syft(document, self._packages)
            schema = document.get("schema")
            version = schema.get("version") if isinstance(schema, dict) else None
            return self._sbom("syft", version)
        raise ProtocolError("the document is neither SPDX nor CycloneDX nor syft's")

    def _sbom(self, name: str, version: object) -> Sbom:
        packages = self._packages
        if packages.nameless:
            self._warnings.append(f"{packages.nameless} entries have no name")
        return Sbom(
            format=name,
            format_version=name_or_none(version),
            subjects=self._subjects,
            packages=packages.packages,
            packages_left_out=packages.left_out,
            warnings=tuple(self._warnings),
        )


def _payload(envelope: Mapping[str, Any]) -> bytes:
    """The payload of a DSSE envelope: base64, standard or URL-safe (DSSE protocol)."""
    text = envelope["payload"]
    if not isinstance(text, str):
        raise ProtocolError("the payload of the envelope is not a text")
    standard = "".join(text.split()).translate(_URL_SAFE)
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("the payload of the envelope is not base64") from None


_URL_SAFE = str.maketrans("-_", "+/")


def _digests(subjects: object) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for entry in subjects if isinstance(subjects, list) else ():
        digests = entry.get("digest") if isinstance(entry, dict) else None
        for algorithm, digits in digests.items() if isinstance(digests, dict) else ():
            digest = f"{algorithm}:{digits}"
            if is_digest(digest) and len(found) < MAX_SUBJECTS:
                found[digest] = None
    return tuple(found)


def _is_syft(document: Mapping[str, Any]) -> bool:
    descriptor = document.get("descriptor")
    name = descriptor.get("name") if isinstance(descriptor, dict) else None
    return name == "syft" and "artifacts" in document


def _read_syft(document: Mapping[str, Any], packages: PackageCollector) -> None:
    """Collect the packages of syft's own JSON: "artifacts" of its schema."""
    listed = document["artifacts"]
    for entry in listed if isinstance(listed, list) else ():
        if not isinstance(entry, dict):
            continue
        packages.add(
            name=entry.get("name"),
            version=entry.get("version"),
            purl=entry.get("purl"),
            license_name=_syft_license(entry.get("licenses")),
        )


def _syft_license(licenses: object) -> str | None:
    names = []
    for entry in licenses if isinstance(licenses, list) else ():
        value = entry.get("value") if isinstance(entry, dict) else entry
        if isinstance(value, str) and value:
            names.append(value)
    return " AND ".join(dict.fromkeys(names)) or None
