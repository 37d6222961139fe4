"""One question in SQL, asked of report files. It can read nothing else, write nothing.

DuckDB's SELECT reaches further than its name says: `WITH x AS (COPY ... TO 'file')`
writes a file, and table functions read files, run SQL or change settings. So a
question has to pass its parse tree (only nodes that read, only table functions that
make rows of values), and runs where every file but the reports is out of reach.
"""

# ruff: noqa: S608  (SQL is made of this program's own texts, values are quoted)

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
# Functions that read or change what belongs to the program, not to the reports.
FOREIGN_FUNCTIONS = {"current_setting", "getenv", "getvariable", "write_log"}
ROWS_AT_ONCE = 1000

_FLOATS = {"DOUBLE", "FLOAT"}
_NUMBERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DECIMAL.*|DOUBLE|FLOAT)$")
_NESTED = re.compile(r"(STRUCT|MAP|UNION)\(|.*\]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultColumn:
    """A column of an answer. `type` is DuckDB's name of it."""

    name: str
    type: str

    @property
    def is_number(self) -> bool:
        """Whether it is best aligned to the right."""
        return bool(_NUMBERS.match(self.type))


class QueryResult:
    """What a question yields. Rows are computed when they are read, piece by piece."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, select: str) -> None:
        self._connection = connection
        self._select = select
        described = connection.execute(f"DESCRIBE SELECT * FROM ({select})").fetchall()
        self.columns = tuple(
            ResultColumn(name=row[0], type=row[1]) for row in described
        )

    def rows(self) -> Iterator[tuple[str | None, ...]]:
        """Every row as texts; what is nested is JSON."""
        texts = (
            f"{'to_json(c' if _NESTED.match(column.type) else '(c'}{number})::VARCHAR"
            for number, column in enumerate(self.columns)
        )
        yield from self._fetch(f"SELECT {', '.join(texts)} FROM {self._numbered()}")

    def json_lines(self) -> Iterator[str]:
        """Every row as a JSON object. What JSON has no number for is null."""
        fields = (
            f"CASE WHEN isfinite(c{number}) THEN c{number} END AS {_name(column.name)}"
            if column.type in _FLOATS
            else f"c{number} AS {_name(column.name)}"
            for number, column in enumerate(self.columns)
        )
        selected = f"SELECT {', '.join(fields)} FROM {self._numbered()}"
        for (line,) in self._fetch(
            f"SELECT to_json(answer)::VARCHAR FROM ({selected}) AS answer"
        ):
            yield line

    def _numbered(self) -> str:
        names = ", ".join(f"c{number}" for number in range(len(self.columns)))
        return f"({self._select}) AS answer({names})"

    def _fetch(self, select: str) -> Iterator[tuple[Any, ...]]:
        with _wrong_question():
            cursor = self._connection.execute(select)
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                yield from rows


@contextmanager
def ask(paths: Sequence[str], question: str) -> Iterator[QueryResult]:
    """The answer to one SELECT over the views of reports.

    `UsageError` for a question that is no SELECT, reaches for something else than the
    views, or that DuckDB does not understand.
    """
    files = report_paths(paths)
    with open_reports(files) as connection:
        _lock(connection, files)
        with _wrong_question():
            select = _checked(connection, question)
            answer = QueryResult(connection, select)
        yield answer


def _lock(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> None:
    # DuckDB checks the pattern that it is given and the name that it finds.
    allowed = sorted({*files, *map(duckdb_pattern, files)})
    connection.execute(f"SET allowed_paths = [{', '.join(map(quoted, allowed))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _checked(connection: duckdb.DuckDBPyConnection, question: str) -> str:
    statements = connection.extract_statements(question)
    if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
        raise UsageError("a query is one SELECT, DESCRIBE or SUMMARIZE")
    select = f"{question.rstrip().rstrip(';')}\n"  # its last line may be a comment
    (tree,) = connection.execute(
        "SELECT json_serialize_sql(?)::VARCHAR", [f"SELECT * FROM ({select})"]
    ).fetchone() or ("{}",)
    parsed = orjson.loads(tree)
    if parsed.get("error") is not False or len(parsed["statements"]) != 1:
        reason = parsed.get("error_message", "more than one statement")
        raise UsageError(f"a query is one SELECT, DESCRIBE or SUMMARIZE: {reason}")
    _check_tree(parsed["statements"])
    return select


def _check_tree(tree: object) -> None:
    pending = [tree]
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending += part
        if not isinstance(part, dict):
            continue
        pending += part.values()
        kind = part.get("type")
        if not isinstance(kind, str):
            continue
        if kind.endswith("_NODE") and kind not in READING_NODES:
            verb = kind.removesuffix("_NODE").removesuffix("_QUERY")
            raise UsageError(f"a query only reads: {verb} is not possible in it")
        name = str(part.get("function_name")).lower()
        if part.get("class") == "FUNCTION" and name in FOREIGN_FUNCTIONS:
            raise UsageError(f"a query reads reports: {name}() is not possible in it")
        if kind == "TABLE_FUNCTION":
            name = str(part.get("function", {}).get("function_name"))
            if name.lower() not in ROW_FUNCTIONS:
                raise UsageError(
                    f"a query reads the views {', '.join(VIEWS)};"
                    f" {name}() is not possible in it"
                )


@contextmanager
def _wrong_question() -> Iterator[None]:
    try:
        yield
    except READING_ERRORS:
        raise
    except duckdb.Error as error:
        raise UsageError(f"the query: {error_text(error)}") from None


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
