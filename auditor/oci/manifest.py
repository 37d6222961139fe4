"""Manifests of every kind, from raw bytes to values.

Sources: OCI image-spec v1.1 (manifest.md, image-index.md), distribution manifest v2
schema 2. Schema 1 has a module of its own, and so have descriptors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.model import Warn, WarningCode
from auditor.oci import descriptor
from auditor.oci.descriptor import (
    Descriptor,
    annotations_of,
    check_digest,
    descriptor_of,
    descriptors_of,
    matches_digest,
    sha256_digest,
    text_of,
)
from auditor.oci.encoding import check_key_case, parse_json_object
from auditor.oci.reference import is_digest
from auditor.oci.schema1 import Schema1Manifest, parse_schema1


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
    """An OCI manifest or a Docker manifest v2. Layers stand base first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str | None
    subject: str | None

    @property
    def has_image_config(self) -> bool:
        """Whether the config says os and architecture (an artifact's does not)."""
        return _is_image_config(self.config.media_type, self.media_type)


Manifest = ImageIndex | ImageManifest | Schema1Manifest

_KNOWN_TYPES = descriptor.INDEX_TYPES | descriptor.IMAGE_TYPES


def parse_manifest(raw: bytes, content_type: str | None) -> Manifest:
    """The manifest in `raw`.

    `content_type` is the header's value; the document's own `mediaType` wins over it.
    Raises `ProtocolError` with `PROTOCOL_VIOLATION`, `AMBIGUOUS_DOCUMENT` (both an
    index and an image, CVE-2021-41190; keys standing twice or in two cases) or
    `UNSUPPORTED_MEDIA_TYPE`.
    """
    said = descriptor.essence(content_type)
    first = raw.lstrip()[:1]
    if first == b"<" or (said == "text/html" and first != b"{"):
        raise ProtocolError("the registry answered with an HTML page, not a manifest")
    document = parse_json_object(raw, "manifest")
    check_key_case((document,), "manifest")
    _refuse_two_kinds(document)
    media_type = _media_type(document, said)
    if media_type in descriptor.INDEX_TYPES:
        return _index(document, media_type)
    if media_type in descriptor.IMAGE_TYPES:
        return _image(document, media_type)
    return parse_schema1(raw, document)


def _refuse_two_kinds(document: Mapping[str, Any]) -> None:
    if document.get("manifests") is None and document.get("fsLayers") is None:
        return  # an image, if anything, as most are
    kinds = [
        found[0]
        for keys in (("manifests",), ("layers", "config"), ("fsLayers",))
        if (found := [key for key in keys if document.get(key) is not None])
    ]
    if len(kinds) > 1:
        raise ProtocolError(
            f'the manifest has both "{kinds[0]}" and "{kinds[1]}"',
            FailureKind.AMBIGUOUS_DOCUMENT,
        )


def _media_type(document: Mapping[str, Any], said: str | None) -> str:
    """The document's own type, else the header's, else what its keys tell."""
    own = document.get("mediaType")
    if own is not None and not isinstance(own, str):
        raise ProtocolError("the manifest's mediaType is not a string")
    version = document.get("schemaVersion")
    if type(version) is not int or version not in {1, 2}:
        raise ProtocolError(
            f"the document is no manifest: its schemaVersion is {_short(version)}"
        )
    if version == 1:
        if own and own not in descriptor.SCHEMA1_TYPES:
            raise ProtocolError(
                f"the document says it is {_short(own)} but its schemaVersion is 1",
                FailureKind.AMBIGUOUS_DOCUMENT,
            )
        return descriptor.SIGNED_SCHEMA1
    if own:
        if own not in _KNOWN_TYPES:
            raise ProtocolError(
                f"manifests of type {_short(own)} are not known",
                FailureKind.UNSUPPORTED_MEDIA_TYPE,
            )
        expected = own
    elif said in _KNOWN_TYPES:
        expected = said
    elif "manifests" in document:
        expected = descriptor.OCI_INDEX
    else:
        expected = descriptor.OCI_MANIFEST
    wants_children = expected in descriptor.INDEX_TYPES
    if wants_children != ("manifests" in document):
        raise ProtocolError(
            f"the document says it is {expected} but its keys are of another kind",
            FailureKind.AMBIGUOUS_DOCUMENT
            if "manifests" in document or "config" in document
            else FailureKind.PROTOCOL_VIOLATION,
        )
    return expected


def _index(document: Mapping[str, Any], media_type: str) -> ImageIndex:
    children = _list(document.get("manifests"), "manifests")
    return ImageIndex(
        media_type=media_type,
        children=descriptors_of(children, "manifests"),
        annotations=annotations_of(document.get("annotations")),
        artifact_type=text_of(document.get("artifactType")),
        subject=_subject(document),
    )


def _image(document: Mapping[str, Any], media_type: str) -> ImageManifest:
    layers = _list(document.get("layers"), "layers")
    config = descriptor_of(document.get("config"), "config")
    artifact_type = text_of(document.get("artifactType"))
    if artifact_type is None and not _is_image_config(config.media_type, media_type):
        # image-spec manifest.md, "Guidelines for Artifact Usage": without an
        # artifactType the config's media type names the artifact.
        artifact_type = config.media_type
    return ImageManifest(
        media_type=media_type,
        config=config,
        layers=descriptors_of(layers, "layers"),
        annotations=annotations_of(document.get("annotations")),
        artifact_type=artifact_type,
        subject=_subject(document),
    )


def _is_image_config(config_type: str | None, manifest_type: str) -> bool:
    if manifest_type == descriptor.DOCKER_MANIFEST and (
        config_type is None or config_type in descriptor.DEFAULTED_CONFIG_TYPES
    ):
        return True
    return config_type in descriptor.IMAGE_CONFIG_TYPES


def _subject(document: Mapping[str, Any]) -> str | None:
    subject = document.get("subject")
    return None if subject is None else descriptor_of(subject, "subject").digest


def _list(value: object, where: str) -> list[Any]:
    # Go writes an empty list as null.
    if value is None:
        return []
    if not isinstance(value, list):
        raise ProtocolError(f'the manifest\'s "{where}" is not a list')
    return value


def _short(value: object) -> str:
    return ascii(value)[:80]


# -- document --
# A manifest answer, checked in the order that is safe: size, digest, then parsing.
#
# The size was capped while reading. By digest, other content is an error. By tag, the
# `Docker-Content-Digest` header is advice (distribution-spec, "Pulling manifests"):
# it can be absent or wrong, and our own hash is the digest.


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedManifest:
    """A manifest with its identity. `size` is bytes as they came."""

    digest: str
    media_type: str
    size: int
    manifest: Manifest
    warnings: tuple[Warn, ...]


def verify_manifest(
    raw: bytes,
    *,
    content_type: str | None,
    header_digest: str | None,
    asked_digest: str | None,
    parse: Callable[[bytes, str | None], Manifest] = parse_manifest,
) -> VerifiedManifest:
    """The manifest in `raw`, which was asked for by tag or by `asked_digest`.

    `parse` is what parses it: `parse_manifest`, or what remembers its results.

    Raises `ProtocolError`, with `DIGEST_MISMATCH` when the content is not what the
    digest names.
    """
    matches = asked_digest is None or matches_digest(raw, asked_digest)
    if asked_digest is not None and not matches and not _may_be_signed(raw):
        check_digest(raw, asked_digest, "manifest")
    manifest = parse(raw, content_type)
    signed = isinstance(manifest, Schema1Manifest) and manifest.signed
    # The digest of a signed schema 1 manifest leaves the signatures out; the bytes
    # may differ with every fetch.
    content = (
        manifest.payload if isinstance(manifest, Schema1Manifest) and signed else raw
    )
    if asked_digest is not None:
        if not matches or (signed and _may_be_signed(raw)):
            check_digest(content, asked_digest, "manifest")
        digest = asked_digest
        warnings = []
    else:
        digest = sha256_digest(content)
        warnings = _header_warnings(content, digest, header_digest)
    if isinstance(manifest, Schema1Manifest):
        media_type = descriptor.SIGNED_SCHEMA1 if signed else descriptor.SCHEMA1
        warnings += _signature_warnings(manifest)
    else:
        media_type = manifest.media_type
    said = descriptor.essence(content_type)
    if said in descriptor.MANIFEST_TYPES and said != media_type:
        warnings.append(
            Warn(
                code=WarningCode.MEDIA_TYPE_DIFFERS,
                detail=f"Content-Type says {said}, the document {media_type}",
            )
        )
    return VerifiedManifest(
        digest=digest,
        media_type=media_type,
        size=len(raw),
        manifest=manifest,
        warnings=tuple(warnings),
    )


def _may_be_signed(raw: bytes) -> bool:
    return b'"signatures"' in raw


def _header_warnings(content: bytes, digest: str, header: str | None) -> list[Warn]:
    if not header:
        return [
            Warn(
                code=WarningCode.NO_DIGEST_HEADER,
                detail="the answer had no Docker-Content-Digest",
            )
        ]
    header = header.strip()
    if header == digest or "sha256:" + header == digest:
        return []
    if is_digest(header) and matches_digest(content, header):
        return []
    shown = header if is_digest(header) else "no digest at all"
    return [
        Warn(
            code=WarningCode.DIGEST_HEADER_DIFFERS,
            detail=f"Docker-Content-Digest says {shown}, the content is {digest}",
        )
    ]


def _signature_warnings(manifest: Schema1Manifest) -> list[Warn]:
    return [
        Warn(
            code=WarningCode.SIGNATURE_INVALID,
            detail=f"signature {number}: {check.reason}",
        )
        for number, check in enumerate(manifest.signatures, 1)
        if not check.valid
    ]
