"""`OUT.journal`: the lock of a report, which run it is, and what came out of turn.

A JSON line says what the run is; after a resumption, a second one who runs it now;
then lines of records that are finished and wait for their turn in the report. The
file is locked (flock(2)) as long as its run lives, so that the lock of a run that died
is free, whatever the file says. Nobody but its owner may open it, because whoever can
open it can lock it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson

from auditor.errors import LockedError, OutputError
from auditor.model import SCHEMA
from auditor.util.text import safe_text

log = logging.getLogger("auditor.report")

# The first two lines fit: names of hosts and settings are short.
_HEAD_BYTES = 64 * 1024
# Each try but the first means that a run ended between our opening and our locking.
_TRIES = 20
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


class Journal:
    """A journal that is open and locked; made by `Journal.locked`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        head = os.pread(fd, _HEAD_BYTES, 0)
        self._lines = head.splitlines(keepends=True)[:2]
        # What is said of the run that was left over; null where that cannot be read.
        self.run: Mapping[str, Any] | None = _journal_line(self._lines[:1], "journal")

    @classmethod
    def locked(cls, path: Path, *, output: str) -> Self:
        """Open and lock the journal of the report `output`.

        Raises `LockedError` where another run has it, `OutputError` where it cannot
        be a file.
        """
        for _ in range(_TRIES):
            fd = _open(path, output)
            try:
                _lock(fd, output)
                # A run that ends removes its journal: ours must be the one there is.
                if _is_at(fd, path):
                    return cls(path, fd)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        raise LockedError(f"{output}: other runs come and go; try again")

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
        """Whether finished records stand here."""
        return os.fstat(self._fd).st_size > self._head_size

    @property
    def _head_size(self) -> int:
        again = _journal_line(self._lines[1:], "resumed") is not None
        return sum(map(len, self._lines[: 1 + again]))

    def begin(self, settings: Mapping[str, Any], *, version: str, now: str) -> None:
        """Say which run this is. `settings` are those that records depend on."""
        os.ftruncate(self._fd, 0)
        line = {
            "schema": SCHEMA,
            "kind": "journal",
            "auditor": version,
            "settings": dict(settings),
            **_who(now),
        }
        self._say(line, self._lines[:0])
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def resume(self, *, now: str) -> None:
        """Say who goes on with the run; its early records stand in the report now."""
        os.ftruncate(self._fd, len(self._lines[0]))
        line = {"schema": SCHEMA, "kind": "resumed", **_who(now)}
        self._say(line, self._lines[:1])

    def _say(self, line: Mapping[str, Any], before: list[bytes]) -> None:
        data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        self.add(data)
        os.fsync(self._fd)
        self._lines = [*before, data]

    def add(self, lines: bytes) -> None:
        """Write down records that are finished and wait for their turn."""
        view = memoryview(lines)
        while view:
            view = view[os.write(self._fd, view) :]

    def forget(self) -> None:
        """Drop the records: all of them stand in the report."""
        os.ftruncate(self._fd, self._head_size)

    def sync(self) -> None:
        """Make what was written durable."""
        os.fdatasync(self._fd)

    def records(self) -> tuple[BinaryIO, int]:
        """A stream of the whole journal, and where in it the records begin."""
        return os.fdopen(os.dup(self._fd), "rb"), self._head_size

    def remove(self) -> None:
        """Take it away: the report is whole."""
        self.path.unlink(missing_ok=True)


def _journal_line(lines: list[bytes], kind: str) -> Mapping[str, Any] | None:
    if not lines or not lines[0].endswith(b"\n"):
        return None
    try:
        line = orjson.loads(lines[0])
    except orjson.JSONDecodeError:
        return None
    return line if isinstance(line, dict) and line.get("kind") == kind else None


def _open(path: Path, output: str) -> int:
    # Not blocking: a named pipe in its place is refused, not waited for.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) == errno.ENOENT:
            raise OutputError(
                f"{output}: the report cannot be written: there is no such folder"
            ) from None
        if getattr(error, "errno", None) == errno.ELOOP:
            reason = "a link is in its place"
        raise _unusable(output, path, reason) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _unusable(output, path, "not a regular file")
    return fd


def _unusable(output: str, path: Path, reason: str) -> OutputError:
    return OutputError(
        f"{output}: the report cannot be written: {path.name} beside it: {reason}"
    )


def _lock(fd: int, output: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(f"{output}: {_holder(fd)}") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise OutputError(f"{output}: cannot be locked: {error.strerror}") from None
        log.warning("%s: no locks here; nothing keeps a second run away", output)


def _holder(fd: int) -> str:
    lines = os.pread(fd, _HEAD_BYTES, 0).splitlines(keepends=True)[:2]
    who = _journal_line(lines[1:], "resumed") or _journal_line(lines, "journal")
    if who is None:
        return "another run has just begun to write it"
    return safe_text(
        f"another run writes it: process {who.get('pid')} on {who.get('host')},"
        f" since {who.get('since')}"
    )


def _is_at(fd: int, path: Path) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(fd))


def _who(now: str) -> dict[str, Any]:
    return {"since": now, "pid": os.getpid(), "host": socket.gethostname()}
