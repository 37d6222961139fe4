"""The records that an unfinished run left: which there are, and where they belong.

They are remembered in a temporary SQLite database, which is exact and does not grow
in memory: at a million references it is some 100 MB of a temporary file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import orjson

from auditor.errors import OutputError
from auditor.fast_dataclass import dataclass

# -- spans --
# Where each record of a report stands: a line, or several in the flat shapes.

# Longer than a line of this program: an image has some hundred thousand layers at most
# (4 MiB of manifest), each told in some 200 bytes.
MAX_LINE_BYTES = 64 * 1024 * 1024

_ONE_LINE = frozenset({"image", "failure"})
_ROWS = frozenset({"platform", "layer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOffset:
    """One record: the bytes from `start`, `size` of them.

    `reference` is null where the record is of something in the input that stands for
    no reference, such as a malformed line or a list that could not be read.
    `interrupted`: it says only that there was no time for it.
    """

    start: int
    size: int
    reference: str | None
    interrupted: bool = False


def record_offsets(
    stream: BinaryIO, start: int, *, ended: bool
) -> Iterator[RecordOffset]:
    """The records from `start` on, up to the first line that is damaged or torn.

    In the flat shapes the lines of the last record may not be all: it is left out
    unless the file has `ended` as it should.
    """
    stream.seek(start)
    rows: RecordOffset | None = None
    while (line := stream.readline(MAX_LINE_BYTES)) and line.endswith(b"\n"):
        found = _read(line, start)
        if found is None:
            break
        span, is_row = found
        if rows is not None and is_row and rows.reference == span.reference:
            rows = RecordOffset(
                start=rows.start,
                size=rows.size + span.size,
                reference=rows.reference,
            )
        else:
            if rows is not None:
                yield rows
            rows = span if is_row else None
            if not is_row:
                yield span
        start += len(line)
    if rows is not None and ended:
        yield rows


def _read(line: bytes, start: int) -> tuple[RecordOffset, bool] | None:
    try:
        read = orjson.loads(line)
        kind, reference = read["kind"], read["reference"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if not isinstance(kind, str) or not isinstance(reference, str):
        return None
    if kind not in _ONE_LINE | _ROWS:
        return None
    names_one = read.get("tag") is not None or read.get("digest") is not None
    span = RecordOffset(
        start=start,
        size=len(line),
        reference=reference if names_one else None,
        interrupted=kind == "failure" and read.get("failure") == "interrupted",
    )
    return span, kind in _ROWS


# Pages that stay in memory. References come in the order in which they were written,
# nearly, so that few are read twice.
_CACHE_KIB = 16 * 1024
_COPY_BYTES = 1024 * 1024

_TABLES = (
    f"PRAGMA cache_size = -{_CACHE_KIB}",
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE kept (reference TEXT PRIMARY KEY, start, size) WITHOUT ROWID",
    "CREATE TABLE placed (position INTEGER PRIMARY KEY, start, size)",
    "CREATE TABLE absent (number INTEGER PRIMARY KEY)",
    "BEGIN",
)


@contextmanager
def _in_a_temporary_file() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OutputError(
            f"what is kept of the earlier run cannot be noted in a temporary file:"
            f" {error} (TMPDIR says where it is)"
        ) from None


class ResumeIndex:
    """Records in a file, by reference, each to be taken once when its turn comes.

    Everything raises `OutputError` where there is no room to remember it.

    `count` is how many there are, `taken` how many of them the input asked for.
    `end` is where in the file the records of the new run begin.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        # Made in one thread, asked in another, never by two at once.
        self._database = sqlite3.connect(
            "", isolation_level=None, check_same_thread=False
        )
        try:
            for statement in _TABLES:
                self._do(statement)
        except OutputError:
            self.close()
            raise
        self._position = 0
        self._made = 0
        self.count = 0
        self.taken = 0
        self.end = 0

    def _do(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        with _in_a_temporary_file():
            return self._database.execute(statement, values)

    def add(self, span: RecordOffset) -> bool:
        """Remember a record; false where it is to be made again, or known."""
        if span.reference is None or span.interrupted:
            return False
        known = self._do(
            "INSERT OR IGNORE INTO kept VALUES (?, ?, ?)",
            (span.reference, span.start, span.size),
        )
        self.count += known.rowcount
        return known.rowcount == 1

    def take(self, reference: str | None) -> bytes | None:
        """The lines of the next entry's record, if they are kept.

        To be called for every entry of the input, in its order: that is where its
        record belongs. `reference` is null for what stands for none.
        """
        position = self._position
        self._position += 1
        if reference is None:
            return None
        row = self._do(
            "SELECT start, size FROM kept WHERE reference = ?", (reference,)
        ).fetchone()
        if row is None:
            return None
        self._do("INSERT INTO placed VALUES (?, ?, ?)", (position, *row))
        self.taken += 1
        start, size = row
        return os.pread(self._stream.fileno(), size, start)

    def made(self, *, written: bool) -> None:
        """Say that an entry that is not kept was worked on, in the input's order.

        Not `written`: it has no record, because a filter dropped it.
        """
        if not written:
            self._do("INSERT INTO absent VALUES (?)", (self._made,))
        self._made += 1

    def pieces(self, *, in_input_order: bool) -> Iterator[tuple[int, int]]:
        """What the whole report is made of: (start, size) of pieces of the file.

        What the input no longer asked for, and what was made again, is left out.
        """
        ranges = self._in_input_order() if in_input_order else self._as_they_stand()
        with _in_a_temporary_file():
            yield from _joined(ranges)

    def _in_input_order(self) -> Iterator[tuple[int, int]]:
        new = record_offsets(self._stream, self.end, ended=True)
        absent = self._database.execute("SELECT number FROM absent ORDER BY number")
        next_absent, worked_on = absent.fetchone(), 0
        placed = self._database.execute(
            "SELECT position, start, size FROM placed ORDER BY position"
        )
        following = placed.fetchone()
        for position in range(self._position):
            if following is not None and following[0] == position:
                yield following[1], following[2]
                following = placed.fetchone()
                continue
            worked_on += 1
            if next_absent == (worked_on - 1,):
                next_absent = absent.fetchone()
                continue
            made = next(new, None)
            if made is None:
                raise RuntimeError(f"entry {position} has no record")
            yield made.start, made.size
        if next(new, None) is not None:
            raise RuntimeError("there are more records than entries")

    def _as_they_stand(self) -> Iterator[tuple[int, int]]:
        yield from self._database.execute(
            "SELECT start, size FROM placed ORDER BY start"
        )
        size = os.fstat(self._stream.fileno()).st_size
        if size > self.end:
            yield self.end, size - self.end

    def copy(self, pieces: Iterator[tuple[int, int]], into: BinaryIO) -> None:
        """Write these pieces of the file one after the other."""
        source = self._stream.fileno()
        for start, size in pieces:
            at, end = start, start + size
            while at < end:
                data = os.pread(source, min(_COPY_BYTES, end - at), at)
                if not data:
                    raise RuntimeError("the file is shorter than it was")
                into.write(data)
                at += len(data)

    def close(self) -> None:
        """Forget everything."""
        self._database.close()
        self._stream.close()


def _joined(ranges: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same bytes in as few pieces as can be."""
    start = size = 0
    for at, length in ranges:
        if at == start + size:
            size += length
            continue
        if size:
            yield start, size
        start, size = at, length
    if size:
        yield start, size
