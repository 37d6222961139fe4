"""Rows of the digest cache: bodies come back as they were, or not at all."""

from __future__ import annotations

import hashlib
import sys
import tracemalloc
import zlib

import pytest

from auditor.cache.row_encoding import (
    MAX_INFLATED_BYTES,
    _compressor,
    decode_body,
    encode_body,
)


def _key(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


@pytest.mark.parametrize(
    "size", [0, 255, 256, MAX_INFLATED_BYTES, MAX_INFLATED_BYTES + 1]
)
def test_a_body_of_any_size_is_decoded_to_the_same_bytes(size: int) -> None:
    body = b"\0" * size
    deflated, stored = encode_body(body)
    assert deflated == (256 <= size <= MAX_INFLATED_BYTES)
    assert decode_body(deflated, stored, _key(body), None) == body


@pytest.mark.parametrize("damage", [b"", b"x", zlib.compress(b"{}")[:-1]])
def test_a_damaged_or_truncated_body_is_rejected(damage: bytes) -> None:
    assert decode_body(1, damage, _key(b"{}"), None) is None


def test_a_decompression_bomb_is_not_inflated_beyond_the_limit() -> None:
    deflate = zlib.compressobj(9)
    mebibyte = b"\0" * 1024**2
    bomb = b"".join(deflate.compress(mebibyte) for _ in range(64)) + deflate.flush()
    assert len(bomb) < 1024**2
    tracemalloc.start()
    try:
        assert decode_body(1, bomb, _key(b""), None) is None
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_INFLATED_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [256, 1231, 4096, 1 << 20])
def test_compressord_bodies_are_plain_zlib(size: int) -> None:
    body = hashlib.shake_256(b"body").hexdigest(size // 2).encode()
    deflated, stored = encode_body(body)
    assert deflated
    assert zlib.decompress(stored) == body


def test_zlib_is_used_without_isal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    _compressor.cache_clear()
    try:
        assert _compressor() is zlib.compress
        assert encode_body(b"{}" * 200) == (1, zlib.compress(b"{}" * 200, 1))
    finally:
        _compressor.cache_clear()
