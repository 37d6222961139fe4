"""A manifest answer, checked in the order that is safe: size, digest, then parsing.

The size was capped while reading. By digest, other content is an error. By tag, the
`Docker-Content-Digest` header is advice (distribution-spec, "Pulling manifests"):
it can be absent or wrong, and our own hash is the digest.
"""

from __future__ import annotations

from collections.abc import Callable

from auditor.fast_dataclass import dataclass
from auditor.model import Warn, WarningCode
from auditor.oci.manifest import Manifest, parse_manifest
from auditor.oci.reference import is_digest
from auditor.oci.schema1 import Schema1
from auditor.protocol import media_types
from auditor.protocol.digest import check_digest, matches_digest, sha256_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest with its identity. `size` is bytes as they came."""

    digest: str
    media_type: str
    size: int
    manifest: Manifest
    warnings: tuple[Warn, ...]


def read_document(
    raw: bytes,
    *,
    content_type: str | None,
    header_digest: str | None,
    asked_digest: str | None,
    parse: Callable[[bytes, str | None], Manifest] = parse_manifest,
) -> Document:
    """The manifest in `raw`, which was asked for by tag or by `asked_digest`.

    `parse` is what parses it: `parse_manifest`, or what remembers its results.

    Raises `ProtocolError`, with `DIGEST_MISMATCH` when the content is not what the
    digest names.
    """
    matches = asked_digest is None or matches_digest(raw, asked_digest)
    if asked_digest is not None and not matches and not _may_be_signed(raw):
        check_digest(raw, asked_digest, "manifest")
    manifest = parse(raw, content_type)
    signed = isinstance(manifest, Schema1) and manifest.signed
    # The digest of a signed schema 1 manifest leaves the signatures out; the bytes
    # may differ with every fetch.
    content = manifest.payload if isinstance(manifest, Schema1) and signed else raw
    if asked_digest is not None:
        if not matches or (signed and _may_be_signed(raw)):
            check_digest(content, asked_digest, "manifest")
        digest = asked_digest
        warnings = []
    else:
        digest = sha256_digest(content)
        warnings = _header_warnings(content, digest, header_digest)
    if isinstance(manifest, Schema1):
        media_type = media_types.SIGNED_SCHEMA1 if signed else media_types.SCHEMA1
        warnings += _signature_warnings(manifest)
    else:
        media_type = manifest.media_type
    said = media_types.essence(content_type)
    if said in media_types.MANIFEST_TYPES and said != media_type:
        warnings.append(
            Warn(
                code=WarningCode.MEDIA_TYPE_DIFFERS,
                detail=f"Content-Type says {said}, the document {media_type}",
            )
        )
    return Document(
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


def _signature_warnings(manifest: Schema1) -> list[Warn]:
    return [
        Warn(
            code=WarningCode.SIGNATURE_INVALID,
            detail=f"signature {number}: {check.reason}",
        )
        for number, check in enumerate(manifest.signatures, 1)
        if not check.valid
    ]
