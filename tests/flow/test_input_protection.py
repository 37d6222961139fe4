"""No command overwrites its input, and no failure passes unnoticed."""

from __future__ import annotations

import gzip
import os
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


_EMPTY_LISTS = {
    "nothing": b"",
    "blank lines": b"\n \n",
    "comments": b"# none\n",
    "a byte order mark": b"\xef\xbb\xbf",
    "a header": b"repository,tag\n",
    # kubectl get pods -o json in a namespace without pods.
    "Kubernetes": b'{"apiVersion": "v1", "kind": "List", "items": []}',
    "compose": b"services: {}\n",
}
_PATTERN = "127.0.0.1:1/team/app:*"  # connection refused


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def outputs(tmp_path: Path) -> list[str]:
    """A folder with the outputs of a good night, and an unfinished report."""
    folder = tmp_path / "night"
    folder.mkdir()
    for name in ("report.jsonl", "report.jsonl.partial", "summary", "m.prom"):
        (folder / name).write_text(f"{name} of a good night\n")
    return [
        *("-o", str(folder / "report.jsonl")),
        *("--summary", str(folder / "summary"), "--metrics", str(folder / "m.prom")),
    ]


@pytest.mark.parametrize(
    "options",
    [(), ("--resume",), ("--processes", "2"), ("--shard", "1/2"), ("--dry-run",)],
    ids=" ".join,
)
@pytest.mark.parametrize("content", _EMPTY_LISTS.values(), ids=_EMPTY_LISTS)
@pytest.mark.parametrize("is_stdin", [False, True], ids=["file", "standard input"])
def test_a_list_that_names_nothing_changes_no_file(
    options: tuple[str, ...],
    content: bytes,
    is_stdin: bool,
    outputs: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # The program that writes the list may have failed.
    (tmp_path / "list").write_bytes(content)
    before = _files(tmp_path)
    with (tmp_path / "list").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        lists = ("-f", "-" if is_stdin else str(tmp_path / "list"))
        assert run(["audit", *lists, *outputs, *options]) == 2
    name = "stdin" if is_stdin else tmp_path / "list"
    assert capfd.readouterr().err == (
        f"auditor: {name}: the list names no reference; check the program that writes"
        " it (--allow-empty accepts empty lists)\n"
    )
    assert _files(tmp_path) == before


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "two"])
def test_one_list_of_several_that_names_nothing_keeps_the_report(
    options: tuple[str, ...],
    outputs: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "list").write_bytes(b"")
    before = _files(tmp_path)
    with (tmp_path / "list").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert run(["audit", _PATTERN, "-f", "-", *outputs, *options]) == 2
        assert "stdin: the list names no reference" in capfd.readouterr().err
        # A file is read before anything else is done.
        lists = ("-f", str(tmp_path / "list"))
        assert run(["audit", _PATTERN, *lists, *outputs, *options]) == 2
    complete = ("report.jsonl", "summary", "m.prom")
    after = _files(tmp_path)
    for name in complete:
        assert after[f"night/{name}"] == before[f"night/{name}"]


def test_token_refuses_a_list_that_names_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list").write_text("# none\n")
    assert run(["token", "-f", str(tmp_path / "list")]) == 2
    assert "the list names no reference" in capfd.readouterr().err


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "two"])
def test_allow_empty_writes_an_empty_report(
    options: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list").write_bytes(b"")
    report = tmp_path / "report.jsonl"
    lists = ("-f", str(tmp_path / "list"), "--allow-empty")
    assert run(["audit", *lists, "-o", str(report), *options]) == 0
    assert capfd.readouterr().err.splitlines()[-1] == (
        "auditor: nothing was audited: the input names no reference; check the lists"
    )
    assert report.read_bytes() == b""


def test_allow_empty_accepts_a_configuration_that_names_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "audit.toml"
    config.write_text('reference = []\noutput = "r.jsonl.gz"\nquiet = true\n')
    assert run(["audit", "-c", str(config)]) == 2
    assert "nothing to audit" in capfd.readouterr().err
    config.write_text(config.read_text() + "allow_empty = true\n")
    assert run(["audit", "-c", str(config)]) == 0
    assert capfd.readouterr().err == ""
    assert gzip.decompress((tmp_path / "r.jsonl.gz").read_bytes()) == b""


def test_an_input_that_is_silent_until_the_deadline_changes_no_file(
    outputs: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = _files(tmp_path)
    reader, writer = os.pipe()
    with os.fdopen(reader) as stream, os.fdopen(writer, "w"):
        monkeypatch.setattr("sys.stdin", stream)
        assert run(["audit", "-f", "-", *outputs, "--deadline", "0.1"]) == 2
    assert "named no reference before the deadline" in capfd.readouterr().err
    assert _files(tmp_path) == before


def test_an_empty_earlier_report_is_refused(
    report: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Every tag would count as new, and none as moved.
    policy, empty = report.with_name("policy.toml"), report.with_name("empty.jsonl")
    policy.write_text("[rules.all]\nrepositories = ['*']\nimmutable_tags = ['*']\n")
    empty.write_bytes(b"")
    command = ["check", str(report), "--policy", str(policy), "--previous", str(empty)]
    assert run(command) == 2
    assert "--previous has no tags to compare with" in capfd.readouterr().err


def test_a_misspelled_command_is_answered_with_a_suggestion(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(["audti"]) == 2
    assert "No such command 'audti'. Did you mean 'audit'?" in capfd.readouterr().err
    assert run(["zzz"]) == 2
    assert capfd.readouterr().err.endswith("No such command 'zzz'.\n")
    assert run(["registry.example.com/*:*"]) == 2
    assert capfd.readouterr().err.endswith(
        "To audit it: auditor audit 'registry.example.com/*:*'\n"
    )
