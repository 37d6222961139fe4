"""Titled tables as aligned text or Markdown.

Cells are made safe to print here, so they can hold any text of a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text

# The longest reference has some 500 characters; it must not be truncated.
MAX_CELL_CHARS = 500


class CellKind(StrEnum):
    """How the cells of a column are printed."""

    TEXT = "text"
    CODE = "code"  # a reference or digest, as a code span in Markdown
    NUMBER = "number"  # aligned to the right


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumn:
    """A column of a table."""

    title: str
    kind: CellKind = CellKind.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class TitledTable:
    """A table with a title, and a note below it.

    `total` is the number of all rows, of which `rows` may be the first.
    """

    title: str
    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int
    note: str | None = None

    @property
    def left_out(self) -> str | None:
        """A line about the rows that are not shown."""
        more = self.total - len(self.rows)
        return f"and {more:,} more; --limit 0 shows all" if more > 0 else None


def code_columns(*titles: str) -> tuple[TableColumn, ...]:
    """Columns of references or digests."""
    return tuple(TableColumn(title=title, kind=CellKind.CODE) for title in titles)


def number_columns(*titles: str) -> tuple[TableColumn, ...]:
    """Columns of numbers."""
    return tuple(TableColumn(title=title, kind=CellKind.NUMBER) for title in titles)


def render_tables(
    summary: Iterable[str], tables: Iterable[TitledTable], form: str
) -> Iterator[str]:
    """Summary lines and tables as `text` or `markdown`."""
    if form == "markdown":
        yield from (f"{markdown_text(line)}  " for line in summary)
        yield from markdown_lines(tables)
    else:
        yield from summary
        yield from text_lines(tables)


def text_lines(tables: Iterable[TitledTable]) -> Iterator[str]:
    """Aligned plain text, a blank line before each table."""
    for table in tables:
        yield ""
        yield f"{table.title} ({table.total:,})"
        if table.note:
            yield f"  {table.note}"
        yield from _aligned(table)
        if table.left_out:
            yield f"  {table.left_out}"


def _aligned(table: TitledTable) -> Iterator[str]:
    titles = [column.title for column in table.columns]
    rows = [titles, *(list(map(_cell, row)) for row in table.rows)]
    numbers = [column.kind is CellKind.NUMBER for column in table.columns]
    yield from (f"  {line}" for line in align(rows, numbers))


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
        for row in table.rows:
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
