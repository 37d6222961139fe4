"""Files that are no report, and readers that leave, for each command that reads one.

Each is one sentence with the file and exit code 2, never a traceback or an answer.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from auditor.cli.main import run
from auditor.model import Record, Shape
from auditor.report.shapes import encoder
from tests.flow.commands import auditor
from tests.records import failure, image
from tests.reports import write_report
from tests.unit.analysis.test_packages import LIBSSL, attached, one, sbom, write_sboms

RECORDS: list[Record] = [one("1", "1", attached("e1", "1")), failure()]
# The arguments with `FILE` in place of the wrong file.
REPORT_COMMANDS = {
    "bases": ["bases", "FILE"],
    "packages": ["packages", "FILE", "openssl", "--sbom", "sboms.jsonl"],
    "cleanup plan": ["cleanup", "plan", "FILE", "--delete", "r.example.com/**:*"],
    "cleanup plan --running": [
        *("cleanup", "plan", "good.jsonl", "--delete", "r.example.com/**:*"),
        *("--running", "FILE"),
    ],
    "cleanup protect": ["cleanup", "protect", "FILE"],
    "layers": ["layers", "FILE"],
    "layers --digest": ["layers", "FILE", "--digest", "sha256:111111111111"],
    "unused --registry": ["unused", "--registry", "FILE", "--running", "good.jsonl"],
    "unused --running": ["unused", "--registry", "good.jsonl", "--running", "FILE"],
    "check": ["check", "FILE", "--policy", "policy.toml"],
    "html": ["html", "FILE", "--policy", "policy.toml", "-o", "-"],
}
SBOM_COMMANDS = {
    "packages": ["packages", "good.jsonl", "openssl", "--sbom", "FILE"],
    "check": ["check", "good.jsonl", "--policy", "packages.toml", "--sbom", "FILE"],
    "query": ["query", "good.jsonl", "SELECT 1", "--sbom", "FILE"],
}


def _line() -> bytes:
    return encoder(Shape.IMAGE)(image())


# What is in a file of this name, and the sentence about it.
WRONG: dict[str, tuple[Callable[[], bytes] | None, str]] = {
    "none.jsonl": (None, "no such report"),
    "text.jsonl": (lambda: b"hello\n", "not a report but another file"),
    "policy.toml": (None, "not a report but another file"),
    "array.json": (lambda: b'[{"a": 1}]', "not a report but a JSON array"),
    "scan.json": (lambda: b'{\n  "a": 1\n}', "a JSON document of several lines"),
    "other.jsonl": (lambda: b'{"a": 1}\n', "a line has neither schema nor kind"),
    "sboms.jsonl": (None, "not a report but an SBOM file; name it with --sbom"),
    "platforms.jsonl": (
        lambda: encoder(Shape.PLATFORM)(image()),
        "a report of shape platform",
    ),
    "packed.jsonl": (lambda: gzip.compress(_line()), "its name must end in .gz"),
    "plain.jsonl.gz": (_line, "not a gzip file"),
    "torn.jsonl.gz": (lambda: gzip.compress(_line())[:-9], "the file is truncated"),
    "left.jsonl.partial": (_line, "of an audit that did not come to its end"),
    "torn.jsonl": (lambda: _line() * 2 + _line()[:-9], "line 3, byte"),
    "folder": (None, ""),
    "-": (None, "cannot be standard input; name a file"),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_report(tmp_path / "good.jsonl", RECORDS)
    write_sboms(tmp_path / "sboms.jsonl", [sbom("e1", LIBSSL)])
    (tmp_path / "policy.toml").write_text("[rules.a]\nforbid_end_of_life = true\n")
    (tmp_path / "packages.toml").write_text('[rules.a]\nforbidden_packages = ["a"]\n')
    (tmp_path / "folder").mkdir()
    for name, (content, _) in WRONG.items():
        if content is not None:
            (tmp_path / name).write_bytes(content())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(arguments: list[str], file: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence with which a file is refused."""
    code = run([file if text == "FILE" else text for text in arguments])
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    (sentence,) = err.splitlines()
    assert sentence.startswith(f"auditor: {file}: ")
    return str(sentence)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("name", REPORT_COMMANDS)
def test_a_wrong_report_is_one_sentence(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for file, (_, sentence) in WRONG.items():
        assert sentence in refused(REPORT_COMMANDS[name], file, capsys)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("name", SBOM_COMMANDS)
def test_a_wrong_sbom_file_is_one_sentence(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for file, sentence in {
        "none.jsonl": "no such SBOM file",
        "good.jsonl": "not an SBOM file but a report",
        "text.jsonl": "not an SBOM file but another file",
        "other.jsonl": "not a file of auditor audit --sbom",
        "folder": "is a folder; name the files in it",
        "-": "an SBOM file cannot be standard input; name a file",
    }.items():
        assert sentence in refused(SBOM_COMMANDS[name], file, capsys)


@pytest.mark.parametrize(
    "name",
    [
        *("bases", "packages", "cleanup plan", "cleanup protect", "unused --registry"),
        *("layers", "layers --digest"),
    ],
)
def test_an_empty_report_is_no_answer(
    name: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "empty.jsonl").touch()
    arguments = ["empty.jsonl" if x == "FILE" else x for x in REPORT_COMMANDS[name]]
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("auditor: the report is empty: ")


@pytest.mark.usefixtures("place")
def test_files_that_no_rule_needs_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check = ["check", "good.jsonl", "--policy", "policy.toml"]
    run([*check, "--sbom", "sboms.jsonl", "--previous", "good.jsonl"])
    unused = "not used, because no rule of the policy needs it"
    assert capsys.readouterr().err.splitlines() == [
        f"auditor: --previous: {unused}", f"auditor: --sbom: {unused}"
    ]  # fmt: skip
    assert run([*check, "--previous", "none.jsonl"]) == 2
    assert capsys.readouterr().err == "auditor: none.jsonl: no such report\n"
    assert run(["html", "good.jsonl", "--sbom", "sboms.jsonl", "-o", "-"]) == 2
    assert capsys.readouterr() == (
        "", "auditor: --sbom: is for rules about packages; add --policy FILE\n"
    )  # fmt: skip


def test_an_empty_list_deletes_nothing_and_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "list.txt").write_text("# nothing\n")
    assert run(["cleanup", "plan", "good.jsonl", "--delete", "@list.txt"]) == 2
    assert capsys.readouterr().err == (
        "auditor: list.txt: the list names no reference, so nothing would be deleted;"
        " check the program that writes it\n"
    )


# Fields that reports had before these questions could be asked.
FIRST_FIELDS = {
    "image": {
        *("schema", "kind", "reference", "registry", "repository", "tag", "digest"),
        *(
            "media_type",
            "schema_version",
            "artifact_type",
            "architectures",
            "platforms",
        ),
        *("platforms_left_out", "attachments", "signed", "has_sbom", "has_provenance"),
        *("size", "annotations", "access", "warnings", "audited_at"),
    },
    "platforms": {
        *("os", "architecture", "variant", "os_version", "digest", "media_type"),
        *("config_digest", "created", "size", "layers", "layer_traits"),
    },
    "attachments": {"kind", "artifact_type", "digest", "subject", "predicates"},
}


def _as_written_before(line: str) -> str:
    record = json.loads(line)
    if record["kind"] == "image":
        for name in ("platforms", "attachments"):
            record[name] = [
                {key: one[key] for key in one.keys() & FIRST_FIELDS[name]}
                for one in record[name]
            ]
        record = {key: record[key] for key in record.keys() & FIRST_FIELDS["image"]}
    return json.dumps(record)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("bases", 0),
        ("packages", 0),
        # What an early report does not say is unknown, so that nothing is safe.
        ("cleanup plan", 1),
        ("cleanup protect", 1),
        ("unused --registry", 0),
        ("unused --running", 0),
        ("check", 1),
        ("html", 0),
    ],
)
def test_a_report_without_later_fields_is_read(
    name: str, code: int, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (place / "good.jsonl").read_text().splitlines()
    (place / "early.jsonl").write_text("\n".join(map(_as_written_before, lines)))
    arguments = ["early.jsonl" if x == "FILE" else x for x in REPORT_COMMANDS[name]]
    assert run(arguments) == code
    out, err = capsys.readouterr()
    assert out
    assert "Traceback" not in err


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["bases", "packages", "cleanup plan", "check"])
async def test_a_reader_that_leaves_is_no_error(name: str, place: Path) -> None:
    """As `head -1` does."""
    arguments = ["good.jsonl" if x == "FILE" else x for x in REPORT_COMMANDS[name]]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = await auditor(
            *arguments, "--format", "jsonl", place=place, stdout=writer
        )
    finally:
        os.close(writer)
    assert done.code == (1 if name in {"check", "cleanup plan"} else 0)
    assert not any("standard output" in line for line in done.stderr)
