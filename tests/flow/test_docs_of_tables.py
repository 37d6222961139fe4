"""The documented commands of query, export and history run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from auditor.analysis.query_examples import EXAMPLES, QueryExample
from auditor.analysis.reports import open_reports
from auditor.analysis.view_columns import VIEW_HELP
from auditor.cli.main import run
from tests.records import RECORDS
from tests.reports import write_report

DOCS = Path(__file__).parents[2] / "docs" / "guide"
PAGES = ("query.md", "export.md", "history.md")


def commands(page: str) -> list[list[str]]:
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    words = [shlex.split(block, comments=True) for block in blocks]
    found: list[list[str]] = []
    for word in (word for block in words for word in block):
        if word == "auditor":
            found.append([])
        else:
            found[-1].append(word)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_documented_command_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_report(Path("report.jsonl"), RECORDS)
    Path("nightly").mkdir()
    write_report(Path("nightly/2026-11-24.jsonl.gz"), RECORDS)
    found = commands(page)
    assert found
    for arguments in found:
        assert run(arguments) == 0, arguments


def test_the_documentation_has_every_column_of_the_views(tmp_path: Path) -> None:
    text = (DOCS / "query.md").read_text(encoding="utf-8")
    documented = {
        cells[1].strip(" `"): re.findall(r"`(\w+)`", cells[3])
        for cells in (line.split("|") for line in text.splitlines())
        if len(cells) == 5 and "`" in cells[1]
    }
    with open_reports([write_report(tmp_path / "r", RECORDS)]) as connection:
        for view in ("platforms", "layers", "attachments", "warnings"):
            columns = [
                row[0] for row in connection.execute(f"DESCRIBE {view}").fetchall()
            ]
            assert documented[view] == columns
        images = [row[0] for row in connection.execute("DESCRIBE images").fetchall()]
    assert ["schema", "kind", *documented["images"]] == images


def test_every_column_of_the_views_has_a_meaning(tmp_path: Path) -> None:
    with open_reports([write_report(tmp_path / "r", RECORDS)]) as connection:
        for view, explained in VIEW_HELP.items():
            described = connection.execute(f"DESCRIBE {view}").fetchall()
            assert list(explained.columns) == [row[0] for row in described]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.question)
def test_every_example_of_query_runs_and_is_documented(
    example: QueryExample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = write_report(tmp_path / "r", RECORDS)
    assert run(["query", report, example.sql]) == 0
    assert capsys.readouterr().out
    text = (DOCS / "query.md").read_text(encoding="utf-8")
    assert example.question in text
    assert f'auditor query report.jsonl "\n{example.sql}"' in text
