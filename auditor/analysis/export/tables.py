"""What the exported tables hold: the columns of the views, each row once.

`images` leaves its platforms, and `platforms` its layers, to the tables of these
names. Formats without lists and structures get text for them: a list of texts with
blanks between, anything else as JSON.
"""

# ruff: noqa: S608  (SQL is made of this program's own texts, values are quoted)

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from auditor.analysis.csv_formula_guard import neutral_sql
from auditor.fast_dataclass import dataclass

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
class Table:
    """A table to be written. `select` yields `columns`: name and DuckDB's type."""

    name: str
    select: str
    columns: tuple[tuple[str, str], ...]


def nested_tables(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str]
) -> list[Table]:
    """The tables with their lists and structures."""
    return [_table(connection, name, SELECTS[name]) for name in names]


def flat_tables(
    connection: duckdb.DuckDBPyConnection,
    names: Sequence[str],
    *,
    neutralised: bool = False,
) -> list[Table]:
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


def _table(connection: duckdb.DuckDBPyConnection, name: str, select: str) -> Table:
    described = connection.execute(f"DESCRIBE {select}").fetchall()
    return Table(
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
    return neutral_sql(text) if neutralised else text
