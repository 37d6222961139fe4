"""Digests: their grammar, and hashing of content.

Source: OCI image-spec descriptor.md, "Digests".

sha256, sha384 and sha512 are supported; content cannot be verified with any other.
"""

from __future__ import annotations

import hashlib
import re

from auditor.errors import FailureKind, ProtocolError
from auditor.oci.reference_grammar import DIGEST

# The algorithms of `reference_grammar.HEX_CHARS`. `hashlib.new` is slower: it looks the
# name up each time.
_HASHES = {
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
}
_fullmatch = re.compile(DIGEST).fullmatch


def is_digest(text: str) -> bool:
    """Whether the text is `algorithm:hex`, with lower-case hex of the right length."""
    return _fullmatch(text) is not None


def sha256_digest(content: bytes) -> str:
    """`sha256:<hex>` of the content."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def matches_digest(content: bytes, digest: str) -> bool:
    """Whether the content has this digest."""
    algorithm, _, expected = digest.partition(":")
    return _HASHES[algorithm](content).hexdigest() == expected


def check_digest(content: bytes, digest: str, what: str) -> None:
    """Raise `ProtocolError(DIGEST_MISMATCH)` unless the content has this digest."""
    if not matches_digest(content, digest):
        algorithm = digest.partition(":")[0]
        actual = f"{algorithm}:{_HASHES[algorithm](content).hexdigest()}"
        raise ProtocolError(
            f"the registry returned other content for the {what} {digest}:"
            f" its digest is {actual}",
            FailureKind.DIGEST_MISMATCH,
        )
