"""Exports reports as tables to CSV, Parquet, DuckDB or SQLite.

The tables have the columns of the views (`reports.VIEWS`), each value once: platforms
are only in the table `platforms`, layers only in `layers`, and so on. CSV and SQLite
have no lists and structures, so a list of strings is written with spaces between them,
and anything else as JSON.

Files are written into private folders next to their targets and renamed when all are
complete. (`util.atomic_file` opens a stream; DuckDB and SQLite open files by name, and
another user could have put a link at a predictable name.)
"""

# ruff: noqa: S608  (the SQL is made of constants and quoted values)

from __future__ import annotations

import errno
import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from enum import StrEnum
from pathlib import Path

import duckdb

from auditor.analysis.completeness import check_not_empty
from auditor.analysis.csv_lines import escape_formula_sql
from auditor.analysis.duckdb_connection import quoted
from auditor.analysis.file_kind import FileKind
from auditor.analysis.report_views import open_reports, report_paths
from auditor.analysis.sbom_views import add_sbom_views
from auditor.errors import OutputError, UsageError
from auditor.util.atomic_file import replace_durably
from auditor.util.text import safe_text

Connection = duckdb.DuckDBPyConnection

SELECTS = {
    "images": """
        SELECT * EXCLUDE (platforms, signatures, sources, input_labels) FROM images""",
    "platforms": "SELECT * EXCLUDE (layers) FROM platforms",
    "layers": "SELECT * FROM layers",
    "attachments": "SELECT * FROM attachments",
    "bases": "SELECT * FROM bases",
    "signatures": "SELECT * FROM signatures",
    "warnings": "SELECT * FROM warnings",
    "failures": "SELECT * EXCLUDE (sources, input_labels) FROM failures",
    "sources": "SELECT * EXCLUDE (input_labels) FROM sources",
    "input_labels": "SELECT * FROM input_labels",
}
TABLES = tuple(SELECTS)
# With SBOM files only.
SBOM_SELECTS = {
    "sboms": "SELECT * FROM sboms",
    "packages": "SELECT * FROM packages",
}
_ALL_SELECTS = SELECTS | SBOM_SELECTS
# Rows handed from DuckDB to SQLite at once: some megabytes.
BATCH_ROWS = 10_000


class ExportFormat(StrEnum):
    """Output formats. The first two make a folder with a file per table."""

    CSV = "csv"
    PARQUET = "parquet"
    DUCKDB = "duckdb"
    SQLITE = "sqlite"


def export(
    reports: Sequence[str],
    *,
    target: ExportFormat,
    output: Path,
    tables: Sequence[str],
    force: bool = False,
    sboms: Sequence[str] = (),
) -> list[Path]:
    """Write tables (names in `TABLES`) of reports to a file or folder, atomically.

    With `sboms`, the SBOM files of the reports, there are those of `SBOM_SELECTS`, too.
    `force` allows replacing an existing output. Returns the files of other tables in
    the folder, which are of an earlier export. Raises `UsageError` for reports that
    cannot be read or are empty and for an existing output, `OutputError` if it cannot
    be written.
    """
    in_folder = target in {ExportFormat.CSV, ExportFormat.PARQUET}
    if in_folder and output.is_file():
        raise UsageError(
            f"{safe_text(str(output))}: is a file; {target} needs a folder"
        )
    if not in_folder and output.is_dir():
        raise UsageError(f"{safe_text(str(output))}: is a folder; give a file in it")
    files = [output / f"{name}.{target}" for name in tables] if in_folder else [output]
    # The views of SBOMs read `images`.
    views = {"images", *SELECTS.keys() & set(tables)}
    with open_reports(reports, views=views, unfinished=True) as connection:
        check_not_empty(connection, "there is nothing to export")
        if sboms:
            several = len(report_paths(reports)) > 1
            sbom_files = report_paths(sboms, kind=FileKind.SBOMS)
            add_sbom_views(connection, sbom_files, with_report=several)
        with atomic_files(files, force=force) as partials:
            _WRITERS[target](connection, tables, partials)
    if not in_folder:
        return []
    others = [name for name in _ALL_SELECTS if name not in tables]
    left = [output / f"{name}.{target}" for name in others]
    return [file for file in left if file.exists()]


# -- writers --


def copy_parquet(connection: Connection, select: str, file: Path) -> None:
    """Write the rows of a SELECT to a new Parquet file."""
    connection.execute(
        f"COPY ({select}) TO {quoted(str(file))}"
        " (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
    )


def _parquet(connection: Connection, names: Sequence[str], files: list[Path]) -> None:
    for name, file in zip(names, files, strict=True):
        copy_parquet(connection, _ALL_SELECTS[name], file)


def _csv(connection: Connection, names: Sequence[str], files: list[Path]) -> None:
    for name, file in zip(names, files, strict=True):
        select = _flat_select(connection, name, escape_formulas=True)
        connection.execute(
            f"COPY ({select}) TO {quoted(str(file))}"
            " (FORMAT csv, HEADER true, USE_TMP_FILE false)"
        )


def _duckdb(connection: Connection, names: Sequence[str], files: list[Path]) -> None:
    (file,) = files
    connection.execute(f"ATTACH {quoted(str(file))} AS exported")
    for name in names:
        connection.execute(f"CREATE TABLE exported.{name} AS {_ALL_SELECTS[name]}")
    connection.execute("CHECKPOINT exported")  # or a part stays in the write-ahead log
    connection.execute("DETACH exported")


def _sqlite(connection: Connection, names: Sequence[str], files: list[Path]) -> None:
    # The SQLite extension of DuckDB would have to be downloaded.
    (file,) = files
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        # No journal is needed: the file is renamed only when it is complete.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN")
        for name in names:
            select = _flat_select(connection, name)
            types = _columns(connection, select)
            columns = ", ".join(
                f'"{column}" {_SQLITE_TYPES.get(kind, "TEXT")}'
                for column, kind in types.items()
            )
            database.execute(f'CREATE TABLE "{name}" ({columns})')
            insert = f'INSERT INTO "{name}" VALUES ({", ".join("?" * len(types))})'
            rows = connection.execute(select)
            while batch := rows.fetchmany(BATCH_ROWS):
                database.executemany(insert, batch)
        database.execute("COMMIT")


_WRITERS: dict[
    ExportFormat, Callable[[Connection, Sequence[str], list[Path]], None]
] = {
    ExportFormat.CSV: _csv,
    ExportFormat.PARQUET: _parquet,
    ExportFormat.DUCKDB: _duckdb,
    ExportFormat.SQLITE: _sqlite,
}


# -- scalars for CSV and SQLite --

_SQLITE_TYPES = {"BIGINT": "INTEGER", "BOOLEAN": "INTEGER"}
_NESTED = re.compile(r"(STRUCT|MAP)\(|.*\]$")


def _columns(connection: Connection, select: str) -> dict[str, str]:
    """The names and DuckDB types of the columns of a SELECT."""
    described = connection.execute(f"DESCRIBE {select}").fetchall()
    return {row[0]: row[1] for row in described}


def _flat_select(
    connection: Connection, table: str, *, escape_formulas: bool = False
) -> str:
    """A SELECT of a table in which every column is a scalar."""
    scalars = ", ".join(
        f'{_scalar(name, kind, escape_formulas=escape_formulas)} AS "{name}"'
        for name, kind in _columns(connection, _ALL_SELECTS[table]).items()
    )
    return f"SELECT {scalars} FROM ({_ALL_SELECTS[table]})"


def _scalar(name: str, kind: str, *, escape_formulas: bool) -> str:
    if _NESTED.match(kind) and kind != "VARCHAR[]":
        return f'to_json("{name}")::VARCHAR'  # starts with a bracket: never a formula
    if kind == "TIMESTAMP":
        return f'"{name}"::VARCHAR'  # SQLite has no such type
    text = f"array_to_string(\"{name}\", ' ')" if kind.endswith("]") else f'"{name}"'
    is_text = kind in {"VARCHAR", "VARCHAR[]"}
    return escape_formula_sql(text) if escape_formulas and is_text else text


# -- atomic replacement --


@contextmanager
def atomic_files(files: list[Path], *, force: bool) -> Iterator[list[Path]]:
    """Yield new paths to write to, which replace `files` if the body succeeds.

    Raises `UsageError` if a file exists and `force` is not set, `OutputError` if one
    cannot be written.
    """
    for file in files:
        if file.is_dir() or (file.exists() and not force):
            raise UsageError(f"{safe_text(str(file))}: exists; --force replaces it")
    targets: dict[Path, Path] = {}
    with _output_errors(targets), ExitStack() as folders:
        for file in files:
            folder = folders.enter_context(_private_folder(file.parent))
            targets[folder / "new"] = file
        yield list(targets)
        for partial in targets:
            with partial.open("rb") as written:
                os.fsync(written.fileno())
        for partial, file in targets.items():
            replace_durably(partial, file)


# The name of a folder for files that are not finished.
PRIVATE_FOLDER = ".auditor-"


@contextmanager
def _private_folder(parent: Path) -> Iterator[Path]:
    """A folder only this user can enter, in the file system of the file.

    A killed process leaves it behind; its name starts with a dot.
    """
    parent.mkdir(parents=True, exist_ok=True)
    try:
        folder = tempfile.TemporaryDirectory(prefix=PRIVATE_FOLDER, dir=parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(parent)) from None
    with folder as name:
        yield Path(name)


@contextmanager
def _output_errors(targets: dict[Path, Path]) -> Iterator[None]:
    """Raise `OutputError` with the name of the target, not of the temporary file."""
    try:
        yield
    except OSError as error:
        name = error.filename or next(iter(targets.values()), "")
        file = targets.get(Path(os.fsdecode(name)), name)
        raise _output_error(file, error.strerror or str(error)) from None
    except sqlite3.Error as error:
        raise _output_error(next(iter(targets.values())), str(error)) from None
    except (duckdb.IOException, duckdb.TransactionException) as error:
        # DuckDB raises the same for reports that it cannot read.
        for partial, file in targets.items():
            if str(partial) in str(error):
                raise _output_error(file, _reason(str(error))) from None
        raise


def _output_error(file: object, reason: str) -> OutputError:
    name = safe_text(str(file))
    return OutputError(f"{name}: cannot be written: {safe_text(reason)}")


def _reason(text: str) -> str:
    """The operating system's message within DuckDB's longer message."""
    likely = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT)
    reasons = [os.strerror(number) for number in likely]
    return next((reason for reason in reasons if reason in text), text)
