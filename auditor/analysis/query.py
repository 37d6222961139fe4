"""Runs one SQL query on report files. It cannot read or write anything else.

A SELECT of DuckDB can do more: `WITH x AS (COPY ... TO 'file')` writes a file, and
table functions read files, run SQL or change settings. Two independent defences: the
parse tree may contain only nodes that read and table functions that make rows from
values, and DuckDB is configured to deny access to every file but the reports.
"""

# ruff: noqa: S608  (the SQL is made of constants, checked SQL and quoted names)

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import orjson

from auditor.analysis.duckdb_connection import quoted
from auditor.analysis.reports import (
    READING_ERRORS,
    VIEWS,
    duckdb_pattern,
    error_text,
    open_reports,
    report_paths,
)
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass

READING_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
ROW_FUNCTIONS = {"unnest", "range", "generate_series", "json_each", "json_tree"}
# Functions that read or change the process or its environment.
FORBIDDEN_FUNCTIONS = {"current_setting", "getenv", "getvariable", "write_log"}
BATCH_ROWS = 1000

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
        """Whether its type is numeric."""
        return bool(_NUMBERS.match(self.type))


class QueryResult:
    """The result of a query. Rows are computed while they are read."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, select: str) -> None:
        self._connection = connection
        self._select = select
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
        fields = (
            f"CASE WHEN isfinite(c{number}) THEN c{number} END"
            f" AS {_quoted_name(column.name)}"
            if column.type in _FLOATS
            else f"c{number} AS {_quoted_name(column.name)}"
            for number, column in enumerate(self.columns)
        )
        selected = f"SELECT {', '.join(fields)} FROM {self._numbered()}"
        for (line,) in self._fetch(
            f"SELECT to_json(result)::VARCHAR FROM ({selected}) AS result"
        ):
            yield line

    def _numbered(self) -> str:
        names = ", ".join(f"c{number}" for number in range(len(self.columns)))
        return f"({self._select}) AS result({names})"

    def _fetch(self, select: str) -> Iterator[tuple[Any, ...]]:
        with _query_errors():
            cursor = self._connection.execute(select)
            while rows := cursor.fetchmany(BATCH_ROWS):
                yield from rows


@contextmanager
def run_query(paths: Sequence[str], sql: str) -> Iterator[QueryResult]:
    """Run one SELECT on the views of reports, given as files or globs.

    Raises `UsageError` for a query that is not a SELECT, that accesses anything but the
    views, or that is not valid.
    """
    files = report_paths(paths)
    with open_reports(files) as connection:
        _lock(connection, files)
        with _query_errors():
            select = _checked_select(connection, sql)
            result = QueryResult(connection, select)
        yield result


def _lock(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> None:
    # DuckDB checks both the pattern it is given and the names it expands to.
    allowed = sorted({*files, *map(duckdb_pattern, files)})
    connection.execute(f"SET allowed_paths = [{', '.join(map(quoted, allowed))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _checked_select(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
        raise UsageError("a query must be one SELECT, DESCRIBE or SUMMARIZE")
    select = f"{sql.rstrip().rstrip(';')}\n"  # the last line can be a comment
    (tree,) = connection.execute(
        "SELECT json_serialize_sql(?)::VARCHAR", [f"SELECT * FROM ({select})"]
    ).fetchone() or ("{}",)
    parsed = orjson.loads(tree)
    if parsed.get("error") is not False or len(parsed["statements"]) != 1:
        reason = parsed.get("error_message", "more than one statement")
        raise UsageError(f"a query must be one SELECT, DESCRIBE or SUMMARIZE: {reason}")
    _check_tree(parsed["statements"])
    return select


def _check_tree(tree: object) -> None:
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


@contextmanager
def _query_errors() -> Iterator[None]:
    try:
        yield
    except READING_ERRORS:
        raise
    except duckdb.Error as error:
        raise UsageError(f"the query: {error_text(error)}") from None


def _quoted_name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
