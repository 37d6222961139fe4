"""Tables written in four formats."""

# ruff: noqa: S608  (SQL is made of this program's own texts, values are quoted)

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

from auditor.analysis.csv_formula_guard import escape_formula_sql
from auditor.analysis.duckdb_connection import quoted
from auditor.analysis.reports import open_reports
from auditor.errors import OutputError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text

# -- destination --
# Files that appear under their names only when they are whole.
#
# DuckDB and SQLite open files by their names, so what `reports.whole_file` does with a
# stream is not enough: a name beside the file could be a link of somebody else. They
# write into a folder that nobody else can enter.


@contextmanager
def atomic_files(files: list[Path], *, force: bool) -> Iterator[list[Path]]:
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


# -- tables --
# What the exported tables hold: the columns of the views, each row once.
#
# `images` leaves its platforms, and `platforms` its layers, to the tables of these
# names. Formats without lists and structures get text for them: a list of texts with
# blanks between, anything else as JSON.


SELECTS = {
    "images": "SELECT * EXCLUDE (platforms) FROM images",
    "platforms": "SELECT * EXCLUDE (layers) FROM platforms",
    "layers": "SELECT * FROM layers",
    "attachments": "SELECT * FROM attachments",
    "warnings": "SELECT * FROM warnings",
    "failures": "SELECT * FROM failures",
}
TABLES = tuple(SELECTS)

_LIST_OF_TEXT = "VARCHAR[]"
_NESTED = re.compile(r"(STRUCT|MAP)\(|.*\]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTable:
    """A table to be written. `select` yields `columns`: name and DuckDB's type."""

    name: str
    select: str
    columns: tuple[tuple[str, str], ...]


def nested_tables(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str]
) -> list[ExportTable]:
    """The tables with their lists and structures."""
    return [_table(connection, name, SELECTS[name]) for name in names]


def flat_tables(
    connection: duckdb.DuckDBPyConnection,
    names: Sequence[str],
    *,
    neutralised: bool = False,
) -> list[ExportTable]:
    """The tables with scalars only; if asked for, with no text that is a formula."""
    found = []
    for table in nested_tables(connection, names):
        expressions = ", ".join(
            f'{_scalar(name, kind, neutralised=neutralised)} AS "{name}"'
            for name, kind in table.columns
        )
        select = f"SELECT {expressions} FROM ({table.select})"
        found.append(_table(connection, table.name, select))
    return found


def _table(
    connection: duckdb.DuckDBPyConnection, name: str, select: str
) -> ExportTable:
    described = connection.execute(f"DESCRIBE {select}").fetchall()
    return ExportTable(
        name=name, select=select, columns=tuple((row[0], row[1]) for row in described)
    )


def _scalar(name: str, kind: str, *, neutralised: bool) -> str:
    if kind == _LIST_OF_TEXT:
        text = f"array_to_string(\"{name}\", ' ')"
    elif _NESTED.match(kind):
        return f'to_json("{name}")::VARCHAR'  # begins with a bracket: no formula
    elif kind == "VARCHAR":
        text = f'"{name}"'
    else:
        return f'"{name}"'
    return escape_formula_sql(text) if neutralised else text


# Rows that are handed from DuckDB to SQLite at once: some MB.
ROWS_AT_ONCE = 10_000

_SQLITE_TYPES = {"BIGINT": "INTEGER", "BOOLEAN": "INTEGER"}

Connection = duckdb.DuckDBPyConnection


class ExportFormat(StrEnum):
    """Formats. The first two make a folder with a file for each table."""

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
) -> None:
    """Write tables of reports (see `tables.SELECTS`) to a file or folder.

    It is there only when it is whole; what `force` replaces stays until then.
    `UsageError` for reports that cannot be read, or an output that exists;
    `OutputError` where it cannot be written.
    """
    in_folder = target in {ExportFormat.CSV, ExportFormat.PARQUET}
    files = [output / f"{name}.{target}" for name in tables] if in_folder else [output]
    with (
        open_reports(reports) as connection,
        atomic_files(files, force=force) as partials,
    ):
        _WRITERS[target](connection, tables, partials)


def copy_parquet(connection: Connection, select: str, file: Path) -> None:
    """Write what a SELECT yields to a new Parquet file."""
    connection.execute(
        f"COPY ({select}) TO {quoted(str(file))}"
        " (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
    )


def _parquet(connection: Connection, names: Sequence[str], files: list[Path]) -> None:
    for table, file in zip(nested_tables(connection, names), files, strict=True):
        copy_parquet(connection, table.select, file)


def _csv(connection: Connection, names: Sequence[str], files: list[Path]) -> None:
    tables = flat_tables(connection, names, neutralised=True)
    for table, file in zip(tables, files, strict=True):
        connection.execute(
            f"COPY ({table.select}) TO {quoted(str(file))}"
            " (FORMAT csv, HEADER true, USE_TMP_FILE false)"
        )


def _duckdb(connection: Connection, names: Sequence[str], files: list[Path]) -> None:
    (file,) = files
    connection.execute(f"ATTACH {quoted(str(file))} AS exported")
    for table in nested_tables(connection, names):
        connection.execute(f"CREATE TABLE exported.{table.name} AS {table.select}")
    connection.execute("CHECKPOINT exported")  # or a part stays in a file beside it
    connection.execute("DETACH exported")


def _sqlite(connection: Connection, names: Sequence[str], files: list[Path]) -> None:
    # DuckDB's own SQLite extension would have to be downloaded.
    (file,) = files
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        # The file is worth nothing until it is renamed: no journal is needed.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN")
        for table in flat_tables(connection, names):
            _fill(database, connection, table)
        database.execute("COMMIT")


def _fill(database: sqlite3.Connection, source: Connection, table: ExportTable) -> None:
    columns = ", ".join(
        f'"{name}" {_SQLITE_TYPES.get(kind, "TEXT")}' for name, kind in table.columns
    )
    database.execute(f'CREATE TABLE "{table.name}" ({columns})')
    places = ", ".join("?" * len(table.columns))
    insert = f'INSERT INTO "{table.name}" VALUES ({places})'
    rows = source.execute(table.select)
    while some := rows.fetchmany(ROWS_AT_ONCE):
        database.executemany(insert, some)


_WRITERS: dict[
    ExportFormat, Callable[[Connection, Sequence[str], list[Path]], None]
] = {
    ExportFormat.CSV: _csv,
    ExportFormat.PARQUET: _parquet,
    ExportFormat.DUCKDB: _duckdb,
    ExportFormat.SQLITE: _sqlite,
}
