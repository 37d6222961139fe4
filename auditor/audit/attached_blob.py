"""Fetches the blobs of attachments: payloads of signatures, and SBOMs.

Anyone who may push can attach something, so that the size and the digest of a blob are
those of its descriptor, or it is a failure.
"""

from __future__ import annotations

from auditor.errors import Failure, FailureKind, Stage
from auditor.oci.descriptor import Descriptor
from auditor.registry.client import Registry


async def fetch_attached_blob(
    registry: Registry, repository: str, blob: Descriptor, *, max_bytes: int
) -> bytes | Failure:
    """The verified bytes of a blob, without a request if they are above `max_bytes`.

    `UNSUPPORTED_MEDIA_TYPE`: its digest cannot be verified. `TOO_LARGE`: larger than
    that, or than its descriptor says. `DIGEST_MISMATCH`: of another size or digest.
    """
    if not blob.is_verifiable:
        return _failure(
            FailureKind.UNSUPPORTED_MEDIA_TYPE, "its digest cannot be verified"
        )
    if blob.size > max_bytes:
        return _failure(
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
    return _failure(
        FailureKind.DIGEST_MISMATCH,
        f"it has {len(raw)} bytes, and {blob.size} in its manifest",
    )


def _failure(kind: FailureKind, detail: str) -> Failure:
    return Failure(kind=kind, detail=detail, stage=Stage.BLOB)
