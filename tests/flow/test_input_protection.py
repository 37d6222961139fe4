"""No command overwrites its input, and no failure passes unnoticed."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from auditor.cli.main import run
from auditor.model import FailureRecord
from tests.records import failure, image

POLICY = "[rules.all]\nrepositories = ['*']\nforbid_failures = true\n"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.jsonl"
    path.write_bytes(orjson.dumps(image()) + b"\n")
    (tmp_path / "policy.toml").write_text(POLICY)
    return path


@pytest.mark.parametrize(
    "command",
    [
        ["check", "{report}", "--policy", "{policy}", "-o", "{report}"],
        ["check", "{report}", "--policy", "{policy}", "-o", "{policy}"],
        ["check", "{report}", "--policy", "{policy}", "--metrics", "{report}"],
        ["html", "{report}", "-o", "{report}"],
        ["export", "{report}", "--to", "sqlite", "-o", "{report}", "--force"],
    ],
)
def test_an_input_file_is_not_overwritten(
    command: list[str], report: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    policy = report.with_name("policy.toml")
    before = report.read_bytes(), policy.read_bytes()
    code = run([part.format(report=report, policy=policy) for part in command])
    assert code == 2
    assert "is an input of this command" in capfd.readouterr().err
    assert (report.read_bytes(), policy.read_bytes()) == before


def _lines(*changes: dict[str, object]) -> bytes:
    record: FailureRecord = failure()
    known = orjson.loads(orjson.dumps(record))
    return b"".join(orjson.dumps({**known, **change}) + b"\n" for change in changes)


def test_an_unknown_failure_kind_violates_forbid_failures(
    report: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report.write_bytes(_lines({"failure": "brand_new_kind"}))
    policy = str(report.with_name("policy.toml"))
    assert run(["check", str(report), "--policy", policy]) == 1
    assert "brand_new_kind" in capfd.readouterr().out


def test_a_line_without_a_reference_is_not_a_report(
    report: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report.write_bytes(_lines({"reference": None}))
    assert run(["query", str(report), "select count(*) from images"]) == 2
    assert "without a reference" in capfd.readouterr().err


def test_reports_with_doubled_lines_are_different_runs(
    report: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = str(report.with_name("history"))
    for number in range(2):
        line = _lines({"reference": f"r.example.com/a:{number}"})
        report.write_bytes(line + line)
        assert run(["history", "add", dataset, str(report)]) == 0
    assert "already" not in capfd.readouterr().out


@pytest.mark.parametrize("engine", [(), ("--processes", "2")])
def test_an_empty_list_is_reported(
    engine: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # The program that writes the list may have failed.
    (tmp_path / "list.txt").write_text("# none\n")
    report = str(tmp_path / "report.jsonl")
    code = run(["audit", "-f", str(tmp_path / "list.txt"), "-o", report, *engine])
    assert code == 0
    messages = capfd.readouterr().err.splitlines()
    assert messages[-1] == (
        "auditor: nothing was audited: the input names no reference; check the lists"
    )


def test_an_empty_shard_is_not_reported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = str(tmp_path / "report.jsonl")
    (tmp_path / "list.txt").write_text("")
    lists = ("-f", str(tmp_path / "list.txt"))
    assert run(["audit", *lists, "--shard", "1/2", "-o", report]) == 0
    assert "nothing was audited" not in capfd.readouterr().err


def test_a_misspelled_command_is_answered_with_a_suggestion(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(["audti"]) == 2
    assert "No such command 'audti'. Did you mean 'audit'?" in capfd.readouterr().err
    assert run(["zzz"]) == 2
    assert capfd.readouterr().err.endswith("No such command 'zzz'.\n")
