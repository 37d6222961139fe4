"""Prints query results as a table, JSON lines or CSV."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TextIO

from auditor.analysis.csv_formula_guard import escape_formula
from auditor.analysis.query import QueryResult, ResultColumn
from auditor.analysis.text_tables import align
from auditor.util.text import safe_text

# The column widths of a table need all rows in memory.
MAX_TABLE_ROWS = 10_000
CELL_CHARS = 120
_SPECIAL = re.compile(r'[",\r\n]')


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
            write_table(result.columns, rows[:MAX_TABLE_ROWS], out)
            return len(rows) <= MAX_TABLE_ROWS
        case RowFormat.JSONL:
            out.writelines(f"{_printable(line, out)}\n" for line in result.json_lines())
        case RowFormat.CSV:
            write_csv(result.columns, result.rows(), out)
    return True


def write_csv(
    columns: tuple[ResultColumn, ...],
    rows: Iterator[tuple[str | None, ...]],
    out: TextIO,
) -> None:
    """RFC 4180 with a header; NULL is an empty cell, and formulas are escaped."""
    out.write(
        _csv_line(_printable(escape_formula(column.name), out) for column in columns)
    )
    numbers = [column.is_number for column in columns]
    out.writelines(
        _csv_line(
            (cell or "") if number else _printable(escape_formula(cell or ""), out)
            for cell, number in zip(row, numbers, strict=True)
        )
        for row in rows
    )


def _printable(text: str, out: TextIO) -> str:
    # Control characters in a report must not reach a terminal.
    return safe_text(text, sys.maxsize) if out.isatty() else text


def _csv_line(cells: Iterable[str]) -> str:
    # Not csv.writer: with "\n" as line terminator it does not quote "\r" (Python 3.11).
    line = ",".join(
        '"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell
        for cell in cells
    )
    return f"{line}\n" if line else '""\n'  # a single empty cell, not a blank line


def write_table(
    columns: tuple[ResultColumn, ...], rows: list[tuple[str | None, ...]], out: TextIO
) -> None:
    """Aligned columns; on a terminal with rich."""
    cells = [[safe_text(cell or "", CELL_CHARS) for cell in row] for row in rows]
    heading = [safe_text(column.name, CELL_CHARS) for column in columns]
    if out is sys.stdout and out.isatty():
        _write_rich(columns, heading, cells)
        return
    lines = align([heading, *cells], [column.is_number for column in columns])
    out.writelines(f"{line}\n" for line in lines)


def _write_rich(
    columns: tuple[ResultColumn, ...], heading: list[str], cells: list[list[str]]
) -> None:
    # Slow to import, and only needed on a terminal.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for column, name in zip(columns, heading, strict=True):
        table.add_column(
            Text(name), justify="right" if column.is_number else "left", overflow="fold"
        )
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)
