"""The report lock: one run at a time writes a report.

The lock is an exclusive flock(2) on `OUT.journal`. The kernel releases it when the
process that holds it ends, so that a journal left by a killed run blocks no later run.
The file has mode 0600, because a process that can open a file can also lock it.
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
from typing import Any

import orjson

from auditor.errors import LockedError, OutputError
from auditor.util.text import safe_text

log = logging.getLogger("auditor.report")

# Holds the header lines of a journal: host names and settings are short.
HEADER_BYTES = 64 * 1024
# A further attempt is only needed when a run ended between open and flock.
_ATTEMPTS = 20
_LOCKS_NOT_SUPPORTED = frozenset(
    {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
)


def open_locked(path: Path, *, output: str) -> int:
    """Open and lock the journal at `path`; closing the descriptor releases the lock.

    `output` is the report's name in error messages. Raises `LockedError` if another
    run holds the lock, `OutputError` if `path` cannot be a regular file of ours.
    """
    for _ in range(_ATTEMPTS):
        fd = _open(path, output)
        try:
            lock(fd, output)
            # A run that ends removes its journal: check that ours is still in place.
            if _is_at(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise LockedError(f"{output}: other runs keep locking this report; try again later")


def lock(fd: int, output: str) -> None:
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


def lock_holder(now: str) -> dict[str, Any]:
    """The fields of a journal header that name this process; `now` is RFC 3339."""
    return {"since": now, "pid": os.getpid(), "host": socket.gethostname()}


def parse_header(line: bytes, kind: str) -> Mapping[str, Any] | None:
    """A header line of a journal, or None if it is torn or of another kind."""
    if not line.endswith(b"\n"):
        return None
    try:
        header = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return header if isinstance(header, dict) and header.get("kind") == kind else None


def _describe_holder(fd: int) -> str:
    first, _, rest = os.pread(fd, HEADER_BYTES, 0).partition(b"\n")
    second = rest.partition(b"\n")[0]
    holder = parse_header(second + b"\n", "resumed") or parse_header(
        first + b"\n", "journal"
    )
    if holder is None:
        return "another run has just started to write this report"
    return safe_text(
        f"another run is writing this report: process {holder.get('pid')} on"
        f" {holder.get('host')}, since {holder.get('since')}"
    )


def _open(path: Path, output: str) -> int:
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
        reason = getattr(error, "strerror", None) or str(error)
        if code == errno.ELOOP:
            reason = "is a symbolic link; remove it"
        raise _unusable(output, path, reason) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _unusable(output, path, "is not a regular file; remove it")
    return fd


def _unusable(output: str, path: Path, reason: str) -> OutputError:
    return OutputError(
        f"{output}: the report cannot be written: {path.name} beside it: {reason}"
    )


def _is_at(fd: int, path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(fd))
