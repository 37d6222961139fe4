"""Files that are replaced atomically: complete and durable, or not at all.

Every replacement has the same steps: write a temporary file next to it, sync the file,
rename it, sync the directory. Without the last step a power failure can undo the rename
(fsync(2), NOTES).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# Symbolic links to the open files of a process: /dev/stdout, and what a shell makes of
# `>(...)`, lead there (proc(5), "/proc/pid/fd").
_OPEN_FILES = "/proc/"


@contextmanager
def atomic_file(path: Path, *, public: bool = False) -> Iterator[BinaryIO]:
    """Open a stream to `PATH.partial`, which replaces PATH when the body succeeds.

    A `public` file can be read by every user, whatever the umask is.

    On an exception the temporary file is removed and PATH keeps its content. A
    symbolic link is replaced, not followed. Devices, pipes and files that are already
    open (`/dev/null`, `/dev/stdout`) are written directly. Raises `OSError`.
    """
    if is_special_file(path):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as stream:
            yield stream
        return
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    stream = os.fdopen(os.open(partial, flags, 0o644), "wb")
    try:
        with stream:
            if public:
                _let_all_read(stream.fileno())
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        replace_durably(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def _let_all_read(descriptor: int) -> None:
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    with suppress(OSError):  # some file systems have no permissions
        os.fchmod(descriptor, mode | 0o444)


def replace_durably(source: Path, target: Path) -> None:
    """Rename a synced file, and sync the directory. Raises `OSError`."""
    source.replace(target)
    sync_directory(target.parent)


def sync_directory(directory: Path) -> None:
    """Make changes to the entries of a directory durable. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        with suppress(OSError):  # it was synced, or that failed
            os.close(descriptor)


def is_special_file(path: Path) -> bool:
    """Whether a path is a device, pipe or open file, which must not be replaced."""
    path = path.parent.resolve() / path.name
    with suppress(OSError):
        if path.is_symlink() and (
            str(path).startswith(_OPEN_FILES)
            or str(path.readlink()).startswith(_OPEN_FILES)
        ):
            return True
        mode = path.stat().st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return False
