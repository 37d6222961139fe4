"""Files that appear under their names only when they are whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from auditor.errors import OutputError, UsageError
from auditor.safe_text import safe_text


@contextmanager
def whole_files(files: list[Path], *, force: bool) -> Iterator[list[Path]]:
    """Names to write to, renamed to `files` at the end, or removed after an error.

    Each is new: nothing is there. `UsageError` where a file exists, unless `force`
    lets it be replaced; `OutputError` for what cannot be written.
    """
    for file in files:
        if file.is_dir() or (file.exists() and not force):
            raise UsageError(f"{safe_text(str(file))}: exists; --force replaces it")
    partials = [file.with_name(f"{file.name}.partial") for file in files]
    with _cannot_be_written(partials):
        try:
            for partial in partials:
                partial.parent.mkdir(parents=True, exist_ok=True)
                partial.unlink(missing_ok=True)
            yield partials
            for partial in partials:
                _make_durable(partial)
            for partial, file in zip(partials, files, strict=True):
                partial.replace(file)
            for folder in {file.parent for file in files}:
                _make_durable(folder)
        finally:
            for partial in partials:
                partial.unlink(missing_ok=True)


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _cannot_be_written(partials: list[Path]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = error.filename or partials[0]
        reason = error.strerror or str(error)
        raise OutputError(f"{safe_text(str(name))}: {reason}") from None
    except duckdb.IOException as error:
        # DuckDB raises the same for reports that it cannot read.
        for partial in partials:
            if str(partial) in str(error):
                reason = safe_text(_reason(str(error)))
                raise OutputError(f"{safe_text(str(partial))}: {reason}") from None
        raise


def _reason(text: str) -> str:
    likely = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT)
    known = [os.strerror(number) for number in likely]
    return next((reason for reason in known if reason in text), text)
