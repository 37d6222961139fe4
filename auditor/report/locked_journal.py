"""`OUT.journal`: the report lock, and the state of an unfinished report.

One run at a time writes a report: it holds an exclusive flock(2) on this file. The
kernel releases the lock when the process ends, so that a journal left by a killed run
blocks no later run. The file has mode 0600, because a process that can open a file can
also lock it.

Line 1 is a JSON header: the version and the settings that the records depend on. Line
2, only after a resume, names the process that continues the run. Every further line
belongs to a record that is finished and waits for its turn in the report.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson

from auditor.errors import LockedError, OutputError
from auditor.model import SCHEMA
from auditor.util.atomic_file import sync_directory
from auditor.util.text import safe_text
from auditor.version import __version__

log = logging.getLogger("auditor.report")

# Holds the header lines: host names and settings are short.
_HEADER_BYTES = 64 * 1024
# A further attempt is only needed when a run ended between open and flock.
_ATTEMPTS = 20
_LOCKS_NOT_SUPPORTED = frozenset(
    {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
)


class Journal:
    """A journal that is open and locked; use it as a context manager.

    `header` is that of the run that left the journal, None without a readable one.
    """

    def __init__(self, path: Path, *, output: str) -> None:
        """Open and lock the journal of the report `output`.

        Raises `LockedError` if another run holds it, `OutputError` if the journal is
        not a regular file or cannot be opened.
        """
        self.path = path
        self._fd = _open_locked(path, output)
        lines = _header_lines(self._fd)
        self.header = _parse_header(lines[0], "journal") if lines else None
        if len(lines) == 2 and _parse_header(lines[1], "resumed") is None:
            del lines[1]
        self._header_lines = lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What matters was synced: an error of close(2) changes nothing.
        with suppress(OSError):
            os.close(self._fd)

    @property
    def holds_records(self) -> bool:
        """Whether the journal contains records."""
        return os.fstat(self._fd).st_size > self._header_size

    @property
    def _header_size(self) -> int:
        return sum(map(len, self._header_lines))

    def begin(self, settings: Mapping[str, Any], *, now: str) -> None:
        """Start the journal of a new run.

        `settings` are those that the records depend on, `now` is RFC 3339.
        """
        fields = {"auditor": __version__, "settings": dict(settings)}
        self._write_header("journal", fields, [], now)
        sync_directory(self.path.parent)

    def resume(self, *, now: str) -> None:
        """Record that this process continues the run, and drop the records."""
        self._write_header("resumed", {}, self._header_lines[:1], now)

    def _write_header(
        self, kind: str, fields: Mapping[str, Any], before: list[bytes], now: str
    ) -> None:
        header = {
            "schema": SCHEMA,
            "kind": kind,
            **fields,
            "since": now,
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
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
        """Make the appended lines durable."""
        os.fdatasync(self._fd)

    def open_records(self) -> tuple[BinaryIO, int]:
        """A stream of the whole journal, and the offset of its first record."""
        return os.fdopen(os.dup(self._fd), "rb"), self._header_size

    def remove(self) -> None:
        """Remove the file: the report is complete, or there is nothing to resume."""
        self.path.unlink(missing_ok=True)


def read_header(path: Path) -> Mapping[str, Any] | None:
    """The header of the run that began a journal, without its lock; None without one.

    Raises `OSError` if there is no journal.
    """
    with path.open("rb") as stream:
        return _parse_header(stream.readline(_HEADER_BYTES), "journal")


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, in as many calls as it takes. Raises `OSError`."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _header_lines(fd: int) -> list[bytes]:
    return os.pread(fd, _HEADER_BYTES, 0).splitlines(keepends=True)[:2]


def _parse_header(line: bytes, kind: str) -> Mapping[str, Any] | None:
    """A header line, or None if it is torn or of another kind."""
    if not line.endswith(b"\n"):
        return None
    try:
        header = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return header if isinstance(header, dict) and header.get("kind") == kind else None


# -- Lock --------------------------------------------------------------------------


def _open_locked(path: Path, output: str) -> int:
    """Open and lock the journal at `path`; closing the descriptor releases the lock.

    `output` is the report's name in error messages.
    """
    for _ in range(_ATTEMPTS):
        fd = _open(path, output)
        try:
            lock_file(fd, output)
            # A run that ends removes its journal: check that ours is still in place.
            if _is_at(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise LockedError(f"{output}: other runs keep locking this report; try again later")


def lock_file(fd: int, output: str) -> None:
    """Lock an open file, or raise `LockedError` with the process that holds the lock.

    On a file system without locks a warning is logged and nothing is locked.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(f"{output}: {_describe_holder(fd)}") from None
    except OSError as error:
        if error.errno not in _LOCKS_NOT_SUPPORTED:
            raise OutputError(f"{output}: cannot be locked: {error.strerror}") from None
        log.warning(
            "%s: this file system has no file locks; make sure that no second run"
            " writes the same report",
            output,
        )


def _describe_holder(fd: int) -> str:
    holders = map(_parse_header, _header_lines(fd), ("journal", "resumed"))
    holder = next(filter(None, reversed(list(holders))), None)
    if holder is None:
        return "another run has just started to write this report"
    return safe_text(
        f"another run is writing this report: process {holder.get('pid')} on"
        f" {holder.get('host')}, since {holder.get('since')}"
    )


def _open(path: Path, output: str) -> int:
    def unusable(reason: str) -> OutputError:
        return OutputError(
            f"{output}: the report cannot be written: {path.name} next to it: {reason}"
        )

    # Not blocking: a named pipe in its place is refused, not waited for.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
    except (OSError, ValueError) as error:
        code = getattr(error, "errno", None)
        if code == errno.ENOENT:
            raise OutputError(
                f"{output}: the report cannot be written: its folder does not exist"
            ) from None
        if code == errno.ELOOP:
            raise unusable("is a symbolic link; remove it") from None
        raise unusable(getattr(error, "strerror", None) or str(error)) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise unusable("is not a regular file; remove it")
    return fd


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False
