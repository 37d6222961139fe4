"""Compressed files: written by their suffix, read to their end or refused."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from auditor.util.compressed_file import (
    compress_file,
    compression_of,
    decompressing,
    is_complete_zstd,
)

LINES = b"".join(b'{"number": %d}\n' % number for number in range(50_000))


@pytest.mark.parametrize("name", ["out.gz", "out.zst"])
def test_what_is_compressed_is_read_again(name: str, tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / name
    plain.write_bytes(LINES)
    compress_file(plain, packed)
    assert packed.stat().st_size < len(LINES) / 4
    with decompressing(packed.open("rb"), name) as stream:
        assert list(stream) == LINES.splitlines(keepends=True)
    assert compression_of(packed.read_bytes()) == packed.suffix
    assert compression_of(LINES) is None


@pytest.mark.parametrize("name", ["out.gz", "out.zst"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_a_truncated_file_is_an_error(name: str, part: float, tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / name
    plain.write_bytes(LINES)
    compress_file(plain, packed)
    content = packed.read_bytes()
    packed.write_bytes(content[: int(len(content) * part)])
    with packed.open("rb") as file, pytest.raises(OSError, match="file is truncated"):
        decompressing(file, name).read()


@pytest.mark.parametrize("name", ["out.gz", "out.zst"])
@pytest.mark.parametrize("content", [b"plain text\n", b"\x1f\x8b\x08" + bytes(20)])
def test_a_file_that_is_not_compressed_so_is_an_error(
    name: str, content: bytes
) -> None:
    with pytest.raises(OSError, match=r"not a zstd file|cannot be decompressed|trunc"):
        decompressing(io.BytesIO(content), name).read()


def test_several_members_and_frames_are_read_to_the_end() -> None:
    twice = gzip.compress(b"a\n") + gzip.compress(b"b\n")
    assert decompressing(io.BytesIO(twice), "x.gz").read() == b"a\nb\n"
    assert decompressing(io.BytesIO(ZST + ZST), "x.zst").read() == TEXT + TEXT


# -- zstd --

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
        pytest.param(EMPTY_FRAME, id="empty, compressed"),
        pytest.param(ZST + ZST, id="two frames"),
        pytest.param(SKIPPABLE + ZST + SKIPPABLE, id="skippable frames"),
        pytest.param(WITH_CHECKSUM, id="a checksum"),
        pytest.param(RUN_LENGTH, id="a block of one byte, repeated"),
    ],
)
def test_complete_zstd_frames_are_accepted(content: bytes) -> None:
    assert is_complete_zstd(io.BytesIO(content))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(TEXT, id="not zstd"),
        pytest.param(ZST + b"\n", id="trailing bytes"),
        pytest.param(ZST + ZST[:-1], id="a truncated second frame"),
        pytest.param(SKIPPABLE[:-1], id="a truncated skippable frame"),
        pytest.param(WITH_CHECKSUM[:-1], id="a truncated checksum"),
        pytest.param(EMPTY_FRAME[:6] + b"\x07\x00\x00", id="a reserved block type"),
    ],
)
def test_anything_else_is_not_complete_zstd(content: bytes) -> None:
    assert not is_complete_zstd(io.BytesIO(content))


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 7, len(ZST) // 2, len(ZST) - 4])
def test_a_zstd_file_truncated_anywhere_is_not_complete(cut: int) -> None:
    assert not is_complete_zstd(io.BytesIO(ZST[:-cut]))
