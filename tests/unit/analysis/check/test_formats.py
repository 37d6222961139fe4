"""The output formats of `check`; hostile text in a report stays text."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import click
import jsonschema
import orjson
import pytest

from auditor.analysis.check.formats import output_formats
from auditor.cli.check_command import command
from auditor.model import Record
from tests.junit_grammar import check_junit
from tests.manifests import digest
from tests.policies import findings_of
from tests.records import failure, image
from tests.sarif_schema import SARIF_SCHEMA, official_schema

POLICY = """\
[rules.all]
max_size = "100 B"
forbid_failures = true
max_layers = 9

[rules.soft]
severity = "warning"
max_layers = 1

[[waivers]]
rules = ["all.max_size"]
references = ["team/old"]
reason = "gone <soon> & for good"
expires = 2026-11-24
"""
(FORMATS,) = (
    option.type.choices
    for option in command.params
    if "--format" in option.opts and isinstance(option.type, click.Choice)
)
OLD = image(
    reference="r.example.com/team/old:1", repository="team/old", digest=digest("f")
)
EVIL = "\x1b[31m\u202e<script>\"&'%0A::error::\n|,:\ufffe\u2028"
HOSTILE = failure(reference=EVIL, registry=None, repository=None, tag=None, detail=EVIL)
RECORDS: list[Record] = [image(), OLD, failure()]


def render(
    folder: Path,
    form: str,
    records: list[Record],
    *,
    limit: int = 0,
    text: str = POLICY,
) -> str:
    with findings_of(folder, text, records) as findings:
        return "".join(output_formats(limit)[form](findings))


def sarif(text: str) -> dict[str, Any]:
    log: dict[str, Any] = orjson.loads(text)
    jsonschema.Draft202012Validator(SARIF_SCHEMA).validate(log)
    official = official_schema()
    assert log["$schema"] == official["id"]
    jsonschema.Draft4Validator(official).validate(log)
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


def junit(text: str) -> ET.Element:
    root = ET.fromstring(text)  # noqa: S314  (what was written here)
    check_junit(root)
    return root


def test_the_command_line_offers_all_formats() -> None:
    assert set(FORMATS) == output_formats(0).keys()


def test_json_lines_end_in_the_totals(tmp_path: Path) -> None:
    *violations, totals = map(
        orjson.loads, render(tmp_path, "jsonl", RECORDS).splitlines()
    )
    assert violations[0] == {
        "schema": 1,
        "kind": "violation",
        "rule": "all.max_size",
        "severity": "error",
        "reference": "r.example.com/team/app:1",
        "registry": "r.example.com",
        "repository": "team/app",
        "tag": "1",
        "digest": digest("e"),
        "known": True,
        "found": ["300 bytes"],
        "used_by": [],
        "newer": None,
        "detail": "is larger than 100 B: 300 bytes",
        "waiver": None,
        "expired_waiver": None,
    }
    assert violations[1]["waiver"] == {
        "reason": "gone <soon> & for good",
        "expires": "2026-11-24",
    }
    assert [one["rule"] for one in violations] == [
        *["all.max_size"] * 2, "all.forbid_failures", *["soft.max_layers"] * 2,
    ]  # fmt: skip
    assert totals == {
        "schema": 1,
        "kind": "check",
        "passed": False,
        "lines": 3,
        "errors": 2,
        "warnings": 2,
        "waived": 1,
        "rules": {
            "all.max_size": {"violations": 1, "waived": 1, "ignored": 0},
            "all.forbid_failures": {"violations": 1, "waived": 0, "ignored": 0},
            "all.max_layers": {"violations": 0, "waived": 0, "ignored": 0},
            "soft.max_layers": {"violations": 2, "waived": 0, "ignored": 0},
        },
        "notices": [],
    }


def test_sarif_locates_the_rule_in_the_policy_and_the_reference(tmp_path: Path) -> None:
    run = sarif(render(tmp_path, "sarif", RECORDS))
    rules = run["tool"]["driver"]["rules"]
    first, waived, failed, *warned = run["results"]
    assert [rules[one["ruleIndex"]]["id"] for one in run["results"]] == [
        one["ruleId"] for one in run["results"]
    ]
    assert first["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "policy.toml"},
                "region": {"startLine": 2},
            },
            "logicalLocations": [
                {"fullyQualifiedName": "r.example.com/team/app:1", "kind": "resource"}
            ],
        }
    ]
    assert waived["suppressions"][0]["justification"] == (
        "gone <soon> & for good (until 2026-11-24)"
    )
    assert "suppressions" not in failed
    assert [one["level"] for one in warned] == ["warning", "warning"]


def test_sarif_fingerprints_do_not_change_with_what_is_found(tmp_path: Path) -> None:
    def prints(size: int) -> list[str]:
        run = sarif(render(tmp_path, "sarif", [image(size=size), OLD]))
        return [one["partialFingerprints"]["violation/v1"] for one in run["results"]]

    assert prints(300) == prints(400)
    assert len(set(prints(300))) == 4


def test_junit_has_a_suite_for_each_rule_and_a_case_for_each_violation(
    tmp_path: Path,
) -> None:
    root = junit(render(tmp_path, "junit", RECORDS))
    cases = {
        suite.get("name"): [
            (case.get("name"), *(e.tag for e in case)) for case in suite
        ]
        for suite in root
    }
    assert cases == {
        "all.max_size": [
            ("r.example.com/team/app:1", "failure"),
            ("r.example.com/team/old:1", "skipped"),
        ],
        "all.forbid_failures": [("r.example.com/team/gone:1", "failure")],
        "all.max_layers": [
            ("Each platform of an image has at most this many layers.",)
        ],
        "soft.max_layers": [
            ("r.example.com/team/app:1", "skipped"),
            ("r.example.com/team/old:1", "skipped"),
        ],
    }


def test_github_annotates_the_rule_of_each_violation_that_is_not_waived(
    tmp_path: Path,
) -> None:
    assert render(tmp_path, "github", [image(), OLD]).splitlines() == [
        (
            "::error file=policy.toml,line=2,title=all.max_size::"
            "r.example.com/team/app:1: is larger than 100 B: 300 bytes"
        ),
        (
            "::warning file=policy.toml,line=8,title=soft.max_layers::"
            "r.example.com/team/app:1: has more than 1 layers: linux/amd64 2"
        ),
        (
            "::warning file=policy.toml,line=8,title=soft.max_layers::"
            "r.example.com/team/old:1: has more than 1 layers: linux/amd64 2"
        ),
    ]


def test_a_table_says_how_many_rows_are_left_out(tmp_path: Path) -> None:
    text = render(tmp_path, "table", RECORDS, limit=1)
    lines = text.splitlines()
    assert lines[0] == "failed: 3 references, 4 rules, 2 errors, 2 warnings, 1 waived"
    assert "warning soft.max_layers (2)" in lines
    assert "  and 1 more; --limit 0 shows all" in lines
    assert "waived (1)" in lines
    assert "more" not in render(tmp_path, "table", RECORDS).partition("waived (1)")[2]


def test_a_passed_check_says_so(tmp_path: Path) -> None:
    text = render(tmp_path, "table", [image()], text="[rules.a]\nmax_layers = 9\n")
    assert text == "passed: 1 reference, 1 rule, 0 errors, 0 warnings, 0 waived\n"


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_text_has_no_control_characters_and_starts_no_line(
    tmp_path: Path, form: str
) -> None:
    text = render(tmp_path, form, [HOSTILE, image()])
    # JSON lines have the reference as in the report; JSON escapes control characters
    unsafe = "\x1b\r" if form == "jsonl" else "\x1b\r\u202e\u2028"
    assert not set(text) & set(unsafe)
    assert not [line for line in text.splitlines() if line.startswith("|,:")]


def test_json_lines_have_hostile_text_unchanged(tmp_path: Path) -> None:
    lines = render(tmp_path, "jsonl", [HOSTILE, image()]).split("\n")
    (reference,) = (
        line["reference"]
        for line in map(orjson.loads, filter(None, lines))
        if line.get("rule") == "all.forbid_failures"
    )
    assert reference == EVIL


def test_hostile_text_stays_text_in_every_format(tmp_path: Path) -> None:
    records: list[Record] = [HOSTILE, image()]
    assert len(sarif(render(tmp_path, "sarif", records))["results"]) == 3
    xml = render(tmp_path, "junit", records)
    assert "<script>" not in xml
    assert len(junit(xml).findall(".//failure")) == 2
    commands = render(tmp_path, "github", records)
    assert "%0A" not in commands.replace("%250A", "")
    assert [line.split()[0] for line in commands.splitlines()] == [
        "::error", "::error", "::warning", "::notice",
    ]  # fmt: skip
