"""`OUT.journal`: settings of an unfinished report, and records written out of turn.

Line 1 is a JSON header: the version and the settings that the records depend on. Line
2, only after a resume, names the process that continues the run. Every further line
belongs to a record that is finished and waits for its turn in the report. The file is
also the report lock (lock.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson

from auditor.model import SCHEMA
from auditor.report.lock import HEADER_BYTES, lock_holder, open_locked, parse_header
from auditor.util.atomic_file import sync_directory


class Journal:
    """A journal that is open and locked; use it as a context manager."""

    def __init__(self, path: Path, *, output: str) -> None:
        """Open and lock the journal of the report `output`.

        Raises `LockedError` if another run holds it, `OutputError` if it cannot be a
        file.
        """
        self.path = path
        self._fd = open_locked(path, output=output)
        lines = os.pread(self._fd, HEADER_BYTES, 0).splitlines(keepends=True)[:2]
        # The header of the run that left this journal, or None without a readable one.
        self.header = parse_header(lines[0], "journal") if lines else None
        if len(lines) == 2 and parse_header(lines[1], "resumed") is None:
            del lines[1]
        self._header_lines = lines

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    @property
    def holds_records(self) -> bool:
        """Whether the journal contains records."""
        return os.fstat(self._fd).st_size > self._header_size

    @property
    def _header_size(self) -> int:
        return sum(map(len, self._header_lines))

    def begin(self, settings: Mapping[str, Any], *, version: str, now: str) -> None:
        """Start the journal of a new run.

        `settings` are those that the records depend on, `now` is RFC 3339.
        """
        header = {
            "schema": SCHEMA,
            "kind": "journal",
            "auditor": version,
            "settings": dict(settings),
            **lock_holder(now),
        }
        self._write_header(header, [])
        sync_directory(self.path.parent)

    def resume(self, *, now: str) -> None:
        """Record that this process continues the run, and drop the records."""
        header = {"schema": SCHEMA, "kind": "resumed", **lock_holder(now)}
        self._write_header(header, self._header_lines[:1])

    def _write_header(self, header: Mapping[str, Any], before: list[bytes]) -> None:
        os.ftruncate(self._fd, sum(map(len, before)))
        line = orjson.dumps(header, option=orjson.OPT_APPEND_NEWLINE)
        self.append(line)
        os.fsync(self._fd)
        self._header_lines = [*before, line]

    def append(self, lines: bytes) -> None:
        """Append the lines of records that wait for their turn."""
        write_all(self._fd, lines)

    def clear_records(self) -> None:
        """Drop the records: all of them are in the report now."""
        os.ftruncate(self._fd, self._header_size)

    def sync(self) -> None:
        """Make what was appended durable."""
        os.fdatasync(self._fd)

    def open_records(self) -> tuple[BinaryIO, int]:
        """A stream of the whole journal, and the offset of its first record."""
        return os.fdopen(os.dup(self._fd), "rb"), self._header_size

    def remove(self) -> None:
        """Remove the file: the report is complete, or there is nothing to resume."""
        self.path.unlink(missing_ok=True)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, in as many calls as it takes. Raises `OSError`."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
