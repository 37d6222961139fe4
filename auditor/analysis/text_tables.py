"""Results as JSON lines, or as titled tables in aligned text or Markdown.

Cells are made safe to print here, so they can hold any text of a report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import Any

import orjson

from auditor.fast_dataclass import dataclass
from auditor.util.terminal import (
    PIPE,
    Screen,
    ScreenColumn,
    TableLayout,
    shortened_rows,
    styled,
    table_lines,
    with_short_digests,
    wrapped,
)
from auditor.util.text import format_size, safe_text, terminal_safe_json

# The longest reference has some 500 characters; it must not be truncated.
MAX_CELL_CHARS = 500
# Blanks before the lines of a table.
_INDENT = 2


class CellKind(StrEnum):
    """How the cells of a column are printed."""

    TEXT = "text"
    CODE = "code"  # a reference or digest, as a code span in Markdown
    NUMBER = "number"  # aligned to the right


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumn:
    """A column of a table; `cell` gives its text for a row."""

    title: str
    cell: Callable[[Any], str]
    kind: CellKind = CellKind.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class TitledTable:
    """A table with a title, and a note below it.

    `rows` may be the first rows only; `total` is the number of all rows.
    """

    title: str
    columns: Sequence[TableColumn]
    rows: Sequence[object]
    total: int
    note: str | None = None

    @property
    def left_out(self) -> str | None:
        """A line about the rows that are not shown."""
        more = self.total - len(self.rows)
        return f"and {more:,} more; --limit 0 shows all" if more > 0 else None


def text_column(
    title: str,
    source: str | Callable[[Any], object] | None = None,
    *,
    missing: str = "-",
    form: Callable[[Any], str] = str,
    kind: CellKind = CellKind.TEXT,
) -> TableColumn:
    """A column with the values of `source`, an attribute or a function of a row.

    `source` defaults to the attribute `title`. `form` converts a value to text;
    `missing` stands for None and the empty string.
    """
    value_of = source if callable(source) else attrgetter(source or title)

    def cell(row: object) -> str:
        value = value_of(row)
        return missing if value is None or value == "" else form(value)

    return TableColumn(title=title, cell=cell, kind=kind)


# Columns of references or digests, of numbers, of counts, of bytes.
code_column = partial(text_column, kind=CellKind.CODE)
number_column = partial(text_column, kind=CellKind.NUMBER)
count_column = partial(number_column, form="{:,}".format)
size_column = partial(number_column, form=format_size)


def result_lines(
    form: str,
    *,
    summary: Iterable[str],
    tables: Iterable[TitledTable],
    documents: Iterable[object],
    screen: Screen,
) -> Iterator[str]:
    """A result as `text`, `markdown` (both a summary and tables) or `jsonl`.

    Text is laid out for the `screen`.
    """
    if form == "jsonl":
        for document in documents:
            yield terminal_safe_json(
                orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)
            ).decode()
    elif form == "markdown":
        yield from (f"{markdown_text(line)}  " for line in summary)
        yield from markdown_lines(tables)
    else:
        for line in summary:
            yield from wrapped(line, screen)
        yield from text_lines(tables, screen)


def text_lines(tables: Iterable[TitledTable], screen: Screen = PIPE) -> Iterator[str]:
    """Aligned text, as wide as the screen at most; a blank line before each table."""
    for table in tables:
        yield ""
        for line in wrapped(f"{table.title} ({table.total:,})", screen):
            yield styled(line, "bold", screen)
        if not table.total and not screen.is_plain:
            continue  # the 0 of its title says it
        if table.note:
            for line in wrapped(f"  {table.note}", screen, indent=0):
                yield styled(line, "dim", screen)
        rows = [list(map(_cell, row)) for row in _cells(table)]
        if screen.is_plain:
            titles = [column.title for column in table.columns]
            numbers = [column.kind is CellKind.NUMBER for column in table.columns]
            yield from (f"  {line}" for line in align([titles, *rows], numbers))
        else:
            yield from _screen_lines(table.columns, rows, screen)
        if table.left_out:
            yield styled(f"  {table.left_out}", "dim", screen)


def _screen_lines(
    table_columns: Sequence[TableColumn],
    cells: Sequence[Sequence[str]],
    screen: Screen,
) -> Iterator[str]:
    """The table; one that is too wide has no columns with the same cell in all rows."""
    columns = list(map(_screen_column, table_columns))
    rows = shortened_rows(cells, screen)
    width = TableLayout(columns, rows, screen, indent=_INDENT).natural_width
    if screen.width is not None and width > screen.width and len(rows) > 1:
        same = {
            number
            for number in range(1, len(columns))
            if all(row[number] == rows[0][number] for row in rows)
        }
        if same:
            values = (f"{columns[n].title} {rows[0][n]}" for n in sorted(same))
            line = f"{' ' * _INDENT}the same in all rows: {', '.join(values)}"
            for part in wrapped(with_short_digests(line), screen):
                yield styled(part, "dim", screen)
            kept = [n for n in range(len(columns)) if n not in same]
            columns = [columns[n] for n in kept]
            rows = [[row[n] for n in kept] for row in rows]
    yield from table_lines(columns, rows, screen, indent=_INDENT)


def _screen_column(column: TableColumn) -> ScreenColumn:
    is_number = column.kind is CellKind.NUMBER
    return ScreenColumn(
        title=column.title,
        is_number=is_number,
        folds=not is_number,
        is_name=column.kind is CellKind.CODE,
        style="cyan" if column.kind is CellKind.CODE else "",
    )


def _cells(table: TitledTable) -> Iterator[list[str]]:
    return ([column.cell(row) for column in table.columns] for row in table.rows)


def align(rows: Sequence[Sequence[str]], numbers: Sequence[bool]) -> Iterator[str]:
    """Lines of aligned cells, of equal columns; numbers are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numbers, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def markdown_lines(tables: Iterable[TitledTable]) -> Iterator[str]:
    """GitHub-flavoured Markdown: a heading for each table."""
    for table in tables:
        yield ""
        yield f"### {markdown_text(table.title)} ({table.total:,})"
        yield ""
        if table.note:
            yield markdown_text(table.note)
            yield ""
        yield _row(markdown_text(column.title) for column in table.columns)
        yield _row(
            "---:" if column.kind is CellKind.NUMBER else "---"
            for column in table.columns
        )
        for row in _cells(table):
            yield _row(
                code_span(cell) if column.kind is CellKind.CODE else markdown_text(cell)
                for cell, column in zip(row, table.columns, strict=True)
            )
        if table.left_out:
            yield ""
            yield markdown_text(table.left_out)


def markdown_text(text: str) -> str:
    """The text with all markup, HTML, links and mentions escaped.

    Every ASCII punctuation character can be escaped (CommonMark 2.4); these are the
    ones that have a meaning within a line.
    """
    return "".join(f"\\{char}" if char in _MARKUP else char for char in _cell(text))


_MARKUP = frozenset("\\`*_[]<>|~&#!@")


def code_span(text: str) -> str:
    """The text as a code span (CommonMark 6.1) for a table cell (GFM 4.10)."""
    content = _cell(text)
    if not content.strip(" "):
        return ""
    fence = "`"
    while fence in content:
        fence += "`"
    blank = " " if "`" in content else ""
    return f"{fence}{blank}{content}{blank}{fence}".replace("|", "\\|")


def _row(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return safe_text(text, MAX_CELL_CHARS)
