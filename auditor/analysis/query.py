"""Runs one SQL query on report files, and prints its result as a table, JSON or CSV.

The query can read nothing else and write nothing. In DuckDB a SELECT can do more: `WITH
x AS (COPY ... TO 'file')` writes a file, and table functions read files, run SQL or
change settings. Two independent defences: the parse tree may contain only nodes that
read and table functions that make rows from values, and DuckDB is configured to deny
access to every file but the reports.
"""

# ruff: noqa: S608  (the SQL is made of constants, checked SQL and quoted names)

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TextIO

import duckdb
import orjson

from auditor.analysis.csv_lines import csv_line, csv_text
from auditor.analysis.duckdb_connection import quoted
from auditor.analysis.file_kind import FileKind
from auditor.analysis.query_errors import explained_error, is_query_error
from auditor.analysis.report_views import (
    READING_ERRORS,
    VIEWS,
    add_views,
    duckdb_pattern,
    error_text,
    open_reports,
    report_paths,
)
from auditor.analysis.sbom_views import add_sbom_views
from auditor.analysis.text_tables import align
from auditor.analysis.unknown_values import unknown_values
from auditor.analysis.view_columns import REPORT_COLUMN, SBOM_VIEW_HELP, VIEW_HELP
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.util.terminal import ScreenColumn, screen_of, table_lines
from auditor.util.text import safe_text, terminal_safe_json

READING_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
ROW_FUNCTIONS = {"unnest", "range", "generate_series", "json_each", "json_tree"}
# They read or change the process or its environment.
FORBIDDEN_FUNCTIONS = {"current_setting", "getenv", "getvariable", "write_log"}
BATCH_ROWS = 1000
# The column widths of a table need all rows in memory.
MAX_TABLE_ROWS = 10_000
CELL_CHARS = 120
# A terminal shows long values on several lines, as many as can be read.
SCREEN_CELL_CHARS = 500

_FLOATS = {"DOUBLE", "FLOAT"}
_NUMBERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DECIMAL.*|DOUBLE|FLOAT)$")
_NESTED = re.compile(r"(STRUCT|MAP|UNION)\(|.*\]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultColumn:
    """A column of a result. `type` is the name of a DuckDB type."""

    name: str
    type: str

    @property
    def is_number(self) -> bool:
        """Whether the type of the column is numeric."""
        return bool(_NUMBERS.match(self.type))


@dataclass(frozen=True, slots=True)
class QueryNames:
    """The names of views and columns in a query, in lower case."""

    views: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()


class QueryResult:
    """The result of a query. Rows are computed while they are read.

    `names` are those in the query. `row_count` is the number of rows that were read so
    far.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        select: str,
        names: QueryNames,
    ) -> None:
        self._connection = connection
        self._select = select
        self._names = names
        self.row_count = 0
        described = connection.execute(f"DESCRIBE SELECT * FROM ({select})").fetchall()
        self.columns = tuple(
            ResultColumn(name=row[0], type=row[1]) for row in described
        )

    def rows(self) -> Iterator[tuple[str | None, ...]]:
        """Every row as strings; nested values are JSON."""
        texts = (
            f"{'to_json(c' if _NESTED.match(column.type) else '(c'}{number})::VARCHAR"
            for number, column in enumerate(self.columns)
        )
        yield from self._fetch(f"SELECT {', '.join(texts)} FROM {self._numbered()}")

    def json_lines(self) -> Iterator[str]:
        """Every row as a JSON object; infinities and NaN are null."""
        fields = []
        for number, column in enumerate(self.columns):
            finite = f"CASE WHEN isfinite(c{number}) THEN c{number} END"
            value = finite if column.type in _FLOATS else f"c{number}"
            name = column.name.replace('"', '""')
            fields.append(f'{value} AS "{name}"')
        selected = f"SELECT {', '.join(fields)} FROM {self._numbered()}"
        for (line,) in self._fetch(
            f"SELECT to_json(result)::VARCHAR FROM ({selected}) AS result"
        ):
            yield line

    def notices(self) -> Iterator[str]:
        """What the reports cannot answer: the number of rows with unknown values."""
        with query_errors(self._select):
            yield from unknown_values(
                self._connection, self._names.views, self._names.columns
            )

    def _numbered(self) -> str:
        names = ", ".join(f"c{number}" for number in range(len(self.columns)))
        return f"({self._select}) AS result({names})"

    def _fetch(self, select: str) -> Iterator[tuple[Any, ...]]:
        with query_errors(self._select):
            cursor = self._connection.execute(select)
            while rows := cursor.fetchmany(BATCH_ROWS):
                self.row_count += len(rows)
                yield from rows


@contextmanager
def run_query(
    paths: Sequence[str], sql: str, *, sboms: Sequence[str] = ()
) -> Iterator[QueryResult]:
    """Run one SELECT on the views of reports, given as files or globs.

    With `sboms`, their SBOM files, there are the views `sboms` and `packages`, too.

    Raises `UsageError` for a query that is not a SELECT, that accesses anything but the
    views, or that is not valid.
    """
    files = report_paths(paths)
    with open_reports(files, views=(), unfinished=True) as connection:
        with query_errors(sql):
            select, names = checked_select(connection, sql)
        # Another name can be a mistake, which DuckDB explains with a similar one.
        is_exact = bool(names.views) and names.views <= VIEWS.keys() and not sboms
        views = names.views if is_exact else None
        add_views(connection, views, with_report=len(files) > 1)
        sbom_files = _add_sboms(connection, files, sboms)
        lock_reports(connection, [*files, *sbom_files])
        with query_errors(sql):
            result = QueryResult(connection, select, names)
        yield result


def _add_sboms(
    connection: duckdb.DuckDBPyConnection, files: Sequence[str], sboms: Sequence[str]
) -> list[str]:
    """Add the views of SBOM files, given as files or globs; return the files."""
    sbom_files = report_paths(sboms, kind=FileKind.SBOMS)
    if sbom_files:
        add_sbom_views(connection, sbom_files, with_report=len(files) > 1)
    return sbom_files


def view_columns(
    paths: Sequence[str], sboms: Sequence[str]
) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """Each view of reports, what its rows are, and its columns.

    A column has a name, a short name of its type (text, number, time, yes/no, list,
    map, struct) and a meaning.
    """
    found = []
    files = report_paths(paths)
    with open_reports(files, unfinished=True) as connection:
        views = dict(VIEW_HELP)
        if _add_sboms(connection, files, sboms):
            views |= SBOM_VIEW_HELP
        for view, explained in views.items():
            described = connection.execute(f"DESCRIBE {view}").fetchall()
            meanings = dict([REPORT_COLUMN]) | explained.columns
            columns = [
                (row[0], _short_type(row[1]), meanings.get(row[0], ""))
                for row in described
            ]
            found.append((view, explained.row, columns))
    return found


def _short_type(name: str) -> str:
    if name.endswith("]"):
        return "list"
    outer = name.partition("(")[0]
    return {"VARCHAR": "text", "BIGINT": "number", "BOOLEAN": "yes/no",
            "TIMESTAMP": "time"}.get(outer, outer.lower())  # fmt: skip


def lock_reports(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> None:
    """Deny the connection every file but these; this cannot be undone."""
    # DuckDB checks both the pattern it is given and the names it expands to.
    allowed = sorted({*files, *map(duckdb_pattern, files)})
    connection.execute(f"SET allowed_paths = [{', '.join(map(quoted, allowed))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def checked_select(
    connection: duckdb.DuckDBPyConnection, sql: str
) -> tuple[str, QueryNames]:
    """The query, and the names in it.

    Raises `UsageError` for anything that does more than read the views.
    """
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
        raise UsageError("a query must be one SELECT, DESCRIBE or SUMMARIZE")
    select = f"{sql.rstrip().rstrip(';')}\n"  # the last line can be a comment
    (tree,) = connection.execute(
        "SELECT json_serialize_sql(?)::VARCHAR", [f"SELECT * FROM ({select})"]
    ).fetchone() or ("{}",)
    parsed = orjson.loads(tree)
    if parsed.get("error") is not False or len(parsed["statements"]) != 1:
        reason = str(parsed.get("error_message", "more than one statement"))
        raise UsageError(f"a query must be one SELECT, DESCRIBE or SUMMARIZE: {reason}")
    return select, _check_tree(parsed["statements"])


def _check_tree(tree: object) -> QueryNames:
    views: set[str] = set()
    columns: set[str] = set()
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        if not isinstance(node, dict):
            continue
        pending += node.values()
        kind = node.get("type")
        if not isinstance(kind, str):
            continue
        if kind in {"BASE_TABLE", "SHOW_REF"} and node.get("table_name"):
            views.add(str(node["table_name"]).lower())
        if kind == "COLUMN_REF":
            columns.update(str(name).lower() for name in node.get("column_names", ()))
        if kind.endswith("_NODE") and kind not in READING_NODES:
            verb = kind.removesuffix("_NODE").removesuffix("_QUERY")
            raise UsageError(f"a query can only read: {verb} is not allowed")
        name = str(node.get("function_name")).lower()
        if node.get("class") == "FUNCTION" and name in FORBIDDEN_FUNCTIONS:
            raise UsageError(f"a query can only read reports: {name}() is not allowed")
        if kind == "TABLE_FUNCTION":
            name = str(node.get("function", {}).get("function_name"))
            if name.lower() not in ROW_FUNCTIONS:
                raise UsageError(
                    f"a query can only read the views {', '.join(VIEWS)};"
                    f" {name}() is not allowed"
                )
    return QueryNames(frozenset(views), frozenset(columns))


@contextmanager
def query_errors(sql: str) -> Iterator[None]:
    """Turn errors of a query, which were explained, into `UsageError`."""
    try:
        yield
    except duckdb.Error as error:
        if isinstance(error, READING_ERRORS) and not is_query_error(error):
            raise
        explained = explained_error(error, sql) or error_text(error)
        raise UsageError(f"the query: {explained}") from None


# -- output --


class RowFormat(StrEnum):
    """The output formats."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"


def write_result(result: QueryResult, form: RowFormat, out: TextIO) -> bool:
    """Print all rows; return False if a table was truncated to `MAX_TABLE_ROWS`."""
    match form:
        case RowFormat.TABLE:
            rows = list(itertools.islice(result.rows(), MAX_TABLE_ROWS + 1))
            _write_table(result.columns, rows[:MAX_TABLE_ROWS], out)
            return len(rows) <= MAX_TABLE_ROWS
        case RowFormat.JSONL:
            out.writelines(
                terminal_safe_json(line.encode()).decode() + "\n"
                for line in result.json_lines()
            )
        case RowFormat.CSV:
            _write_csv(result, out)
    return True


def _write_csv(result: QueryResult, out: TextIO) -> None:
    """RFC 4180 with a header; NULL is an empty cell, and formulas are escaped."""
    out.write(csv_line(csv_text(column.name) for column in result.columns))
    numbers = [column.is_number for column in result.columns]
    out.writelines(
        csv_line(
            cell or "" if is_number else csv_text(cell or "")
            for cell, is_number in zip(row, numbers, strict=True)
        )
        for row in result.rows()
    )


def _write_table(
    columns: tuple[ResultColumn, ...], rows: list[tuple[str | None, ...]], out: TextIO
) -> None:
    """Aligned columns; on a terminal, a result that is too wide record by record."""
    screen = screen_of(out)
    limit_chars = CELL_CHARS if screen.width is None else SCREEN_CELL_CHARS
    cells = [[safe_text(cell or "", limit_chars) for cell in row] for row in rows]
    heading = [safe_text(column.name, CELL_CHARS) for column in columns]
    if screen.is_plain:
        lines = align([heading, *cells], [column.is_number for column in columns])
    else:
        shown = [
            ScreenColumn(title=name, is_number=column.is_number)
            for name, column in zip(heading, columns, strict=True)
        ]
        lines = table_lines(shown, cells, screen, folds=False)
    out.writelines(f"{line}\n" for line in lines)
