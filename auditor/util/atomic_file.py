"""A file that appears only when it is whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# Where the system keeps the names of a process's open files: /dev/stdout, and what a
# shell makes of `>(...)`, are links to there (proc(5), "/proc/pid/fd").
_OPEN_FILES = "/proc/"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A stream into `PATH.partial`, which gets its name when the body ends well.

    Otherwise it is removed, and an earlier file stays as it was. Nobody else's link
    or file in its place is written through. A device, a pipe and what is open already
    (`/dev/null`, `/dev/stdout`) are written as they are: a file in the place of
    `/dev/null` would harm the whole machine. Raises `OSError`.
    """
    if is_special_file(path):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as stream:
            yield stream
        return
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)  # what an earlier program left
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    stream = os.fdopen(os.open(partial, flags, 0o644), "wb")
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        replace_durably(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def is_special_file(path: Path) -> bool:
    """Whether a path names no file that another could take the place of."""
    place = path.parent.resolve() / path.name
    with suppress(OSError):
        if place.is_symlink() and (
            str(place).startswith(_OPEN_FILES)
            or str(place.readlink()).startswith(_OPEN_FILES)
        ):
            return True
        mode = place.stat().st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return False


def replace_durably(source: Path, target: Path) -> None:
    """Rename `source` to `target` and sync the folder, so that a crash keeps it."""
    source.replace(target)
    sync_directory(target.parent)


def sync_directory(folder: Path) -> None:
    """Make renames and new files in `folder` durable. Raises `OSError`."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
