"""CSV for spreadsheets: RFC 4180, without formulas and control characters.

Excel, LibreOffice and Google Sheets run a cell as a formula that starts with one of
some characters, also after spaces (OWASP, "CSV Injection"); an apostrophe in front
makes it text. Names in a registry are chosen by anyone who can push. `export`, whose
CSV DuckDB writes, uses `escape_formula_sql`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any

from auditor.util.text import safe_text

# Spaces and control characters, then a sign, also a full-width one, which some locales
# accept. The expression is valid for Python's re and for DuckDB's RE2.
_FORMULA = "^[\\x00-\\x20\u00a0\u3000]*[=+@\uff1d\uff0b\uff0d\uff20-]|^[\\t\\r\\n]"
_PATTERN = re.compile(_FORMULA)
_SPECIAL = re.compile(r'[",\r\n]')


def escape_formula(text: str) -> str:
    """The text, with an apostrophe in front if it would be a formula."""
    return f"'{text}" if _PATTERN.match(text) else text


def escape_formula_sql(expression: str) -> str:
    """`escape_formula` as an SQL expression; NULL stays NULL."""
    return (
        f"CASE WHEN regexp_matches({expression}, '{_FORMULA}')"
        f" THEN '''' || {expression} ELSE {expression} END"
    )


def csv_line(cells: Iterable[str]) -> str:
    """The cells as one line, with its end."""
    # Not csv.writer: with "\n" as line terminator it does not quote "\r" (Python 3.11).
    line = ",".join(
        '"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell
        for cell in cells
    )
    return f"{line}\n" if line else '""\n'  # a single empty cell, not a blank line


def csv_text(text: str) -> str:
    """A text that no spreadsheet runs as a formula, and that does nothing else, either.

    Characters that act on a terminal are escaped, in a file, too: it may be shown.
    """
    text = escape_formula(text)
    if text.isprintable():
        return text
    return "".join(char if char in "\t\r\n" else safe_text(char) for char in text)


def csv_rows(row_type: Any, rows: Iterable[object]) -> Iterator[str]:
    """Lines without ends: the names of a dataclass's fields, then a line per row.

    Null is an empty cell, a tuple has spaces between its items. `schema` is left out.
    """
    names = [one.name for one in dataclasses.fields(row_type) if one.name != "schema"]
    yield csv_line(names).rstrip("\n")
    for row in rows:
        values = (getattr(row, name) for name in names)
        yield csv_line(_cell(value) for value in values).removesuffix("\n")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        value = " ".join(map(str, value))
    return csv_text(value) if isinstance(value, str) else str(value)
