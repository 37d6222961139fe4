"""How values are encoded in the rows of the digest cache, and checked when read."""

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

# The length of a digest gives its algorithm (image-spec descriptor.md).
_ALGORITHMS = {32: "sha256", 48: "sha384", 64: "sha512"}
# Content types that are stored as a number. The order is part of the schema.
_CONTENT_TYPES = (
    OCI_INDEX,
    OCI_MANIFEST,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    SIGNED_SCHEMA1,
    SCHEMA1,
    "application/octet-stream",
)
_NUMBERS = {content_type: number for number, content_type in enumerate(_CONTENT_TYPES)}
# A smaller body does not shrink: zlib's header and tables take as much as is saved.
_MIN_DEFLATED_BYTES = 256
# Four times the default limit of a manifest or config (4 MiB). A larger body is stored
# as it is. The limit also holds for inflating: a megabyte of deflated zeros in a row
# that was tampered with is a gigabyte.
MAX_INFLATED_BYTES = 16 * 1024 * 1024


def encode_digest(digest: str) -> bytes:
    """The bytes of a digest's hexadecimal digits."""
    return bytes.fromhex(digest.partition(":")[2])


def decode_digest(key: bytes) -> str:
    """The digest `algorithm:hex` of its bytes; raises `KeyError` for a wrong length."""
    return f"{_ALGORITHMS[len(key)]}:{key.hex()}"


def encode_content_type(content_type: str | None) -> int | str | None:
    """A content type as stored: a number for a common one, else the text."""
    return None if content_type is None else _NUMBERS.get(content_type, content_type)


def decode_content_type(stored: object) -> str | None:
    """The content type of a stored value; `None` for an unknown number."""
    if isinstance(stored, int):
        return _CONTENT_TYPES[stored] if 0 <= stored < len(_CONTENT_TYPES) else None
    return stored if isinstance(stored, str) else None


def encode_body(body: bytes) -> tuple[int, bytes]:
    """Whether the stored bytes are deflated (1) or not (0), and the bytes.

    Uses level 1: manifests are repetitive, and higher levels save a tenth of the space
    for twice the time.
    """
    if _MIN_DEFLATED_BYTES <= len(body) <= MAX_INFLATED_BYTES:
        deflated = _compressor()(body, 1)
        if len(deflated) < len(body):
            return 1, deflated
    return 0, body


def decode_body(
    deflated: object, stored: object, key: bytes, sha256: object
) -> bytes | None:
    """The body, verified against its digest; `None` if the row is damaged.

    `sha256` is the hash of all bytes if `key` covers only a part of them, else `None`.
    """
    if not isinstance(stored, bytes):
        return None
    body = _inflate(stored) if deflated else stored
    if body is None:
        return None
    if sha256 is not None:
        return body if hashlib.sha256(body).digest() == sha256 else None
    algorithm = _ALGORITHMS.get(len(key))
    if algorithm is None or hashlib.new(algorithm, body).digest() != key:
        return None
    return body


def tag_checksum(
    name: tuple[str, str, str],
    key: bytes,
    header: str | None,
    content_type: int | str | None,
) -> int:
    """The CRC-32 of a row of `tags`, which has no digest that would show damage.

    `name` is registry, repository and tag; `content_type` is the stored form. Raises
    `TypeError` for values of other types.
    """
    text = "\0".join((*name, repr(header), repr(content_type)))
    return zlib.crc32(key, zlib.crc32(text.encode()))


def _inflate(stored: bytes) -> bytes | None:
    decompressor = zlib.decompressobj()
    try:
        body = decompressor.decompress(stored, MAX_INFLATED_BYTES + 1)
    except zlib.error:
        return None
    return body if decompressor.eof and len(body) <= MAX_INFLATED_BYTES else None


@cache
def _compressor() -> Callable[[bytes, int], bytes]:
    """ISA-L's `compress` if it is installed: 6 us for a manifest instead of zlib's 14,
    in the same format."""
    try:
        from isal import isal_zlib  # noqa: PLC0415  (only to write a cache file)
    except ImportError:
        return zlib.compress
    return isal_zlib.compress
