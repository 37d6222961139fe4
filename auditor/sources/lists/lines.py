"""The lines of a byte stream, decoded, in bounded memory."""

from __future__ import annotations

import io
from collections.abc import Iterator

from auditor.errors import UsageError

# A line can be a line of our own report, whose length is that of the manifests it
# tells: at most 4 MiB each by default. Four of the largest are allowed for.
MAX_LINE_CHARS = 16 * 1024 * 1024
# RFC 3629: so a line that is longer in bytes is too long in characters.
_MAX_BYTES_A_CHAR = 4
# Large enough that a read costs nothing per line, small beside everything else.
BLOCK_BYTES = 256 * 1024

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# How compressed files begin (RFC 1952 section 2.3.1, RFC 8878 section 3.1.1, the .xz
# file format section 2.1.1.1), and what makes text of them. No text begins so.
_COMPRESSED = {
    b"\x1f\x8b\x08": ("gzip", "gzip -dc"),
    b"\x28\xb5\x2f": ("Zstandard", "zstd -dc"),
    b"\xfd7z": ("xz", "xz -dc"),
}


def read_lines(
    stream: io.BufferedIOBase, name: str, *, max_line_chars: int = MAX_LINE_CHARS
) -> Iterator[str]:
    """Lines without their line feed, as soon as they have come in.

    Bytes that are not UTF-8 become lone surrogates (PEP 383). Of a line longer than
    `max_line_chars` at least one character more than that is kept, so that it can
    be told. A byte order mark is dropped; that of UTF-16, which some shells write,
    is a `UsageError`, as is what is compressed.
    """
    max_line_bytes = max_line_chars * _MAX_BYTES_A_CHAR
    pieces: list[bytes] = []  # of the line that has not ended yet
    held = 0
    for block in _blocks(stream, name):
        head, feed, tail = block.rpartition(b"\n")
        if feed:
            pieces.append(head)
            yield from _decode(pieces).split("\n")
            pieces, held = [], 0
        if held <= max_line_bytes:
            pieces.append(tail)
            held += len(tail)
    if held:
        yield _decode(pieces)


def _blocks(stream: io.BufferedIOBase, name: str) -> Iterator[bytes]:
    block = stream.read1(BLOCK_BYTES)
    while 0 < len(block) < len(_UTF8_MARK) and (more := stream.read1(BLOCK_BYTES)):
        block += more
    if block.startswith(_UTF16_MARKS):
        raise UsageError(f"{name}: the list is UTF-16; save it as UTF-8")
    for start, (how, command) in _COMPRESSED.items():
        if block.startswith(start):
            raise UsageError(
                f"{name}: the list is compressed ({how}); give its text, as in"
                f" {command} FILE | auditor audit -f -"
            )
    block = block.removeprefix(_UTF8_MARK) or stream.read1(BLOCK_BYTES)
    while block:
        yield block
        block = stream.read1(BLOCK_BYTES)


def _decode(pieces: list[bytes]) -> str:
    return b"".join(pieces).decode("utf-8", "surrogateescape")
