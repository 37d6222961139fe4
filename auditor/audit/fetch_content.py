"""Fetches manifests, and the blobs of attachments, and verifies them.

`fetch_manifest` asks once more if a manifest disagrees with its digest: a flipped byte,
another response on a kept connection or a page of a proxy would otherwise fail a
reference, or be recorded for a tag. The second request uses a connection of its own.

`fetch_attached_blob` is for payloads of signatures, and SBOMs. Anyone who may push can
attach something, so that the size and the digest of a blob are those of its descriptor,
or it is a failure.

One bad response is a failure of the reference that asked, not of the content: the next
one that needs it asks again. Only a failure that was seen twice in a row is shared
(`SharedFailures`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.model import WarningCode
from auditor.oci.descriptor import Descriptor, is_digest, matches_digest
from auditor.oci.manifest import (
    Manifest,
    VerifiedManifest,
    parse_manifest,
    verify_manifest,
)
from auditor.registry.client import Registry
from auditor.util.lru import Lru
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


async def fetch_attached_blob(
    registry: Registry, repository: str, blob: Descriptor, *, max_bytes: int
) -> bytes | Failure:
    """The verified bytes of a blob, without a request if they are above `max_bytes`.

    `UNSUPPORTED_MEDIA_TYPE`: its digest cannot be verified. `TOO_LARGE`: larger than
    that, or than its descriptor says. `DIGEST_MISMATCH`: of another size or digest.
    """
    if not blob.is_verifiable:
        return _blob_failure(
            FailureKind.UNSUPPORTED_MEDIA_TYPE, "its digest cannot be verified"
        )
    if blob.size > max_bytes:
        return _blob_failure(
            FailureKind.TOO_LARGE,
            f"it has {blob.size} bytes; more than {max_bytes} are not read",
        )
    raw = await registry.get_blob(
        repository, blob.digest, max_bytes=max(1, blob.size), stage=Stage.BLOB
    )
    return raw if isinstance(raw, Failure) else checked_size(raw, blob)


def checked_size(raw: bytes, blob: Descriptor) -> bytes | Failure:
    """The bytes, if they are as many as the descriptor says."""
    if len(raw) == blob.size:
        return raw
    return _blob_failure(
        FailureKind.DIGEST_MISMATCH,
        f"it has {len(raw)} bytes, and {blob.size} in its manifest",
    )


def _blob_failure(kind: FailureKind, detail: str) -> Failure:
    return Failure(kind=kind, detail=detail, stage=Stage.BLOB)


Key = TypeVar("Key", bound=Hashable)


class SharedFailures(Generic[Key]):
    """Failures by the key of their content, at most `max_size` of them.

    Those that may be over a moment later (`FailureKind.retryable`) are never shared.
    """

    def __init__(self, max_size: int) -> None:
        # With whether it was seen twice.
        self._failures: Lru[Key, tuple[Failure, bool]] = Lru(max_size)

    def get(self, key: Key) -> Failure | None:
        """The failure, if it was seen twice."""
        failure, is_shared = self._failures.get(key) or (None, False)
        return failure if is_shared else None

    def add(self, key: Key, failure: Failure) -> None:
        """Note a failure; one of another kind or status is seen for the first time."""
        if failure.kind.retryable:
            return
        before, _ = self._failures.get(key) or (None, False)
        is_again = before is not None and (before.kind, before.status) == (
            failure.kind,
            failure.status,
        )
        self._failures.put(key, (failure, is_again))

    def drop(self, key: Key) -> None:
        """Forget the failure: the content was received."""
        self._failures.drop(key)
