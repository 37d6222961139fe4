"""The documentation of query has the columns and examples of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from auditor.analysis.query_examples import EXAMPLES, QueryExample
from auditor.analysis.report_views import open_reports
from auditor.analysis.view_columns import VIEW_HELP
from auditor.cli.main import run
from tests.records import RECORDS
from tests.reports import write_report

DOCS = Path(__file__).parents[2] / "docs" / "guide"


def test_the_guide_names_every_view() -> None:
    text = (DOCS / "query.md").read_text(encoding="utf-8")
    names = text.partition("## The views")[2].partition("`auditor query")[0]
    found = re.findall(r"`(\w+)`", names)
    assert found == [*VIEW_HELP, "sboms", "packages"]


def test_every_column_of_the_views_has_a_meaning(tmp_path: Path) -> None:
    with open_reports([write_report(tmp_path / "r", RECORDS)]) as connection:
        for view, explained in VIEW_HELP.items():
            described = connection.execute(f"DESCRIBE {view}").fetchall()
            assert list(explained.columns) == [row[0] for row in described]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.question)
def test_every_example_of_query_runs_and_is_documented(
    example: QueryExample,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    report = write_report(tmp_path / "r", RECORDS)
    (tmp_path / "sboms.jsonl").touch()
    assert run(["query", report, *example.options.split(), example.sql]) == 0
    assert capsys.readouterr().out
    text = (DOCS / "query.md").read_text(encoding="utf-8")
    assert example.question in text
    arguments = " ".join(filter(None, ["report.jsonl", example.options]))
    assert f'auditor query {arguments} "\n{example.sql}"' in text
