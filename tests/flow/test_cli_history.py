"""The command `auditor history`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from auditor.analysis import history
from auditor.cli.main import run
from auditor.errors import FailureKind
from auditor.model import Record
from tests.manifests import digest
from tests.records import failure, image
from tests.reports import write_report

NIGHTS = {1: "a", 2: "a", 3: "b"}
RUNS = ["20261101T020000Z", "20261102T020000Z", "20261103T020000Z"]


def _reports(folder: Path) -> list[str]:
    """Three nights; before the third, the tag moved."""
    return [
        write_report(
            folder / f"{night}.jsonl",
            [
                image(
                    digest=digest(digit),
                    audited_at=f"2026-11-0{night}T02:00:00Z",
                    size=100 * night,
                )
            ],
        )
        for night, digit in NIGHTS.items()
    ]


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three")
    for report in _reports(folder):
        history.add(folder / "runs", [report])
    return folder / "runs"


@pytest.fixture
def dataset(three_runs: Path, tmp_path: Path) -> str:
    """A data set of the three nights, for one test."""
    return str(shutil.copytree(three_runs, tmp_path / "runs"))


def test_a_run_is_added_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = _reports(tmp_path)
    for report in (*reports, reports[0]):
        assert run(["history", "add", str(tmp_path / "runs"), report]) == 0
    *added, again = capsys.readouterr().out.splitlines()
    assert [line.split("-")[0] for line in added] == RUNS
    assert all(line.endswith(" added") for line in added)
    assert again.startswith(RUNS[0])
    assert again.endswith(" is already in the history")


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


def _days(dataset: str) -> list[str]:
    return sorted(path.name for path in Path(dataset, "images").iterdir())


def test_prune_removes_what_no_rule_keeps(
    dataset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    days = ["date=2026-11-01", "date=2026-11-02", "date=2026-11-03"]
    keep = ["--keep", "daily=2, yearly=1"]
    assert run(["history", "prune", dataset, *keep, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("would remove 20261101T020000Z-")
    assert _days(dataset) == days
    assert run(["history", "prune", dataset, *keep]) == 0
    assert capsys.readouterr().out.startswith("removed 20261101T020000Z-")
    assert _days(dataset) == days[1:]
    assert (
        sorted(path.name for path in Path(dataset, "repositories").iterdir())
        == (days[1:])
    )
    assert run(["history", "prune", dataset, *keep]) == 0
    assert capsys.readouterr().out == "no run to remove\n"
    assert run(["history", "show", dataset, "r.example.com/team/app:1"]) == 0


def test_prune_never_removes_the_last_complete_run(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nights: list[list[Record]] = [
        [failure(audited_at="2026-11-04T02:00:00Z")],  # an outage
        [  # cut short by a deadline
            image(audited_at="2026-11-05T02:00:00Z"),
            failure(failure=FailureKind.INTERRUPTED, audited_at="2026-11-05T02:00:00Z"),
        ],
    ]
    for number, records in enumerate(nights):
        report = write_report(tmp_path / f"late{number}.jsonl", records)
        assert run(["history", "add", dataset, report]) == 0
    assert run(["history", "prune", dataset, "--keep", "last=1"]) == 0
    assert _days(dataset) == ["date=2026-11-03", "date=2026-11-04", "date=2026-11-05"]
    # A run that was removed only in part is incomplete and goes.
    for file in Path(dataset, "repositories", "date=2026-11-03").iterdir():
        file.unlink()
    capsys.readouterr()
    assert run(["history", "prune", dataset, "--keep", "last=1"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "auditor: no run is complete (each was cut short, or found no image): every run"
        " is kept\n"
    )
    report = write_report(
        tmp_path / "new.jsonl", [image(audited_at="2026-11-06T02:00:00Z")]
    )
    assert run(["history", "add", dataset, report]) == 0
    assert run(["history", "prune", dataset, "--keep", "last=1"]) == 0
    assert _days(dataset) == ["date=2026-11-06"]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("30", '--keep: "30" is not a rule; write for example daily=30,weekly=12'),
        ("daily", "--keep: daily must be a whole number from 0 to 100000"),
        ("daily=-1", "--keep: daily must be a whole number from 0 to 100000"),
        ("dayly=3", '--keep: "dayly" is not a rule'),
        ("daily=0", "--keep: would keep nothing but the last complete run"),
    ],
)
def test_wrong_rules_remove_nothing(
    keep: str, message: str, dataset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["history", "prune", dataset, "--keep", keep]) == 2
    assert message in capsys.readouterr().err
    assert len(_days(dataset)) == 3


def test_prune_without_a_data_set_is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images" / "date=mine").mkdir(parents=True)
    (tmp_path / "images" / "date=mine" / "other.parquet").touch()
    assert run(["history", "prune", str(tmp_path), "--keep", "daily=1"]) == 2
    assert "not a data set of auditor history" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["empty", "cut", "footer", "pages"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "{}", "r.example.com/team/app:1"),
        ("prune", "{}", "--keep", "daily=1"),
    ],
    ids=["show", "prune"],
)
def test_a_damaged_file_is_named_with_what_to_do(
    arguments: tuple[str, ...],
    damage: str,
    dataset: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (file,) = Path(dataset).glob("images/date=2026-11-02/*.parquet")
    good = file.read_bytes()
    changed = bytes(byte ^ 255 for byte in good)
    file.write_bytes(
        {
            "empty": b"",
            "cut": good[:100],
            "footer": good[:-60] + changed[-60:-20] + good[-20:],
            "pages": good[:4] + changed[4 : len(good) // 2] + good[len(good) // 2 :],
        }[damage]
    )
    assert run(["history", *(word.format(dataset) for word in arguments)]) == 2
    assert capsys.readouterr().err == (
        f"auditor: {file}: damaged: remove it, and add its report again"
        " (auditor history add)\n"
    )
    file.unlink()
    assert run(["history", "show", dataset, "r.example.com/team/app:1"]) == 0
