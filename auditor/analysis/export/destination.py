"""Files that appear under their names only when they are whole.

DuckDB and SQLite open files by their names, so what `reports.whole_file` does with a
stream is not enough: a name beside the file could be a link of somebody else. They
write into a folder that nobody else can enter.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb

from auditor.errors import OutputError, UsageError
from auditor.util.text import safe_text


@contextmanager
def whole_files(files: list[Path], *, force: bool) -> Iterator[list[Path]]:
    """Names to write to, renamed to `files` at the end, or removed after an error.

    Each is new: nothing is there. `UsageError` where a file exists, unless `force`
    lets it be replaced; `OutputError` for what cannot be written.
    """
    for file in files:
        if file.is_dir() or (file.exists() and not force):
            raise UsageError(f"{safe_text(str(file))}: exists; --force replaces it")
    partials: dict[Path, Path] = {}
    with _cannot_be_written(partials), ExitStack() as folders:
        for file in files:
            partials[folders.enter_context(_private_folder(file.parent)) / "new"] = file
        yield list(partials)
        for partial in partials:
            _make_durable(partial)
        for partial, file in partials.items():
            partial.replace(file)
        for folder in {file.parent for file in files}:
            _make_durable(folder)


@contextmanager
def _private_folder(parent: Path) -> Iterator[Path]:
    """A folder of this user's only, in the file system of the file, removed at the end.

    What is killed leaves it behind; its name begins with a dot.
    """
    parent.mkdir(parents=True, exist_ok=True)
    try:
        folder = tempfile.TemporaryDirectory(prefix=".auditor-", dir=parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(parent)) from None
    with folder as name:
        yield Path(name)


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _cannot_be_written(partials: dict[Path, Path]) -> Iterator[None]:
    """Names the file that a person knows, not where it was written to."""
    try:
        yield
    except OSError as error:
        name = error.filename or next(iter(partials.values()), "")
        file = partials.get(Path(os.fsdecode(name)), name)
        raise _error(file, error.strerror or str(error)) from None
    except sqlite3.Error as error:
        raise _error(next(iter(partials.values())), str(error)) from None
    except duckdb.IOException as error:
        # DuckDB raises the same for reports that it cannot read.
        for partial, file in partials.items():
            if str(partial) in str(error):
                raise _error(file, _reason(str(error))) from None
        raise


def _error(file: object, reason: str) -> OutputError:
    return OutputError(
        f"{safe_text(str(file))}: cannot be written: {safe_text(reason)}"
    )


def _reason(text: str) -> str:
    likely = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT)
    known = [os.strerror(number) for number in likely]
    return next((reason for reason in known if reason in text), text)
