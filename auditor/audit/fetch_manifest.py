"""Fetches one manifest, and once more if it disagrees with its digest.

A flipped byte, another response on a kept connection or a page of a proxy would
otherwise fail a reference, or be recorded for a tag. The second request uses a
connection of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.model import WarningCode
from auditor.oci.descriptor import is_digest, matches_digest
from auditor.oci.manifest import (
    Manifest,
    VerifiedManifest,
    parse_manifest,
    verify_manifest,
)
from auditor.registry.client import Registry
from auditor.wire.response import Response

DIGEST_HEADER = "Docker-Content-Digest"


async def fetch_manifest(
    registry: Registry,
    repository: str,
    reference: str,
    *,
    digest: str | None,
    trusts_header: bool = True,
    parse: Callable[[bytes, str | None], Manifest] = parse_manifest,
) -> tuple[Response, VerifiedManifest] | Failure:
    """GET a manifest by tag or digest; the response and the verified manifest.

    `digest` is the requested digest, None for a tag. The digest of a tag's manifest is
    in the header of the response; if the registry's headers are known to be wrong
    (`trusts_header` is false), they are no reason to ask again.
    """
    response = await registry.get_manifest(repository, reference)
    if isinstance(response, Failure):
        return response
    verified = _verify(response, digest, parse)
    if not _disagrees(response, verified, trusts_header=trusts_header):
        return verified if isinstance(verified, Failure) else (response, verified)
    response = await registry.get_manifest(repository, reference, new_connection=True)
    if isinstance(response, Failure):
        return response
    verified = _verify(response, digest, parse)
    return verified if isinstance(verified, Failure) else (response, verified)


def _verify(
    response: Response,
    digest: str | None,
    parse: Callable[[bytes, str | None], Manifest],
) -> VerifiedManifest | Failure:
    try:
        return verify_manifest(
            response.body,
            content_type=response.content_type,
            header_digest=response.headers.get(DIGEST_HEADER),
            requested_digest=digest,
            parse=parse,
        )
    except ProtocolError as error:
        return Failure(kind=error.kind, detail=error.detail, status=response.status)


def _disagrees(
    response: Response, verified: VerifiedManifest | Failure, *, trusts_header: bool
) -> bool:
    if isinstance(verified, VerifiedManifest):
        return trusts_header and any(
            one.code is WarningCode.DIGEST_HEADER_DIFFERS for one in verified.warnings
        )
    if verified.kind is FailureKind.DIGEST_MISMATCH or not trusts_header:
        return verified.kind is FailureKind.DIGEST_MISMATCH
    # What is no manifest has no payload: the digest is that of the whole body.
    header = (response.headers.get(DIGEST_HEADER) or "").strip()
    return is_digest(header) and not matches_digest(response.body, header)
