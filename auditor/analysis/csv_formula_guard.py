"""Escapes cells of CSV files that a spreadsheet would run as a formula.

Excel, LibreOffice and Google Sheets run a cell that starts with one of these
characters, also after spaces (OWASP, "CSV Injection"); an apostrophe in front makes it
text. Names in a registry are chosen by anyone who can push. Both CSV writers, `export`
and `csv_lines`, use this.
"""

from __future__ import annotations

import re

# Spaces and control characters, then a sign, also a full-width one, which some locales
# accept. The expression is valid for Python's re and for DuckDB's RE2.
_FORMULA = "^[\\x00-\\x20\u00a0\u3000]*[=+@\uff1d\uff0b\uff0d\uff20-]|^[\\t\\r\\n]"
_PATTERN = re.compile(_FORMULA)


def escape_formula(text: str) -> str:
    """The text, with an apostrophe in front if it would be a formula."""
    return f"'{text}" if _PATTERN.match(text) else text


def escape_formula_sql(expression: str) -> str:
    """`escape_formula` as an SQL expression; NULL stays NULL."""
    return (
        f"CASE WHEN regexp_matches({expression}, '{_FORMULA}')"
        f" THEN '''' || {expression} ELSE {expression} END"
    )
