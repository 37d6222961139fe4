"""What a question's answer looks like to a person: titled tables, as text or Markdown.

Cells are made safe here: whatever a report holds can be put into one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text

# The longest reference that can be one has some 500 characters; it must not be cut.
MAX_CELL_CHARS = 500


class Kind(StrEnum):
    """What the cells of a column are."""

    TEXT = "text"
    CODE = "code"  # a name to copy: a reference, a digest
    NUMBER = "number"  # stands to the right


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The head of a column."""

    title: str
    kind: Kind = Kind.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table with a title. `total` counts its rows where some of them are left out.

    `note` is a sentence that stands below the title.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int
    note: str | None = None

    @property
    def left_out(self) -> str | None:
        """What to say of the rows that are not shown."""
        more = self.total - len(self.rows)
        return f"and {more:,} more; --limit 0 shows all" if more > 0 else None


def code_columns(*titles: str) -> tuple[Column, ...]:
    """Columns of names to copy."""
    return tuple(Column(title=title, kind=Kind.CODE) for title in titles)


def number_columns(*titles: str) -> tuple[Column, ...]:
    """Columns of numbers."""
    return tuple(Column(title=title, kind=Kind.NUMBER) for title in titles)


def answer_lines(
    heads: Iterable[str], sections: Iterable[Section], form: str
) -> Iterator[str]:
    """A whole answer as `text` or `markdown`: lines about all of it, then tables."""
    found = tuple(sections)
    if form == "markdown":
        yield from (f"{markdown_text(line)}  " for line in heads)
        yield from markdown_lines(found)
    else:
        yield from heads
        yield from text_lines(found)


def text_lines(sections: Sequence[Section]) -> Iterator[str]:
    """Aligned plain text, a blank line before each section."""
    for section in sections:
        yield ""
        yield f"{section.title} ({section.total:,})"
        if section.note:
            yield f"  {section.note}"
        yield from _aligned(section)
        if section.left_out:
            yield f"  {section.left_out}"


def _aligned(section: Section) -> Iterator[str]:
    titles = tuple(column.title for column in section.columns)
    rows = [titles, *(tuple(map(_cell, row)) for row in section.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if column.kind is Kind.NUMBER else cell.ljust(width)
            for cell, width, column in zip(row, widths, section.columns, strict=True)
        ]
        yield f"  {'  '.join(cells)}".rstrip()


def markdown_lines(sections: Sequence[Section]) -> Iterator[str]:
    """GitHub-flavoured Markdown: a heading and a table for each section."""
    for section in sections:
        yield ""
        yield f"### {markdown_text(section.title)} ({section.total:,})"
        yield ""
        if section.note:
            yield markdown_text(section.note)
            yield ""
        yield _row(markdown_text(column.title) for column in section.columns)
        yield _row(
            "---:" if column.kind is Kind.NUMBER else "---"
            for column in section.columns
        )
        for row in section.rows:
            yield _row(
                code_span(cell) if column.kind is Kind.CODE else markdown_text(cell)
                for cell, column in zip(row, section.columns, strict=True)
            )
        if section.left_out:
            yield ""
            yield markdown_text(section.left_out)


def markdown_text(text: str) -> str:
    """The text itself, whatever it holds: no markup, HTML, link or mention of it.

    Every ASCII punctuation character may be escaped (CommonMark 2.4); these are the
    ones that mean something within a line.
    """
    return "".join(f"\\{char}" if char in _MARKUP else char for char in _cell(text))


_MARKUP = frozenset("\\`*_[]<>|~&#!@")


def code_span(text: str) -> str:
    """The text as a code span (CommonMark 6.1) that may stand in a table (GFM 4.10)."""
    shown = _cell(text)
    if not shown.strip(" "):
        return ""
    fence = "`"
    while fence in shown:
        fence += "`"
    blank = " " if "`" in shown else ""
    return f"{fence}{blank}{shown}{blank}{fence}".replace("|", "\\|")


def _row(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return safe_text(text, MAX_CELL_CHARS)
