"""Report files as tables (`VIEWS`).

DuckDB reads them, compressed ones too (`.gz`, `.zst`), and works out of core, so that
ten million lines fit on a small machine.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from auditor.analysis.duckdb_connection import work_database
from auditor.analysis.reading_errors import reading_reports
from auditor.analysis.views import VIEWS, create_views
from auditor.analysis.zstd_frames import is_whole
from auditor.errors import UsageError
from auditor.util.text import safe_text

__all__ = [
    "VIEWS",
    "add_reports",
    "check_output",
    "duckdb_pattern",
    "open_reports",
    "report_paths",
]


@contextmanager
def open_reports(
    paths: Sequence[str], *, schema: str = "main"
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which the reports are views. `paths` may be globs.

    What DuckDB writes goes into a temporary folder that is removed. `UsageError` says
    what is not there, is no report, or is found to be damaged while the views are
    read inside the `with`.
    """
    with work_database() as connection, reading_reports():
        add_reports(connection, paths, schema=schema)
        yield connection


def add_reports(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[str], *, schema: str
) -> None:
    """Make the reports' views in `schema` of a connection, and use it (see `VIEWS`).

    `UsageError` where a file is not there or its first line is not one of a report.
    """
    patterns = [duckdb_pattern(file) for file in report_paths(paths)]
    with reading_reports():
        create_views(connection, patterns, schema=schema)
        connection.execute("SELECT kind FROM lines LIMIT 1").fetchall()


def report_paths(paths: Sequence[str]) -> list[str]:
    """The files that paths and globs name, sorted, each file once.

    `UsageError` where there is none, or where one cannot be read to its end.
    """
    found: dict[Path, str] = {}
    for path in paths:
        # Path.glob knows no absolute pattern.
        matches = [path] if Path(path).exists() else glob.glob(path, recursive=True)  # noqa: PTH207
        if not matches and path == "-":
            raise UsageError("-: a report is read more than once: name a file")
        if not matches:
            raise UsageError(f"{safe_text(path)}: no such report")
        for match in matches:
            found.setdefault(Path(match).resolve(), match)
    files = sorted(found.values())
    for file in files:
        _check(file)
    return files


def check_output(output: str, inputs: Sequence[str]) -> None:
    """Refuse to write over what is read: `UsageError`. "-" is standard output."""
    if output == "-":
        return
    target = Path(output).resolve()
    for name in inputs:
        if any(Path(file).resolve() == target for file in (name, *glob.glob(name))):  # noqa: PTH207
            raise UsageError(
                f"{safe_text(output)}: is read by this command, so it cannot be"
                " written by it; name another file"
            )


def duckdb_pattern(file: str) -> str:
    """The name of one file as DuckDB, which reads every name as a glob, wants it."""
    return re.sub(r"[*?\[]", r"[\g<0>]", file)


def _check(file: str) -> None:
    try:
        with Path(file).open("rb") as opened:
            if not opened.seekable():
                raise UsageError(f"{safe_text(file)}: a report is read more than once")
            if file.endswith(".zst") and not is_whole(opened):
                raise UsageError(
                    f"{safe_text(file)}: the file is cut off or not a zstd file"
                )
    except OSError as error:
        raise UsageError(f"{safe_text(file)}: {error.strerror or error}") from None
