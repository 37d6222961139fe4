"""Manifests of all kinds: parsed and, when they come from a registry, verified.

Sources: OCI image-spec v1.1 (manifest.md, image-index.md), distribution manifest v2
schema 2. Schema 1 is in `schema1.py`.

A response is verified in the order that is safe: size (while it is read), digest,
parsing. Requested by digest, other content is an error. Requested by tag, the
`Docker-Content-Digest` header is advisory (distribution-spec, "Pulling manifests"): it
can be absent or wrong, and the digest is that of the content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.model import Warn, WarningCode
from auditor.oci.descriptor import (
    DEFAULTED_CONFIG_TYPES,
    DOCKER_MANIFEST,
    IMAGE_CONFIG_TYPES,
    IMAGE_TYPES,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1,
    SCHEMA1_TYPES,
    SIGNED_SCHEMA1,
    Descriptor,
    check_digest,
    essence,
    is_digest,
    matches_digest,
    parse_annotations,
    parse_descriptor,
    parse_descriptors,
    sha256_digest,
)
from auditor.oci.schema1 import Schema1Manifest, parse_schema1
from auditor.oci.strict_json import check_key_case, name_or_none, parse_json_object


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """An OCI index or a Docker manifest list."""

    media_type: str
    children: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str | None
    subject: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """An OCI manifest or a Docker manifest v2. Layers are base first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str | None
    subject: str | None

    @property
    def has_image_config(self) -> bool:
        """Whether the config is that of an image, not of an artifact."""
        return _is_image_config(self.config.media_type, self.media_type)


Manifest = ImageIndex | ImageManifest | Schema1Manifest

_SUPPORTED_TYPES = INDEX_TYPES | IMAGE_TYPES


def parse_manifest(raw: bytes, content_type: str | None) -> Manifest:
    """Parse a manifest.

    `content_type` is the value of the header; the document's `mediaType` overrides it.
    Raises `ProtocolError` with `PROTOCOL_VIOLATION`, `AMBIGUOUS_DOCUMENT` (both an
    index and an image, CVE-2021-41190; duplicate keys, or keys in two cases) or
    `UNSUPPORTED_MEDIA_TYPE`.
    """
    header_type = essence(content_type)
    first = raw.lstrip()[:1]
    if first == b"<" or (header_type == "text/html" and first != b"{"):
        raise ProtocolError("the registry returned an HTML page, not a manifest")
    document = parse_json_object(raw, "manifest")
    check_key_case((document,), "manifest")
    _refuse_two_kinds(document)
    media_type = _media_type(document, header_type)
    if media_type in INDEX_TYPES:
        return _index(document, media_type)
    if media_type in IMAGE_TYPES:
        return _image(document, media_type)
    return parse_schema1(raw, document)


def _refuse_two_kinds(document: Mapping[str, Any]) -> None:
    if document.get("manifests") is None and document.get("fsLayers") is None:
        return  # most documents
    kinds = [
        present[0]
        for keys in (("manifests",), ("layers", "config"), ("fsLayers",))
        if (present := [key for key in keys if document.get(key) is not None])
    ]
    if len(kinds) > 1:
        raise ProtocolError(
            f'the manifest has both "{kinds[0]}" and "{kinds[1]}"',
            FailureKind.AMBIGUOUS_DOCUMENT,
        )


def _media_type(document: Mapping[str, Any], header_type: str | None) -> str:
    """The type in the document, else in the header, else the one that fits its keys."""
    declared = document.get("mediaType")
    if declared is not None and not isinstance(declared, str):
        raise ProtocolError("the manifest's mediaType is not a string")
    version = document.get("schemaVersion")
    # Other manifests need no schemaVersion: those of OCI 1.1 release candidates
    # (artifact.md) and of ORAS have none.
    named = declared if declared or not header_type else _vendor_type(header_type)
    if version != 1 and named and named not in MANIFEST_TYPES:
        raise ProtocolError(
            f"manifests of type {_short(named)} are not supported",
            FailureKind.UNSUPPORTED_MEDIA_TYPE,
        )
    if version is None:
        raise ProtocolError("the document is not a manifest: it has no schemaVersion")
    if type(version) is not int or version not in {1, 2}:
        raise ProtocolError(
            f"the document is not a manifest: its schemaVersion is {_short(version)}"
        )
    if version == 1:
        if declared and declared not in SCHEMA1_TYPES:
            raise ProtocolError(
                f"the manifest's mediaType is {_short(declared)}, but its schemaVersion"
                " is 1",
                FailureKind.AMBIGUOUS_DOCUMENT,
            )
        return SIGNED_SCHEMA1
    if declared:
        if declared not in _SUPPORTED_TYPES:
            raise ProtocolError(
                f"manifests of type {_short(declared)} are not supported",
                FailureKind.UNSUPPORTED_MEDIA_TYPE,
            )
        media_type = declared
    elif header_type in _SUPPORTED_TYPES:
        media_type = header_type
    elif "manifests" in document:
        media_type = OCI_INDEX
    else:
        media_type = OCI_MANIFEST
    if (media_type in INDEX_TYPES) != ("manifests" in document):
        raise ProtocolError(
            f"the manifest's type is {media_type}, but its keys are of another type",
            FailureKind.AMBIGUOUS_DOCUMENT
            if "manifests" in document or "config" in document
            else FailureKind.PROTOCOL_VIOLATION,
        )
    return media_type


def _vendor_type(header_type: str) -> str | None:
    """The type in a header if it is one of a format, not just JSON."""
    return header_type if header_type.startswith("application/vnd.") else None


def _index(document: Mapping[str, Any], media_type: str) -> ImageIndex:
    children = _list(document.get("manifests"), "manifests")
    return ImageIndex(
        media_type=media_type,
        children=parse_descriptors(children, "manifests"),
        annotations=parse_annotations(document.get("annotations")),
        artifact_type=name_or_none(document.get("artifactType")),
        subject=_subject(document),
    )


def _image(document: Mapping[str, Any], media_type: str) -> ImageManifest:
    layers = _list(document.get("layers"), "layers")
    config = parse_descriptor(document.get("config"), "config")
    artifact_type = name_or_none(document.get("artifactType"))
    if artifact_type is None and not _is_image_config(config.media_type, media_type):
        # image-spec manifest.md, "Guidelines for Artifact Usage": without artifactType
        # the media type of the config is the type of the artifact.
        artifact_type = config.media_type
    return ImageManifest(
        media_type=media_type,
        config=config,
        layers=parse_descriptors(layers, "layers"),
        annotations=parse_annotations(document.get("annotations")),
        artifact_type=artifact_type,
        subject=_subject(document),
    )


def _is_image_config(config_type: str | None, manifest_type: str) -> bool:
    if manifest_type == DOCKER_MANIFEST and (
        config_type is None or config_type in DEFAULTED_CONFIG_TYPES
    ):
        return True
    return config_type in IMAGE_CONFIG_TYPES


def _subject(document: Mapping[str, Any]) -> str | None:
    subject = document.get("subject")
    return None if subject is None else parse_descriptor(subject, "subject").digest


def _list(value: object, where: str) -> list[Any]:
    # Go serialises an empty list as null.
    if value is None:
        return []
    if not isinstance(value, list):
        raise ProtocolError(f'the manifest\'s "{where}" is not a list')
    return value


def _short(value: object) -> str:
    return ascii(value)[:80]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedManifest:
    """A manifest with a computed or checked digest. `size` is bytes on the wire."""

    digest: str
    media_type: str
    size: int
    manifest: Manifest
    warnings: tuple[Warn, ...]

    @property
    def content_size(self) -> int:
        """The bytes of what has the digest: of schema 1, without its signatures."""
        if isinstance(self.manifest, Schema1Manifest):
            return len(self.manifest.payload)
        return self.size


def verify_manifest(
    raw: bytes,
    *,
    content_type: str | None,
    header_digest: str | None,
    requested_digest: str | None,
    parse: Callable[[bytes, str | None], Manifest] = parse_manifest,
) -> VerifiedManifest:
    """Verify and parse a manifest response, requested by tag or `requested_digest`.

    `parse` is `parse_manifest` or a caching version of it. Raises `ProtocolError`, with
    `DIGEST_MISMATCH` if the content does not have the requested digest.
    """
    # The digest of a signed schema 1 manifest excludes the signatures, which can differ
    # between two fetches: only its payload can be checked.
    may_be_signed = b'"signatures"' in raw
    if requested_digest is not None and not may_be_signed:
        check_digest(raw, requested_digest, "manifest")
    manifest = parse(raw, content_type)
    content, signature_warnings = raw, []
    if isinstance(manifest, Schema1Manifest):
        content, signature_warnings = manifest.payload, _signature_warnings(manifest)
        signed = manifest.signed
        media_type = SIGNED_SCHEMA1 if signed else SCHEMA1
    else:
        media_type = manifest.media_type
    if requested_digest is not None:
        if may_be_signed:
            check_digest(content, requested_digest, "manifest")
        digest = requested_digest
        warnings = signature_warnings
    else:
        digest = sha256_digest(content)
        warnings = _header_warnings(content, digest, header_digest) + signature_warnings
    header_type = essence(content_type)
    if header_type in MANIFEST_TYPES and header_type != media_type:
        detail = f"Content-Type is {header_type}, the manifest is {media_type}"
        warnings.append(Warn(code=WarningCode.MEDIA_TYPE_DIFFERS, detail=detail))
    return VerifiedManifest(
        digest=digest,
        media_type=media_type,
        size=len(raw),
        manifest=manifest,
        warnings=tuple(warnings),
    )


def _header_warnings(content: bytes, digest: str, header: str | None) -> list[Warn]:
    if not header:
        detail = "the response has no Docker-Content-Digest"
        return [Warn(code=WarningCode.NO_DIGEST_HEADER, detail=detail)]
    header = header.strip()
    if header == digest or "sha256:" + header == digest:
        return []
    if is_digest(header) and matches_digest(content, header):
        return []
    shown = header if is_digest(header) else "not a digest"
    detail = f"Docker-Content-Digest is {shown}, the content is {digest}"
    return [Warn(code=WarningCode.DIGEST_HEADER_DIFFERS, detail=detail)]


def _signature_warnings(manifest: Schema1Manifest) -> list[Warn]:
    return [
        Warn(
            code=WarningCode.SIGNATURE_INVALID,
            detail=f"signature {number}: {check.reason}",
        )
        for number, check in enumerate(manifest.signatures, 1)
        if not check.valid
    ]
