"""How what the store remembers stands in its rows."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from functools import cache

from auditor.oci.descriptor import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1,
    SIGNED_SCHEMA1,
)

# A digest's algorithm is known by its length (image-spec descriptor.md).
_ALGORITHMS = {32: "sha256", 48: "sha384", 64: "sha512"}
# Content-Types that stand as a number; the order is part of the store's format.
_SAID = (
    OCI_INDEX,
    OCI_MANIFEST,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    SIGNED_SCHEMA1,
    SCHEMA1,
    "application/octet-stream",
)
_NUMBER = {said: number for number, said in enumerate(_SAID)}
# Below this a deflated body is hardly smaller than its zlib header and dictionary.
_LEAST_PACKED_BYTES = 256
# More than any manifest or config is read to by default (4 MiB), with room for who
# raises that; a larger body stands as it is. Of a row that somebody changed, no more
# is inflated: a megabyte of deflated zeros means a gigabyte.
MAX_PACKED_BODY_BYTES = 16 * 1024 * 1024


def key_of(digest: str) -> bytes:
    """The bytes that a digest's hexadecimal digits stand for."""
    return bytes.fromhex(digest.partition(":")[2])


def digest_of(key: bytes) -> str:
    """The digest again."""
    return f"{_ALGORITHMS[len(key)]}:{key.hex()}"


def said_to_row(content_type: str | None) -> int | str | None:
    """A Content-Type as a row holds it."""
    return None if content_type is None else _NUMBER.get(content_type, content_type)


def said_of_row(said: object) -> str | None:
    """The Content-Type that a row holds; a number nobody knows is none."""
    if isinstance(said, int):
        return _SAID[said] if 0 <= said < len(_SAID) else None
    return said if isinstance(said, str) else None


@cache
def _deflate() -> Callable[[bytes, int], bytes]:
    """ISA-L's where it is installed: 6 us for a manifest instead of 14, and what it
    makes is inflated by any zlib."""
    try:
        # Only who writes a file needs it.
        from isal import isal_zlib  # noqa: PLC0415
    except ImportError:
        return zlib.compress
    return isal_zlib.compress


def pack(body: bytes) -> tuple[int, bytes]:
    """The body as it is stored, and whether that is deflated (1) or as it is (0).

    Level 1: manifests are repetitive, and higher levels save a tenth at twice the time.
    """
    if _LEAST_PACKED_BYTES <= len(body) <= MAX_PACKED_BODY_BYTES:
        packed = _deflate()(body, 1)
        if len(packed) < len(body):
            return 1, packed
    return 0, body


def unpack(packed: object, stored: object, key: bytes, outer: object) -> bytes | None:
    """The body, if it is what its digest says; null where the row is damaged."""
    if not isinstance(stored, bytes):
        return None
    body = _inflated(stored) if packed else stored
    if body is None:
        return None
    if outer is not None:
        return body if hashlib.sha256(body).digest() == outer else None
    algorithm = _ALGORITHMS.get(len(key))
    if algorithm is None or hashlib.new(algorithm, body).digest() != key:
        return None
    return body


def unpack_marked(packed: object, stored: bytes) -> bytes | None:
    """The body of a row whose mark is right; null where it cannot be inflated."""
    return _inflated(stored) if packed else stored


def _inflated(stored: bytes) -> bytes | None:
    inflate = zlib.decompressobj()
    try:
        body = inflate.decompress(stored, MAX_PACKED_BODY_BYTES + 1)
    except zlib.error:
        return None
    return body if inflate.eof and len(body) <= MAX_PACKED_BODY_BYTES else None


def mark_of(
    registry: str,
    repository: str,
    tag: str,
    *,
    key: bytes,
    header: str | None,
    said: int | str | None,
) -> int:
    """A check over a tag's row: nothing else tells that one of its bytes changed."""
    text = "\0".join((registry, repository, tag, repr(header), repr(said)))
    return zlib.crc32(key, zlib.crc32(text.encode()))


def image_mark_of(
    registry: str, key: bytes, *, variant: bytes, span: tuple[int, int], body: bytes
) -> int:
    """The same of the row of an image; `body` as it is stored."""
    text = f"{registry}\0{span[0]}\0{span[1]}\0".encode()
    return zlib.crc32(body, zlib.crc32(variant, zlib.crc32(key, zlib.crc32(text))))
