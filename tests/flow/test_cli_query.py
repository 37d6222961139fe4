"""The command `auditor query`."""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path

import pytest

from auditor.cli.main import run
from auditor.model import ConfigDetails, ContentKind
from tests.records import RECORDS, image, platform
from tests.reports import write_report
from tests.unit.analysis.test_packages import LIBSSL, attached, sbom, write_sboms


@pytest.fixture
def report(tmp_path: Path) -> str:
    return write_report(tmp_path / "report.jsonl", RECORDS)


def test_the_default_format_is_a_table(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["query", report, "SELECT tag, digest[:9] AS d FROM images"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("tag  d\n1    sha256:")
    assert printed.err == ""


DATED = "2025-01-01T02:00:00+02:00"
_HAVE_NO_DATE = (
    "auditor: created: 3 of 4 platforms have no date; audit with --image-config always"
    " (reproducible builds can have none)\n"
)


@pytest.mark.parametrize(
    ("question", "answer", "notice"),
    [
        (
            "SELECT count(*) FROM platforms WHERE created < '2025-06-01'",
            "1",
            _HAVE_NO_DATE,
        ),
        (
            "WITH old AS (SELECT p.* FROM PLATFORMS AS p WHERE Created < now())"
            " SELECT count(*) FROM old",
            "1",
            _HAVE_NO_DATE,
        ),
        (
            "SELECT min(created) FROM platforms",
            "2025-01-01 00:00:00",
            _HAVE_NO_DATE,
        ),
        ("SELECT count(*) FROM platforms WHERE os = 'linux'", "4", ""),
        ("SELECT count(*) FROM failures WHERE status = 404", "0", ""),
        (
            "SELECT count(*) FROM images WHERE NOT signed",
            "0",
            "auditor: signed: 4 of 4 images were not examined; audit with"
            " --attachments all\n",
        ),
        (
            "SELECT sum(size) FROM images",
            "900",
            "auditor: size: 1 of 4 images have no size; schema 1 has none\n",
        ),
        # A registry that lists none looks the same as one that has none.
        (
            "SELECT count(*) FROM untagged",
            "0",
            "auditor: untagged: the report has no manifest without a tag: either there"
            " is none, or the audit did not ask for them (--untagged), or the registry"
            " does not list them, which the summary of the audit says\n",
        ),
        ("SELECT count(*) FROM images WHERE untagged IS NOT TRUE", "4", ""),
    ],
)
def test_a_question_that_a_report_cannot_answer_says_for_how_many(
    question: str,
    answer: str,
    notice: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dates = (DATED, None, "1970-01-01T00:00:00Z", "yesterday")
    records = [
        image(
            tag=str(number),
            reference=f"r.example.com/app:{number}",
            platforms=(platform("a", created=created),),
            size=300 if number else None,
        )
        for number, created in enumerate(dates)
    ]
    report = write_report(tmp_path / "r.jsonl", records)
    assert run(["query", report, question, "--format", "csv"]) == 0
    printed = capsys.readouterr()
    assert (printed.out.splitlines()[1:], printed.err) == ([answer], notice)


_NO_CONFIG = "are without the image config; audit with --image-config always"


# Nobody asks for the date of a signature, or for the user of a chart: as in check.
@pytest.mark.parametrize(
    ("question", "notice"),
    [
        ("SELECT count(created) FROM platforms", "created: 2 of 3 platforms have no d"),
        (
            "SELECT 1 FROM platforms WHERE user = 'root'",
            f"user: 1 of 2 plat.* {_NO_CONFIG}",
        ),
        (
            "SELECT 1 FROM platforms WHERE base_name = 'a'",
            f"base_name: 1 of 2 .*{_NO_CONFIG}",
        ),
        # --image-config always records no labels.
        (
            "SELECT labels FROM platforms",
            "labels: 2 of 2 .* in the report; audit with --label$",
        ),
        ("SELECT tag FROM images WHERE NOT signed", "signed: 3 of 3 images were"),
    ],
)
def test_what_no_image_is_has_no_unknown_values(
    question: str,
    notice: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = ConfigDetails(user=None, history=1, labels=None)
    platforms = [
        (ContentKind.IMAGE, platform("a", created=DATED, config=config)),
        (ContentKind.IMAGE, platform("b")),
        (ContentKind.ARTIFACT, platform("c", os=None, architecture=None)),
        (ContentKind.ATTACHMENT, platform("d", os=None, architecture=None)),
    ]
    records = [
        image(
            tag=str(number),
            reference=f"r.example.com/app:{number}",
            content=content,
            platforms=(one,),
        )
        for number, (content, one) in enumerate(platforms)
    ]
    report = write_report(tmp_path / "r.jsonl", records)
    assert run(["query", report, question, "--format", "csv"]) == 0
    *_, line = capsys.readouterr().err.splitlines()  # after the number of rows
    assert re.match(f"auditor: {notice}", line), line


def test_a_question_on_an_empty_report_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = write_report(tmp_path / "r.jsonl", [])
    assert run(["query", report, "SELECT * FROM failures", "--format", "jsonl"]) == 0
    assert capsys.readouterr().err.endswith("auditor: the report is empty\n")


def test_json_lines_and_csv_formats(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    question = "SELECT failure, status FROM failures ORDER BY failure"
    assert run(["query", report, question, "--format", "jsonl"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"failure": "invalid_reference", "status": None},
        {"failure": "not_found", "status": 404},
    ]
    assert run(["query", "--format", "csv", report, question]) == 0
    assert (
        capsys.readouterr().out == "failure,status\ninvalid_reference,\nnot_found,404\n"
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_control_characters_are_escaped_on_a_terminal(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = image(annotations={"a": "\x9b2J\u202e\x1b[2J"})
    report = write_report(tmp_path / "hostile.jsonl", [hostile])
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    question = "SELECT annotations['a'] AS a FROM images"
    assert run(["query", report, question, "--format", form]) == 0
    printed = terminal.getvalue()
    assert "2J" in printed
    assert all(line.isprintable() for line in printed.splitlines())


def test_json_lines_do_not_act_on_a_terminal_that_shows_them_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "\x9b2J\u202e\u2028\x7f\xe9"
    report = write_report(tmp_path / "hostile.jsonl", [image(annotations={"a": text})])
    question = "SELECT annotations['a'] AS a FROM images"
    assert run(["query", report, question, "--format", "jsonl"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert json.loads(line) == {"a": text}


def test_several_reports_are_queried_together(
    report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "more.jsonl.gz").write_bytes(gzip.compress(Path(report).read_bytes()))
    question = "SELECT count(*) AS n FROM images"
    for reports in ([report, str(tmp_path / "*.gz")], [str(tmp_path / "*.jsonl*")]):
        assert run(["query", *reports, question, "--format", "jsonl"]) == 0
        assert capsys.readouterr().out == '{"n":4}\n'


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("SELECT 1 FROM nothing", "auditor: the query: there is no table nothing"),
        ("DROP VIEW images", "auditor: a query must be one SELECT"),
        (
            "WITH x AS (COPY (SELECT 1) TO 'f') SELECT 1",
            "auditor: a query can only read",
        ),
    ],
)
def test_an_invalid_query_is_a_usage_error(
    question: str, message: str, report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["query", report, question]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(message)
    assert printed.err.count("\n") == 1


def test_a_truncated_table_says_so(
    report: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.analysis.query.MAX_TABLE_ROWS", 1)
    assert run(["query", report, "SELECT tag FROM images"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "tag\n1\n"
    assert "truncated after 1 row" in printed.err


def test_without_a_query_the_tables_and_columns_are_shown(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["query", report]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "images: a reference that was audited"
    assert ["audited_at", "time", "when", "it"] in [line.split()[:4] for line in lines]
    assert max(map(len, lines)) <= 80


def test_the_examples_can_be_shown_without_a_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["query", "--examples"]) == 0
    assert "# Images without arm64" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name a report"),
        (["select 1"], "name the report before the query"),
        (["REPORT", "select", "a", "from", "images"], "must be one argument"),
        (["REPORT", "gone.jsonl"], "gone.jsonl: no such report"),
        (["REPORT", ""], "a query must be one SELECT"),
    ],
)
def test_a_wrong_command_line_gets_a_sentence(
    arguments: list[str],
    sentence: str,
    report: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [report if word == "REPORT" else word for word in arguments]
    assert run(["query", *words]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("query", "notice"),
    [
        (
            "select reference from images where verified_by = []",
            "verified_by: 1 of 1 images were not verified; audit with"
            " --verify-signatures and a policy that names their repositories",
        ),
        (
            "select reference from images where end_of_life < now()",
            "end_of_life: 1 of 1 images were not examined; audit with --attachments"
            " all",
        ),
        (
            "select reference from bases where is_stale",
            "bases: 1 of 1 references were audited without a look at their bases; audit"
            " with --check-bases",
        ),
        (
            "select reference from attachments where kind = 'signature'",
            "attachments: 1 of 1 references were not examined; audit with --attachments"
            " all",
        ),
        (
            "select reference from signatures where state = 'invalid'",
            "signatures: 1 of 1 references were not verified; audit with"
            " --verify-signatures and a policy that names their repositories",
        ),
        (
            "select reference from packages where name = 'openssl'",
            "packages: 1 of 1 images have no SBOM that was read; auditor packages says"
            " why",
        ),
    ],
)
def test_what_the_audit_did_not_ask_for_is_no_answer(
    query: str, notice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = image(bases=None, signatures=None, verified_by=None, signed=None)
    report = write_report(tmp_path / "report.jsonl", [record])
    sboms = write_sboms(tmp_path / "sboms.jsonl", [sbom("e1", LIBSSL)])
    assert run(["query", report, query, "--sbom", sboms]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "auditor: 0 rows", f"auditor: {notice}"
    ]  # fmt: skip
    asked = image(bases=(), signatures=(), verified_by=("a",), signed=False,
                  attachments=(attached("e1", None),))  # fmt: skip
    report = write_report(tmp_path / "report.jsonl", [asked])
    assert run(["query", report, query, "--sbom", sboms]) == 0
    assert capsys.readouterr().err.splitlines() == ["auditor: 0 rows"]
