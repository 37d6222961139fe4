"""Is a .zst file whole? (RFC 8878, section 3.1)

DuckDB takes the end of a torn file for the end of its content, and lines that are
missing from a report must not go unnoticed. Only the headers of frames and blocks are
read here, nothing is decompressed: 10 GB take well under a second.
"""

from __future__ import annotations

import os
from typing import BinaryIO

_MAGIC = 0xFD2FB528
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)  # section 3.1.2
_DICTIONARY_BYTES = (0, 1, 2, 4)  # by the descriptor's bits 0-1
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)  # by its bits 6-7
_CHECKSUM_BYTES = 4
_RLE = 1  # a block of one byte, repeated
_RESERVED = 3


def is_whole(file: BinaryIO) -> bool:
    """Whether a seekable file is a sequence of whole zstd frames, and nothing else.

    An empty file is not: a compressor writes a frame even for nothing.
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
        (1 - single_segment)  # the window's descriptor
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
