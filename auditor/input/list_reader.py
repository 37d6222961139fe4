"""The bytes of a list: opening it, its lines in bounded memory, or its whole text.

`read_in_thread` reads items in a thread, so that a slow list on standard input does not
block the event loop. The thread is a daemon: a read that never returns does not keep
the program from exiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from auditor.errors import UsageError
from auditor.util.compressed_file import decompressing

STANDARD_INPUT = "-"

# A line can be a record of one of our reports, which is as long as the manifests it
# describes: at most 4 MiB each by default. The limit allows four of the largest.
MAX_LINE_CHARS = 16 * 1024 * 1024
# A UTF-8 character has at most 4 bytes (RFC 3629), so a line longer than this in bytes
# has too many characters.
_MAX_CHAR_BYTES = 4
# Large enough that a read costs nothing per line, small compared with everything else.
BLOCK_BYTES = 256 * 1024
# Blank lines and comments that are read to find the first line that decides the format.
MAX_OPENING_BYTES = 1024 * 1024
# Items that may wait for the consumer: some 100 KB, and few switches between threads.
MAX_WAITING_ITEMS = 1024
# A document that is read whole: as YAML some 500 MB in memory. A single object has a
# few kilobytes.
MAX_DOCUMENT_CHARS = 64 * 1024 * 1024

Item = TypeVar("Item")

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# The first bytes of compressed files (RFC 1952 section 2.3.1, RFC 8878 section 3.1.1,
# the .xz file format section 2.1.1.1), and the command that decompresses them.
_COMPRESSED = {
    b"\x1f\x8b\x08": ("gzip", "gzip -dc"),
    b"\x28\xb5\x2f": ("Zstandard", "zstd -dc"),
    b"\xfd7z": ("xz", "xz -dc"),
}


def open_list(path: str) -> AbstractContextManager[io.BufferedIOBase]:
    """Open a list; "-" is standard input, which stays open at the end.

    A file `.gz` or `.zst`, such as an earlier report, is decompressed. Raises
    `UsageError` if it cannot be opened.
    """
    try:
        if path == STANDARD_INPUT:
            # Not `sys.stdin.buffer`: it is locked while a thread waits in it, and an
            # interpreter that exits meanwhile aborts.
            return open(sys.stdin.fileno(), "rb", closefd=False)
        stream = Path(path).open("rb")  # noqa: SIM115  (the caller closes it)
        try:
            return decompressing(stream, path)
        except OSError:
            stream.close()
            raise
    except OSError as error:
        raise unreadable_list(path, error) from None


def list_name(path: str) -> str:
    """The name of a list in places such as `stdin:12`."""
    return "stdin" if path == STANDARD_INPUT else path


def unreadable_list(path: str, error: OSError) -> UsageError:
    """The error for a list that cannot be opened or read."""
    return UsageError(f"{path}: the list cannot be read: {error.strerror or error}")


def is_blank_or_comment(line: str) -> bool:
    """Whether a line is blank or its first visible character is `#`."""
    start = line.lstrip()
    return not start or start[0] == "#"


class ListReader:
    """Reads a list once: as lines (by iterating), as one text, or as raw blocks.

    `first_line()` may be called before any of these. A byte order mark is dropped;
    UTF-16, what is still compressed, and other bytes than text in the first line raise
    `UsageError`.
    """

    def __init__(self, stream: io.BufferedIOBase, name: str) -> None:
        self.name = name
        self._stream = stream
        self._opening: list[bytes] | None = None
        self._comment_lines = 0  # before the first line

    def first_line(self) -> str:
        """The first line that is neither blank nor a comment; "" in an empty list.

        If the line is longer than a block, only the first block is returned.
        """
        opening = self._opening or self._read_opening()
        rest = b"".join(opening)
        size, self._comment_lines = len(rest), 0
        while True:
            *lines, rest = rest.split(b"\n")
            for line in map(_decode, lines):
                if not is_blank_or_comment(line):
                    return line
                self._comment_lines += 1
            last = _decode(rest)
            if len(rest) >= BLOCK_BYTES and not is_blank_or_comment(last):
                return last
            block = b""
            if size < MAX_OPENING_BYTES:
                block = self._stream.read1(BLOCK_BYTES)
            if not block:
                return "" if is_blank_or_comment(last) else last
            opening.append(block)
            size += len(block)
            rest += block

    def blocks(self, *, without_comments: bool = False) -> Iterator[bytes]:
        """The list in blocks, as soon as they arrive.

        `without_comments`: the lines before `first_line()` are left empty.
        """
        opening = self._opening or self._read_opening()
        if without_comments:
            lines = b"".join(opening).split(b"\n", self._comment_lines)
            opening[:] = [b"\n" * self._comment_lines + lines[-1]]
        while opening:
            yield opening.pop(0)
        while block := self._stream.read1(BLOCK_BYTES):
            yield block

    def __iter__(self) -> Iterator[str]:
        """Lines without their line feed, as soon as they arrive.

        Bytes that are not UTF-8 become lone surrogates (PEP 383). A line above
        `MAX_LINE_CHARS` may be truncated, but stays above that limit.
        """
        max_line_bytes = MAX_LINE_CHARS * _MAX_CHAR_BYTES
        pieces: list[bytes] = []  # of the line that has not ended yet
        size = 0
        for block in self.blocks():
            head, feed, tail = block.rpartition(b"\n")
            if feed:
                pieces.append(head)
                yield from _decode(b"".join(pieces)).split("\n")
                pieces, size = [], 0
            if size <= max_line_bytes:
                pieces.append(tail)
                size += len(tail)
        if size:
            yield _decode(b"".join(pieces))

    def text(self) -> str:
        """The whole list. Raises `UsageError` if it is too large or not UTF-8."""
        pieces: list[bytes] = []
        size = 0
        for block in self.blocks():
            pieces.append(block)
            size += len(block)
            if size > MAX_DOCUMENT_CHARS:
                raise UsageError(
                    f"{self.name}: the document is larger than {MAX_DOCUMENT_CHARS:,}"
                    " bytes; write one object a line (`jq -c '.items[]'`), which has no"
                    " limit"
                )
        data = b"".join(pieces)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            number = data.count(b"\n", 0, error.start) + 1
            message = f"{self.name}:{number}: the line is not UTF-8 text"
            raise UsageError(message) from None

    def _read_opening(self) -> list[bytes]:
        """Read the first block and check its first bytes."""
        try:
            block = self._stream.read1(BLOCK_BYTES)
            while 0 < len(block) < len(_UTF8_MARK) and (
                more := self._stream.read1(BLOCK_BYTES)
            ):
                block += more
        except OSError as error:  # such as a closed standard input
            raise unreadable_list(self.name, error) from None
        if block.startswith(_UTF16_MARKS):
            raise UsageError(f"{self.name}: the list is UTF-16; save it as UTF-8")
        for mark, (compression, command) in _COMPRESSED.items():
            if block.startswith(mark):
                raise UsageError(
                    f"{self.name}: the list is compressed ({compression}); decompress"
                    f" it: {command} FILE | auditor audit -f -"
                )
        if b"\0" in block.partition(b"\n")[0]:
            raise UsageError(
                f"{self.name}: the list is not text; save a workbook as CSV, and UTF-16"
                " as UTF-8"
            )
        self._opening = [block.removeprefix(_UTF8_MARK)]
        return self._opening


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


async def read_in_thread(items: Iterable[Item]) -> AsyncIterator[list[Item]]:
    """The items, read in a thread, in batches of those that are available.

    An exception of the iterable is raised here after its items.
    """
    ready: list[Item] = []
    changed = threading.Condition()
    loop, wakeup = asyncio.get_running_loop(), asyncio.Event()
    ended = abandoned = False
    failure: BaseException | None = None

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: no consumer
            loop.call_soon_threadsafe(wakeup.set)

    def read() -> None:
        nonlocal ended, failure
        try:
            for item in items:
                with changed:
                    while len(ready) >= MAX_WAITING_ITEMS and not abandoned:
                        changed.wait()
                    if abandoned:
                        return
                    was_empty = not ready
                    ready.append(item)
                if was_empty:
                    wake()
        except BaseException as error:  # noqa: BLE001  (raised in the consumer)
            failure = error
        finally:
            ended = True
            wake()

    threading.Thread(target=read, name="auditor-list", daemon=True).start()
    try:
        while True:
            is_last = ended  # read before the items, so that none is missed
            with changed:
                batch, ready = ready, []
                changed.notify()
            if batch:
                yield batch
            elif is_last:
                break
            else:
                await wakeup.wait()
                wakeup.clear()
        if failure is not None:
            raise failure
    finally:
        with changed:
            abandoned = True
            changed.notify()
