"""Text for a terminal: its width and colours, wrapped lines, tables and records.

`screen_of(sys.stdout)` says what a stream can show. On a `PIPE` nothing is cut, wrapped
or coloured, so that its output is the same on every machine. rich draws the rest, and
is imported only then: it takes tenths of a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TextIO

from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# Blank columns between two columns of a table.
GAP = 2
# Digits of a shortened digest, as docker shows them.
SHORT_DIGITS = 12
# A folded column narrower than this cannot be read; the table becomes records.
MIN_FOLDED_WIDTH = 16
# Erases the line of the cursor, such as that of progress.
ERASE_LINE = "\r\x1b[2K"
# DECTCEM of the VT220.
SHOW_CURSOR = "\x1b[?25h"
# A narrower terminal wraps the lines itself.
_MIN_WIDTH = 40
_DIGEST = LazyPattern(r"\bsha(?:256|384|512):[0-9a-f]{64,128}\b")


@dataclass(frozen=True, slots=True)
class Screen:
    """What a stream can show: `width` in columns, None for any length; colours."""

    width: int | None = None
    colours: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the text is for a program: no width, no colours."""
        return self.width is None and not self.colours


# Everything that is not a terminal.
PIPE = Screen()


def screen_of(stream: TextIO, environment: Mapping[str, str] | None = None) -> Screen:
    """What the stream can show.

    A terminal has colours unless `NO_COLOR` is set (no-color.org) or `TERM` is `dumb`;
    `FORCE_COLOR` adds them to a pipe (force-color.org), which still has no width.
    """
    variables = os.environ if environment is None else environment
    try:
        is_terminal = stream.isatty()
    except ValueError:  # a closed stream
        is_terminal = False
    if variables.get("NO_COLOR"):
        colours = False
    elif variables.get("FORCE_COLOR"):
        colours = True
    else:
        colours = is_terminal and variables.get("TERM") != "dumb"
    if not is_terminal:
        return Screen(None, colours)
    import shutil

    width = shutil.get_terminal_size().columns
    return Screen(max(_MIN_WIDTH, width), colours)


# -- lines -----------------------------------------------------------------------

_SGR = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}


def styled(text: str, style: str, screen: Screen) -> str:
    """The text in a colour or in bold (a key of `_SGR`), if the screen has colours."""
    if not screen.colours or not text:
        return text
    return f"\x1b[{_SGR[style]}m{text}\x1b[0m"


def wrapped(text: str, screen: Screen, *, indent: int = 2) -> list[str]:
    """The lines of one line of text; those after the first are indented further.

    Words such as references and paths are never broken.
    """
    if screen.width is None or len(text) <= screen.width:
        return [text]
    import textwrap

    lead = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text,
        screen.width,
        subsequent_indent=lead + " " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


# -- digests ---------------------------------------------------------------------


def short_digest(digest: str) -> str:
    """The first 12 hexadecimal digits of a digest, as docker shows them."""
    return digest.rpartition(":")[2][:SHORT_DIGITS]


def short_digests(cells: Iterable[str]) -> dict[str, str]:
    """The cells that are a whole digest, with their first 12 digits.

    A digest whose first digits are those of another one is left out.
    """
    digests = {cell for cell in cells if _DIGEST.fullmatch(cell)}
    owners: dict[str, int] = {}
    for digest in digests:
        short = short_digest(digest)
        owners[short] = owners.get(short, 0) + 1
    return {
        digest: short
        for digest in digests
        if owners[short := short_digest(digest)] == 1
    }


def with_short_digests(text: str) -> str:
    """The text with its digests shortened."""
    short = short_digests(match[0] for match in _DIGEST.finditer(text))
    return _DIGEST.sub(lambda match: short.get(match[0], match[0]), text)


# -- tables ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenColumn:
    """A column of a table on a terminal.

    A column that `folds` gets narrower when the table is wider than the terminal, and
    its cells take several lines; names, such as references, only if that is not enough.
    `style` is a key of `_SGR`, or empty.
    """

    title: str
    is_number: bool = False
    folds: bool = True
    is_name: bool = False
    style: str = ""


class TableLayout:
    """The widths of a table's columns, and its lines.

    `rows` are the rows that the widths are made for; later rows can be folded, too.
    """

    def __init__(
        self,
        columns: Sequence[ScreenColumn],
        rows: Iterable[Sequence[str]],
        screen: Screen,
        *,
        indent: int = 0,
    ) -> None:
        self._columns = columns
        self._screen = screen
        self._indent = indent
        self._widths = [_cells_width(column.title) for column in columns]
        for row in rows:
            for number, cell in enumerate(row):
                self._widths[number] = max(self._widths[number], _cells_width(cell))
        gaps = GAP * (len(columns) - 1)
        self.natural_width = indent + sum(self._widths) + gaps
        self.fits = True
        if screen.width is not None and self.natural_width > screen.width:
            self.fits = self._fold(screen.width - indent - gaps)

    def _fold(self, available: int) -> bool:
        """Make the widest columns that can be folded narrower; whether it suffices."""
        folding = [n for n, column in enumerate(self._columns) if column.folds]
        texts = [n for n in folding if not self._columns[n].is_name]
        excess = self._narrow(texts, sum(self._widths) - available)
        return self._narrow(folding, excess) <= 0

    def _narrow(self, folding: Sequence[int], excess: int) -> int:
        """Make the widest of these columns narrower; what is still too much."""
        while excess > 0:
            widest = max(folding, key=self._widths.__getitem__, default=None)
            if widest is None or self._widths[widest] <= MIN_FOLDED_WIDTH:
                break
            second = max((self._widths[n] for n in folding if n != widest), default=0)
            target = max(second - 1, MIN_FOLDED_WIDTH, self._widths[widest] - excess)
            excess -= self._widths[widest] - target
            self._widths[widest] = target
        return excess

    def lines(
        self, rows: Iterable[Sequence[str]], *, with_header: bool = True
    ) -> Iterator[str]:
        """The lines of a table with these rows."""
        if with_header:
            titles = [column.title for column in self._columns]
            yield from self._row_lines(titles, ["bold"] * len(titles))
        styles = [column.style for column in self._columns]
        for row in rows:
            yield from self._row_lines(row, styles)

    def _row_lines(self, row: Sequence[str], styles: Sequence[str]) -> Iterator[str]:
        """One row. rich draws only what must be folded: it takes half a millisecond."""
        pairs = list(zip(row, self._widths, strict=True))
        if not all(cell.isascii() and len(cell) <= width for cell, width in pairs):
            yield from self._folded_lines(row, styles)
            return
        cells = []
        for (cell, width), column, style in zip(
            pairs, self._columns, styles, strict=True
        ):
            blanks = " " * (width - len(cell))
            text = styled(cell, style, self._screen) if style else cell
            cells.append(blanks + text if column.is_number else text + blanks)
        yield " " * self._indent + (" " * GAP).join(cells).rstrip()

    def _folded_lines(self, row: Sequence[str], styles: Sequence[str]) -> Iterator[str]:
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=False
        )
        for column, width in zip(self._columns, self._widths, strict=True):
            justify: Literal["left", "right"] = "right" if column.is_number else "left"
            table.add_column(justify=justify, width=width, overflow="fold")
        cells = zip(row, styles, strict=True)
        table.add_row(*(Text(cell, style=style) for cell, style in cells))
        padded = Padding(table, (0, 0, 0, self._indent))
        width = self._indent + sum(self._widths) + GAP * len(self._widths)
        yield from rendered(padded, self._screen, width=width)


def shortened_rows(
    rows: Sequence[Sequence[str]], screen: Screen
) -> Sequence[Sequence[str]]:
    """The rows with shortened digests if the screen has a width."""
    if screen.width is None:
        return rows
    short = short_digests(cell for row in rows for cell in row)
    return [[short.get(cell, cell) for cell in row] for row in rows] if short else rows


def table_lines(
    columns: Sequence[ScreenColumn],
    rows: Sequence[Sequence[str]],
    screen: Screen,
    *,
    indent: int = 0,
    folds: bool = True,
) -> Iterator[str]:
    """A table that is as wide as the terminal at most.

    Digests are shortened where their first digits are unique. A table that does not fit
    (that must not be folded, without `folds`) is shown record by record.
    """
    rows = shortened_rows(rows, screen)
    layout = TableLayout(columns, rows, screen, indent=indent)
    is_wide = screen.width is not None and layout.natural_width > screen.width
    if not layout.fits or (is_wide and not folds):
        yield from record_lines(columns, rows, screen, indent=indent)
    else:
        yield from layout.lines(rows)


def record_lines(
    columns: Sequence[ScreenColumn],
    rows: Iterable[Sequence[str]],
    screen: Screen,
    *,
    indent: int = 0,
) -> Iterator[str]:
    """Each row as a block of lines `TITLE  VALUE`, as psql's expanded display."""
    lead = " " * indent
    title_width = max((_cells_width(column.title) for column in columns), default=0)
    value_width = None
    if screen.width is not None:
        value_width = max(MIN_FOLDED_WIDTH, screen.width - indent - title_width - GAP)
    for number, row in enumerate(rows, 1):
        title = f"-[ record {number:,} ]"
        yield lead + styled(title.ljust(title_width + GAP + 20, "-"), "dim", screen)
        for column, cell in zip(columns, row, strict=True):
            name = styled(column.title.ljust(title_width), "bold", screen)
            for value in _folded(cell, column.style, screen, value_width):
                yield f"{lead}{name}{' ' * GAP}{value}".rstrip()
                name = " " * title_width


def _folded(cell: str, style: str, screen: Screen, width: int | None) -> Iterator[str]:
    """The lines of a value; an empty one is an empty line."""
    if cell.isascii() and (width is None or len(cell) <= width):
        yield styled(cell, style, screen) if style else cell
        return
    from rich.text import Text

    yield from rendered(Text(cell, style=style, overflow="fold"), screen, width=width)


def rendered(
    renderable: RenderableType, screen: Screen, *, width: int | None
) -> Iterator[str]:
    """What rich draws for the screen, as lines without trailing blanks."""
    console = screen_console(screen, width=width)
    with console.capture() as captured:
        console.print(renderable)
    for line in captured.get().splitlines():
        yield _without_trailing_blanks(line)


_STYLE = LazyPattern(r"(\x1b\[[0-9;]*m)")


def _without_trailing_blanks(line: str) -> str:
    """The line without the blanks at its end, also between changes of style."""
    parts = _STYLE.split(line)  # text, style, text, ...
    for at in range(len(parts) - 1, -1, -2):
        parts[at] = parts[at].rstrip(" ")
        if parts[at]:
            break
    return "".join(parts)


# Longer than every line that rich draws for a pipe.
_ANY_WIDTH = 100_000


def screen_console(screen: Screen, *, width: int | None) -> Console:
    """A console of rich that interprets no markup and colours no words by itself."""
    from rich.console import Console

    return Console(
        width=width or screen.width or _ANY_WIDTH,
        height=25,  # with both, rich does not look at the terminal
        color_system="standard" if screen.colours else None,
        force_terminal=screen.colours,
        no_color=not screen.colours,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )


def _cells_width(text: str) -> int:
    """The columns that a text takes: two for each wide character."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
