"""The records of an unfinished report that a resumed run keeps, by reference.

`record_offsets` reads the records of a file up to the first damage. `ResumeIndex` maps
reference -> record offset: the run asks it for every entry of its input (`take`), and
audits only what is missing; `ranges` finally gives the byte ranges of the partial file
that make up the report.

The index is a temporary SQLite database: some 100 MB on disk for a million references.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import IO, BinaryIO, Self

import orjson

from auditor.errors import OutputError
from auditor.fast_dataclass import dataclass
from auditor.util.clock import rfc3339

# More than any line of this program: an image has some hundred thousand layers at most
# (4 MiB of manifest), each some 200 bytes of a record.
MAX_LINE_BYTES = 64 * 1024 * 1024
_COPY_BYTES = 1024 * 1024
# SQLite's page cache. References come nearly in the order in which they were written,
# so that few pages are read twice.
_CACHE_KIB = 16 * 1024


# -- Record offsets ----------------------------------------------------------------

_ONE_LINE_KINDS = frozenset({"image", "failure"})
_ROW_KINDS = frozenset({"platform", "layer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOffset:
    """The location of a record in a file: `size` bytes from `start`.

    A record is one line, or several rows in the flat shapes. `reference` is None for an
    input failure without a reference: a malformed line, or a list that could not be
    read. `interrupted`: the run had no time for it, so it is audited again.
    `audited_at` is RFC 3339, "" if it is unknown.
    """

    start: int
    size: int
    reference: str | None
    interrupted: bool = False
    is_failure: bool = False
    is_row: bool = False
    audited_at: str = ""


def record_offsets(
    stream: BinaryIO, start: int, *, complete: bool
) -> Iterator[RecordOffset]:
    """The records from `start` on, up to the first line that is damaged or torn.

    In the flat shapes the last record may miss some of its rows: it is left out unless
    the file is `complete`.
    """
    stream.seek(start)
    rows: RecordOffset | None = None
    while (line := stream.readline(MAX_LINE_BYTES)) and line.endswith(b"\n"):
        record = _parse_line(line, start)
        if record is None:
            break
        start += len(line)
        if rows is not None:
            if record.is_row and rows.reference == record.reference:
                rows = replace(rows, size=rows.size + record.size)
                continue
            yield rows
        rows = record if record.is_row else None
        if not record.is_row:
            yield record
    if rows is not None and complete:
        yield rows


def _parse_line(line: bytes, start: int) -> RecordOffset | None:
    """The record or row of a line; None for a damaged line."""
    try:
        fields = orjson.loads(line)
        kind, reference = fields["kind"], fields["reference"]
        audited_at = fields.get("audited_at")
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        return None
    if not isinstance(kind, str) or not isinstance(reference, str):
        return None
    if kind not in _ONE_LINE_KINDS | _ROW_KINDS:
        return None
    is_reference = fields.get("tag") is not None or fields.get("digest") is not None
    return RecordOffset(
        start=start,
        size=len(line),
        reference=reference if is_reference else None,
        interrupted=kind == "failure" and fields.get("failure") == "interrupted",
        is_failure=kind == "failure",
        is_row=kind in _ROW_KINDS,
        audited_at=audited_at if isinstance(audited_at, str) else "",
    )


# -- Resume index ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecords:
    """Which records of an unfinished report a resumed run keeps.

    Those audited at most `keep_s` before the run: older ones belong to another night,
    and the registry may have changed. As much in the future is accepted for clocks
    that differ. `oldest` and `newest` are RFC 3339 in UTC, which sorts as text.
    `failures`: keep failures, too.
    """

    keep_s: float
    oldest: str
    newest: str
    failures: bool

    @classmethod
    def of(cls, now: str, keep_s: float, *, failures: bool = True) -> Self:
        """The records to keep at `now`, RFC 3339."""
        epoch_s = datetime.fromisoformat(now).timestamp()
        is_limited = keep_s < math.inf
        return cls(
            keep_s=keep_s,
            oldest=rfc3339(epoch_s - keep_s) if is_limited else "",
            newest=rfc3339(epoch_s + keep_s) if is_limited else "~",
            failures=failures,
        )

    def is_recent(self, audited_at: str) -> bool:
        """Whether something audited at this time, RFC 3339, is recent enough."""
        return self.oldest <= audited_at <= self.newest


_TABLES = f"""
PRAGMA cache_size = -{_CACHE_KIB};
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
-- Records of the earlier run.
CREATE TABLE records (reference TEXT PRIMARY KEY, start, size) WITHOUT ROWID;
-- Those that the input asked for: the input position and the record's offset.
CREATE TABLE taken (position INTEGER PRIMARY KEY, start, size);
-- Entries that were audited now and have no record, by their number among those.
CREATE TABLE dropped (number INTEGER PRIMARY KEY);
BEGIN
"""


class ResumeIndex:
    """The records of an unfinished run in `stream`, the partial file.

    `count`: kept records of the earlier run; `old` and `failed`: those that are not
    kept; `taken`: those that the input asked for; `replaced`: those that are audited
    again, because the input says something else about them; `end`: size of the file in
    bytes when the run was resumed.
    """

    def __init__(self, stream: BinaryIO, kept: KeptRecords) -> None:
        self._stream = stream
        self._kept = kept
        # "" is a temporary database, on disk only as far as the cache does not hold it.
        self._database = sqlite3.connect(
            "", isolation_level=None, check_same_thread=False
        )
        try:
            with _database_errors():
                self._database.executescript(_TABLES)
        except OutputError:
            self.close()
            raise
        self._position = 0
        self._audited = 0
        self.count = 0
        self.old = 0
        self.failed = 0
        self.taken = 0
        self.replaced = 0
        self.end = 0

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        with _database_errors():
            return self._database.execute(statement, values)

    def add(self, record: RecordOffset) -> bool:
        """Index a record. False if it must be audited again, or is already indexed."""
        if record.reference is None or record.interrupted:
            return False
        if not self._kept.is_recent(record.audited_at):
            self.old += 1
            return False
        if record.is_failure and not self._kept.failures:
            self.failed += 1
            return False
        insert = "INSERT OR IGNORE INTO records VALUES (?, ?, ?)"
        values = record.reference, record.start, record.size
        added = self._execute(insert, *values).rowcount
        self.count += added
        return added == 1

    def take(self, reference: str | None, expected: object = None) -> bytes | None:
        """The lines of the record of the next input entry, or None without a record.

        A record whose fields are not those of the dataclass `expected` is not taken.

        Must be called for every entry, in input order: this sets the position of the
        record. `reference` is None for an entry that is not a reference.
        """
        position = self._position
        self._position += 1
        if reference is None:
            return None
        select = "SELECT start, size FROM records WHERE reference = ?"
        row = self._execute(select, reference).fetchone()
        if row is None:
            return None
        start, size = row
        lines = os.pread(self._stream.fileno(), size, start)
        if expected is not None and not _has_fields(lines, expected):
            self.replaced += 1
            return None
        self._execute("INSERT INTO taken VALUES (?, ?, ?)", position, start, size)
        self.taken += 1
        return lines

    def entry_finished(self, *, has_record: bool) -> None:
        """Count the next entry that this run audited, even if a filter drops it."""
        if not has_record:
            self._execute("INSERT INTO dropped VALUES (?)", self._audited)
        self._audited += 1

    def ranges(self, *, in_input_order: bool) -> Iterator[tuple[int, int]]:
        """The byte ranges (start, size) of the partial file that are the report.

        Records that the input no longer names, or that were replaced, are left out.
        Adjacent records are one range.
        """
        start = size = 0
        with _database_errors():
            for next_start, next_size in (
                self._input_order() if in_input_order else self._file_order()
            ):
                if next_start == start + size:
                    size += next_size
                    continue
                if size:
                    yield start, size
                start, size = next_start, next_size
        if size:
            yield start, size

    def _input_order(self) -> Iterator[tuple[int, int]]:
        new_records = record_offsets(self._stream, self.end, complete=True)
        query = self._database.execute
        dropped = query("SELECT number FROM dropped ORDER BY number")
        taken = query("SELECT position, start, size FROM taken ORDER BY position")
        next_dropped, next_taken = dropped.fetchone(), taken.fetchone()
        numbers = count()
        for position in range(self._position):
            if next_taken is not None and next_taken[0] == position:
                yield next_taken[1:]
                next_taken = taken.fetchone()
            elif next_dropped == (next(numbers),):
                next_dropped = dropped.fetchone()
            elif (record := next(new_records, None)) is not None:
                yield record.start, record.size
            else:
                raise RuntimeError(f"input entry {position} has no record")
        if next(new_records, None) is not None:
            raise RuntimeError("the report has more records than the input has entries")

    def _file_order(self) -> Iterator[tuple[int, int]]:
        yield from self._database.execute(
            "SELECT start, size FROM taken ORDER BY start"
        )
        size = os.fstat(self._stream.fileno()).st_size
        if size > self.end:
            yield self.end, size - self.end

    def close(self) -> None:
        """Delete the index and close the partial file."""
        self._database.close()
        self._stream.close()


def _has_fields(lines: bytes, expected: object) -> bool:
    """Whether the record has these values in the fields that its shape has."""
    record = orjson.loads(lines.partition(b"\n")[0])
    fields = orjson.loads(orjson.dumps(expected))
    return all(record.get(name, value) == value for name, value in fields.items())


@contextmanager
def _database_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OutputError(
            f"the resume index cannot be written to a temporary file: {error};"
            " set TMPDIR to a folder with free space"
        ) from None


def copy_ranges(
    stream: BinaryIO, ranges: Iterable[tuple[int, int]], target: IO[bytes]
) -> int:
    """Write these byte ranges of `stream` to `target`; return the number of bytes."""
    copied = 0
    for start, size in ranges:
        for offset in range(start, start + size, _COPY_BYTES):
            length = min(_COPY_BYTES, start + size - offset)
            piece = os.pread(stream.fileno(), length, offset)
            if len(piece) < length:
                raise RuntimeError("the partial report is shorter than it was")
            target.write(piece)
        copied += size
    return copied
