"""The command `auditor bases`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from auditor.cli.main import run
from auditor.model import BaseCheck, Record
from tests.manifests import digest
from tests.records import failure, image
from tests.reports import write_report

STALE = BaseCheck(
    name="debian:12",
    reference="docker.io/library/debian:12",
    digest=digest("0"),
    current_digest=digest("1"),
    is_stale=True,
    platforms=("linux/amd64",),
    detail=None,
)


@pytest.fixture
def report(tmp_path: Path) -> str:
    records: list[Record] = [
        image(bases=(STALE,)),
        image(reference="r.example.com/team/app:2", tag="2", bases=(STALE,)),
        image(reference="r.example.com/team/web:1", repository="team/web", bases=()),
        failure(),
    ]
    return write_report(tmp_path / "report.jsonl", records)


def lines_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert run(["bases", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def test_text_has_the_bases_and_what_to_rebuild(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(capsys, report)
    assert lines[0] == "3 images: 2 with a stale base, 0 current"
    assert "no base named: 1; labels need audit --image-config always" in lines
    assert "1 reference could not be audited; bases unknown" in lines
    text = "\n".join(lines)
    assert "docker.io/library/debian:12" in text
    assert "r.example.com/team/app:1" in text


def test_json_lines_end_with_the_totals(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in lines_of(capsys, report, "--format", "jsonl")]
    assert [row["kind"] for row in rows] == ["base", "rebuild", "totals"]
    assert rows[1]["mends"] == rows[1]["references"] == 2
    assert rows[2]["stale"] == 2


def test_csv_has_the_images_to_rebuild(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = csv.DictReader(lines_of(capsys, report, "--format", "csv"))
    assert row["reference"] == "r.example.com/team/app:1"
    assert row["bases"] == "docker.io/library/debian:12"


def test_a_report_without_checks_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = json.loads(
        Path(write_report(tmp_path / "new.jsonl", [image()])).read_text("utf-8")
    )
    del old["bases"], old["bases_left_out"]  # as an earlier version wrote it
    old["platforms"][0]["base"] = {"name": "debian:12", "digest": None}
    path = tmp_path / "old.jsonl"
    path.write_text(json.dumps(old) + "\n", encoding="utf-8")
    lines = lines_of(capsys, str(path))
    assert "not asked: 1 name a base; audit with --check-bases" in lines
