"""Files compressed with gzip or Zstandard, by their suffix."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from auditor.util.atomic_file import atomic_file

# Reports are read by programs that know these suffixes: DuckDB, zstdcat, zcat.
GZIP = ".gz"
ZSTD = ".zst"

_COPY_BYTES = 1024 * 1024


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
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as zipped:
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
    with (
        source.open("rb") as plain,
        atomic_file(target) as stream,
        compressing(stream, target.name) as compressed,
    ):
        shutil.copyfileobj(plain, compressed, _COPY_BYTES)
