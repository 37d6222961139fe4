"""Files compressed with gzip or Zstandard, by their suffix."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from auditor.util.atomic_file import atomic_file

# Reports are read by programs that know these suffixes: DuckDB, zstdcat, zcat.
GZIP = ".gz"
ZSTD = ".zst"

# The first bytes of such files (RFC 1952 section 2.3.1, RFC 8878 section 3.1.1).
_MARKS = {b"\x1f\x8b\x08": GZIP, b"\x28\xb5\x2f\xfd": ZSTD}
MARK_BYTES = 4
# Of gzip's program; Python's default, 9, takes three times as long for 2 % less.
_GZIP_LEVEL = 6
_COPY_BYTES = 1024 * 1024
_READ_BYTES = 128 * 1024


def is_compressed(path: str) -> bool:
    """Whether a file of this name is written compressed."""
    return path.endswith((GZIP, ZSTD))


@contextmanager
def compressing(stream: BinaryIO, name: str) -> Iterator[IO[bytes]]:
    """A stream that writes to `stream`, compressed as the suffix of `name` says.

    `stream` stays open. Without such a suffix it is used as it is.
    """
    if name.endswith(GZIP):
        import gzip  # noqa: PLC0415  (rarely used)

        # Without a time and a name, equal content makes equal files.
        with gzip.GzipFile(
            filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=stream, mtime=0
        ) as zipped:
            yield cast("IO[bytes]", zipped)
    elif name.endswith(ZSTD):
        import zstandard  # noqa: PLC0415  (rarely used)

        compressor = zstandard.ZstdCompressor(write_checksum=True)
        with compressor.stream_writer(stream, closefd=False) as packed:
            yield cast("IO[bytes]", packed)
    else:
        yield stream


def compress_file(source: Path, target: Path) -> None:
    """Replace `target` by the compressed content of `source`. Raises `OSError`."""
    import shutil  # noqa: PLC0415  (its own imports take a millisecond)

    with (
        source.open("rb") as plain,
        atomic_file(target) as stream,
        compressing(stream, target.name) as compressed,
    ):
        shutil.copyfileobj(plain, compressed, _COPY_BYTES)


# -- reading -----------------------------------------------------------------------


def compression_of(start: bytes) -> str | None:
    """The suffix of the compression that a file's first bytes show, or None."""
    for mark, suffix in _MARKS.items():
        if start.startswith(mark):
            return suffix
    return None


def decompressing(stream: BinaryIO, name: str) -> io.BufferedIOBase:
    """A stream of the content of `stream`, decompressed as the suffix of `name` says.

    Without such a suffix it is `stream`. Closing it closes `stream`. Raises `OSError`
    for a damaged or truncated file, also while it is read, and for a `.zst` file that
    is a pipe: the end of a truncated one could not be told from its real end.
    """
    if name.endswith(GZIP):
        import gzip  # noqa: PLC0415  (rarely used)
        import zlib  # noqa: PLC0415

        gunzip = cast("BinaryIO", gzip.GzipFile(fileobj=stream, mode="rb"))
        bad_gzip = (EOFError, gzip.BadGzipFile, zlib.error)
        return _buffered(_Decompressed(gunzip, bad_gzip, stream))
    if name.endswith(ZSTD):
        import zstandard  # noqa: PLC0415  (rarely used)

        if not stream.seekable():
            raise OSError("a .zst file cannot be a pipe; decompress it with zstd -dc")
        if not is_complete_zstd(stream):
            raise OSError("the file is truncated or not a zstd file")
        stream.seek(0)
        frames = cast(
            "BinaryIO",
            zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True),
        )
        return _buffered(_Decompressed(frames, (zstandard.ZstdError,), stream))
    return cast("io.BufferedIOBase", stream)


def _buffered(raw: io.RawIOBase) -> io.BufferedReader:
    return io.BufferedReader(raw, _READ_BYTES)


class _Decompressed(io.RawIOBase):
    """Reads from a decompressor; what it raises for a damaged file is an `OSError`."""

    def __init__(
        self, reader: BinaryIO, damage: tuple[type[Exception], ...], source: BinaryIO
    ) -> None:
        self._reader = reader
        self._damage = damage
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            data = self._reader.read(len(buffer))
        except EOFError:
            raise OSError("the file is truncated") from None
        except self._damage as error:
            raise OSError(f"cannot be decompressed: {error}") from None
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()


# -- zstd --------------------------------------------------------------------------
# Decompressors take the end of a truncated .zst file for the end of its content, so
# frames are checked first (RFC 8878, section 3.1). Only the headers of frames and
# blocks are read and nothing is decompressed: 10 GB take less than a second.

_MAGIC = 0xFD2FB528
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)  # section 3.1.2
_DICTIONARY_BYTES = (0, 1, 2, 4)  # by the descriptor's bits 0-1
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)  # by its bits 6-7
_CHECKSUM_BYTES = 4
_RLE = 1  # a block of one byte, repeated
_RESERVED = 3


def is_complete_zstd(file: BinaryIO) -> bool:
    """Whether a seekable file is a sequence of complete zstd frames and nothing else.

    An empty file is not: compressors write a frame even for empty content.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        while True:
            _skip_frame(file)
            if file.tell() >= end:
                return file.tell() == end
    except (EOFError, ValueError):
        return False


def _skip_frame(file: BinaryIO) -> None:
    magic = _number(file, 4)
    if magic in _SKIPPABLE:
        file.seek(_number(file, 4), os.SEEK_CUR)
        return
    if magic != _MAGIC:
        raise ValueError(magic)
    descriptor = _number(file, 1)
    single_segment = descriptor >> 5 & 1
    content_size = _CONTENT_SIZE_BYTES[descriptor >> 6]
    file.seek(
        (1 - single_segment)  # window descriptor
        + _DICTIONARY_BYTES[descriptor & 3]
        + (content_size or single_segment),
        os.SEEK_CUR,
    )
    last = False
    while not last:
        header = _number(file, 3)
        last = bool(header & 1)
        kind = header >> 1 & 3
        if kind == _RESERVED:
            raise ValueError(header)
        file.seek(1 if kind == _RLE else header >> 3, os.SEEK_CUR)
    if descriptor >> 2 & 1:
        file.seek(_CHECKSUM_BYTES, os.SEEK_CUR)


def _number(file: BinaryIO, count_bytes: int) -> int:
    read = file.read(count_bytes)
    if len(read) < count_bytes:
        raise EOFError
    return int.from_bytes(read, "little")
