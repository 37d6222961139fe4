"""Tables written in four formats."""

# ruff: noqa: S608  (SQL is made of this program's own texts, values are quoted)

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path

import duckdb

from auditor.analysis.duckdb_connection import quoted
from auditor.analysis.export.destination import whole_files
from auditor.analysis.export.tables import Table, flat_tables, nested_tables
from auditor.analysis.reports import open_reports

# Rows that are handed from DuckDB to SQLite at once: some MB.
ROWS_AT_ONCE = 10_000

_SQLITE_TYPES = {"BIGINT": "INTEGER", "BOOLEAN": "INTEGER"}

Connection = duckdb.DuckDBPyConnection


class Target(StrEnum):
    """Formats. The first two make a folder with a file for each table."""

    CSV = "csv"
    PARQUET = "parquet"
    DUCKDB = "duckdb"
    SQLITE = "sqlite"


def export(
    reports: Sequence[str],
    *,
    target: Target,
    output: Path,
    tables: Sequence[str],
    force: bool = False,
) -> None:
    """Write tables of reports (see `tables.SELECTS`) to a file or folder.

    It is there only when it is whole; what `force` replaces stays until then.
    `UsageError` for reports that cannot be read, or an output that exists;
    `OutputError` where it cannot be written.
    """
    in_folder = target in {Target.CSV, Target.PARQUET}
    files = [output / f"{name}.{target}" for name in tables] if in_folder else [output]
    with (
        open_reports(reports) as connection,
        whole_files(files, force=force) as partials,
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


def _fill(database: sqlite3.Connection, source: Connection, table: Table) -> None:
    columns = ", ".join(
        f'"{name}" {_SQLITE_TYPES.get(kind, "TEXT")}' for name, kind in table.columns
    )
    database.execute(f'CREATE TABLE "{table.name}" ({columns})')
    places = ", ".join("?" * len(table.columns))
    insert = f'INSERT INTO "{table.name}" VALUES ({places})'
    rows = source.execute(table.select)
    while some := rows.fetchmany(ROWS_AT_ONCE):
        database.executemany(insert, some)


_WRITERS: dict[Target, Callable[[Connection, Sequence[str], list[Path]], None]] = {
    Target.CSV: _csv,
    Target.PARQUET: _parquet,
    Target.DUCKDB: _duckdb,
    Target.SQLITE: _sqlite,
}
