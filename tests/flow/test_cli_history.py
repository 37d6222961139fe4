"""The command `auditor history`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auditor.cli.main import run
from tests.manifests import digest
from tests.records import image
from tests.reports import write_report


@pytest.fixture
def dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Three runs; before the third, the tag moved."""
    folder = str(tmp_path / "runs")
    for night, digit in ((1, "a"), (2, "a"), (3, "b")):
        at = f"2026-11-0{night}T02:00:00Z"
        record = image(digest=digest(digit), audited_at=at, size=100 * night)
        report = write_report(tmp_path / f"{night}.jsonl", [record])
        assert run(["history", "add", folder, report]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split("-")[0] for line in printed] == [
        "20261101T020000Z",
        "20261102T020000Z",
        "20261103T020000Z",
    ]
    assert all(line.endswith(" added") for line in printed)
    return folder


def test_a_run_is_added_once(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["history", "add", dataset, str(tmp_path / "1.jsonl")]) == 0
    assert capsys.readouterr().out.endswith(" is already in the history\n")


def test_show_prints_when_a_tag_moved(
    dataset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = "r.example.com/team/app:1"
    assert run(["history", "show", dataset, target, "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["from"], row["until"], row["digest"]) for row in rows] == [
        ("2026-11-01", "2026-11-02", digest("a")),
        ("2026-11-03", "2026-11-03", digest("b")),
    ]


def test_show_without_data_is_exit_code_2(
    dataset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["history", "show", dataset, "r.example.com/none:1"]) == 2
    assert capsys.readouterr().err == (
        f"auditor: {dataset}: no data for r.example.com/none:1\n"
    )
