"""Digests over raw bytes (OCI image-spec, descriptor.md, "Digests")."""

from __future__ import annotations

import hashlib

from auditor.errors import FailureKind, ProtocolError

# Those of `reference_grammar.HEX_CHARS`; `hashlib.new` looks the name up each time.
_HASHES = {
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
}


def sha256_digest(raw: bytes) -> str:
    """`sha256:<hex>` over the bytes."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def matches_digest(raw: bytes, digest: str) -> bool:
    """Whether the bytes have this digest (sha256, sha384 or sha512)."""
    algorithm, _, expected = digest.partition(":")
    return _HASHES[algorithm](raw).hexdigest() == expected


def check_digest(raw: bytes, digest: str, what: str) -> None:
    """Raise `ProtocolError(DIGEST_MISMATCH)` unless the bytes have this digest."""
    if not matches_digest(raw, digest):
        algorithm = digest.partition(":")[0]
        found = f"{algorithm}:{_HASHES[algorithm](raw).hexdigest()}"
        raise ProtocolError(
            f"the {what} {digest} was answered with content whose digest is {found}",
            FailureKind.DIGEST_MISMATCH,
        )
