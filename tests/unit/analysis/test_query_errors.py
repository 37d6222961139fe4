"""Errors of a query are explained in terms of the report."""

from __future__ import annotations

import pytest

from auditor.analysis.query import run_query
from auditor.errors import UsageError
from tests.records import RECORDS
from tests.reports import write_report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(tmp_path_factory.mktemp("r") / "report.jsonl", RECORDS)


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("select creatd from platforms",
         "there is no column creatd in platforms; did you mean created?"),
        ("select os_version from images",
         "there is no column os_version in images; it is a column of platforms"),
        ("select * from images order by layer_coun",
         "there is no column layer_coun in images; did you mean layer_count, a column"),
        ("select foo from failures",
         "there is no column foo in failures; it has the columns schema, kind, refe"),
        ("select i.foo from images i", "there is no column foo in images"),
        ("select * from image", "there is no table image; did you mean images?"),
        ("select * from nothing", "there is no table nothing; the tables are images,"),
        ("select x.tag from images", "there is no table x"),
        # '... where tag = 'latest'' in a shell
        ("select * from images where tag = latest",
         "if it is a text, write 'latest'; the shell may have removed quotes"),
        ('select * from images where reference = "x:1"', "a text, write 'x:1'"),
        ("select * from images where tag in (a, b)", "if it is a text, write 'a'"),
        ("select * from platforms where created > 2024-01-01",
         "write times in single quotes: '2026-01-31'"),
        ("select * from platforms where created > 'abc'", "'abc' is not a time"),
        ("select * from images where size = 'big'", "'big' is not a number"),
        ("select * from images where reference > 5", "write texts in single quotes"),
        ("select * from images where architectures = 'linux/arm64'",
         "use list_contains(COLUMN, 'linux/arm64')"),
        ("select sum(reference) from images", "sum() needs a number"),
        ("select reference, count(*) from images", "add GROUP BY ALL at the end"),
        ("select * from images where reference = 'abc", "a quote is not closed"),
        ("selec 1", "did you mean select?"),
        ("select * frm images", "syntax error at images; auditor query --examples"),
        ("select * from images where repository like team/*", "without quotes"),
        ("select * from images where", "syntax error at where"),
        ("select nofun(1)", "there is no function nofun()"),
    ],
)  # fmt: skip
def test_an_error_of_a_query_is_explained(sql: str, sentence: str, report: str) -> None:
    with pytest.raises(UsageError) as caught, run_query([report], sql) as result:
        list(result.rows())
    assert str(caught.value).startswith("the query: ")
    assert sentence in str(caught.value)
