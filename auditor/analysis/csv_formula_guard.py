"""Text that a spreadsheet would run, made text again.

A cell that begins with one of these is a formula to Excel, LibreOffice and Google
Sheets, also after blanks (OWASP, "CSV Injection"); an apostrophe in front makes it
text. Names in a registry are chosen by whoever may push.
"""

from __future__ import annotations

import re

# Blanks and controls, then a sign; full-width signs too, which some locales accept.
# The same expression for Python's re and for DuckDB's RE2.
_FORMULA = "^[\\x00-\\x20\u00a0\u3000]*[=+@\uff1d\uff0b\uff0d\uff20-]|^[\\t\\r\\n]"
_PATTERN = re.compile(_FORMULA)


def escape_formula(text: str) -> str:
    """The text, with an apostrophe before what would be a formula."""
    return f"'{text}" if _PATTERN.match(text) else text


def escape_formula_sql(expression: str) -> str:
    """`escape_formula` of a text, as an SQL expression; null stays null."""
    return (
        f"CASE WHEN regexp_matches({expression}, '{_FORMULA}')"
        f" THEN '''' || {expression} ELSE {expression} END"
    )
