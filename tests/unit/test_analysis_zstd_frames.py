"""A .zst file is whole, or it is not."""

from __future__ import annotations

import io

import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from auditor.analysis.reports import is_whole

TEXT = b'{"schema": 1}\n' * 40_000
ZST = bytes(pa.compress(TEXT, codec="zstd", asbytes=True))
EMPTY_FRAME = bytes.fromhex("28b52ffd 20 00 010000")
SKIPPABLE = bytes.fromhex("502a4d18 03000000 616263")
# RFC 8878: no single segment, a window of 1 KiB; one raw block "a"; a checksum.
WITH_CHECKSUM = bytes.fromhex("28b52ffd 04 00 090000 61 00112233")
RUN_LENGTH = bytes.fromhex("28b52ffd 20 05 2b0000 61")  # five times "a"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(ZST, id="what a compressor writes"),
        pytest.param(EMPTY_FRAME, id="nothing, compressed"),
        pytest.param(ZST + ZST, id="two frames"),
        pytest.param(SKIPPABLE + ZST + SKIPPABLE, id="frames to be skipped"),
        pytest.param(WITH_CHECKSUM, id="a checksum"),
        pytest.param(RUN_LENGTH, id="a block of one byte, repeated"),
    ],
)
def test_whole_frames_are_whole(content: bytes) -> None:
    assert is_whole(io.BytesIO(content))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(TEXT, id="no zstd"),
        pytest.param(ZST + b"\n", id="something behind"),
        pytest.param(ZST + ZST[:-1], id="a torn second frame"),
        pytest.param(SKIPPABLE[:-1], id="a torn frame to be skipped"),
        pytest.param(WITH_CHECKSUM[:-1], id="a torn checksum"),
        pytest.param(EMPTY_FRAME[:6] + b"\x07\x00\x00", id="a reserved kind of block"),
    ],
)
def test_anything_else_is_not(content: bytes) -> None:
    assert not is_whole(io.BytesIO(content))


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 7, len(ZST) // 2, len(ZST) - 4])
def test_a_file_that_is_cut_anywhere_is_not(cut: int) -> None:
    assert not is_whole(io.BytesIO(ZST[:-cut]))
