"""How what the store remembers stands in its rows."""

from __future__ import annotations

import hashlib
import sys
import tracemalloc
import zlib

import pytest

from auditor.cache.tables import MAX_PACKED_BODY_BYTES, _deflate, pack, unpack


def _key(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


@pytest.mark.parametrize(
    "size", [0, 255, 256, MAX_PACKED_BODY_BYTES, MAX_PACKED_BODY_BYTES + 1]
)
def test_a_body_of_any_size_comes_back(size: int) -> None:
    body = b"\0" * size
    packed, stored = pack(body)
    assert packed == (256 <= size <= MAX_PACKED_BODY_BYTES)
    assert unpack(packed, stored, _key(body), None) == body


@pytest.mark.parametrize("damage", [b"", b"x", zlib.compress(b"{}")[:-1]])
def test_what_is_damaged_or_cut_is_no_body(damage: bytes) -> None:
    assert unpack(1, damage, _key(b"{}"), None) is None


def test_no_more_is_inflated_than_a_body_may_be() -> None:
    deflate = zlib.compressobj(9)
    mebibyte = b"\0" * 1024**2
    bomb = b"".join(deflate.compress(mebibyte) for _ in range(64)) + deflate.flush()
    assert len(bomb) < 1024**2
    tracemalloc.start()
    try:
        assert unpack(1, bomb, _key(b""), None) is None
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_PACKED_BODY_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [256, 1231, 4096, 1 << 20])
def test_what_is_deflated_is_inflated_by_any_zlib(size: int) -> None:
    body = hashlib.shake_256(b"body").hexdigest(size // 2).encode()
    packed, stored = pack(body)
    assert packed
    assert zlib.decompress(stored) == body


def test_without_isa_l_zlib_deflates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    _deflate.cache_clear()
    try:
        assert _deflate() is zlib.compress
        assert pack(b"{}" * 200) == (1, zlib.compress(b"{}" * 200, 1))
    finally:
        _deflate.cache_clear()
