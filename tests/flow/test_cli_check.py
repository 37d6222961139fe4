"""The command `auditor check`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from auditor.cli.main import run
from tests.flow.commands import auditor
from tests.manifests import digest
from tests.records import failure, image, platform
from tests.reports import write_report

pytestmark = pytest.mark.anyio

POLICY = '[rules.all]\nforbid_failures = true\nimmutable_tags = ["v*"]\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_report(tmp_path / "good.jsonl.gz", [image()])
    write_report(tmp_path / "bad.jsonl", [image(), failure()])
    (tmp_path / "policy.toml").write_text(POLICY)
    return tmp_path


async def test_a_report_without_violations_passes(place: Path) -> None:
    done = await auditor(
        "check", "good.jsonl.gz", "--policy", "policy.toml", "--previous", "good.*",
        place=place,
    )  # fmt: skip
    assert (done.code, done.stderr) == (0, [])
    assert done.out.startswith(b"passed: 1 reference")


async def test_a_violation_is_exit_code_1(place: Path) -> None:
    done = await auditor(
        "check", "bad.jsonl", "--policy", "policy.toml", "--previous", "good.*",
        "--format", "github", place=place,
    )  # fmt: skip
    assert (done.code, done.stderr) == (1, [])
    assert done.out.startswith(b"::error file=policy.toml,line=2,")


async def test_several_reports_are_checked_together(place: Path) -> None:
    done = await auditor(
        "check", "good*", "bad.jsonl", "--policy", "policy.toml", "--previous",
        "good.*", "--format", "jsonl", place=place,
    )  # fmt: skip
    assert done.code == 1
    assert (done.lines[-1]["kind"], done.lines[-1]["lines"]) == ("check", 2)


@pytest.mark.parametrize("form", ["sarif", "junit"])
async def test_the_output_file_is_written_atomically(place: Path, form: str) -> None:
    done = await auditor(
        "check", "bad.jsonl", "--policy", "policy.toml", "--previous", "good.*",
        "--format", form, "-o", "out", place=place,
    )  # fmt: skip
    assert (done.code, done.out, done.stderr) == (1, b"", [])
    assert b"gone:1" in (place / "out").read_bytes()
    assert not (place / "out.partial").exists()


async def test_an_unwritable_output_file_is_exit_code_3(place: Path) -> None:
    done = await auditor(
        "check", "bad.jsonl", "--policy", "policy.toml", "--previous", "good.*",
        "-o", "nowhere/out", place=place,
    )  # fmt: skip
    assert done.code == 3
    assert done.messages == [
        "nowhere/out: cannot be written: its folder does not exist"
    ]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            POLICY,
            (
                "p.toml:3: all.immutable_tags needs an earlier report; give one with"
                " --previous REPORT"
            ),
        ),
        (
            "[rules.all]\nmax_sise = 1\nmax_layers = 1",
            "p.toml:2: rules.all.max_sise: unknown rule; did you mean max_size?",
        ),
        (
            "[rules.all",
            "p.toml:1:11: not TOML: Expected ']' at the end of a table declaration",
        ),
    ],
)
async def test_an_invalid_policy_is_an_error_with_its_line(
    place: Path, policy: str, message: str
) -> None:
    (place / "p.toml").write_text(policy)
    done = await auditor("check", "bad.jsonl", "--policy", "p.toml", place=place)
    assert (done.code, done.out, done.messages) == (2, b"", [message])


async def test_a_missing_policy_is_a_usage_error(place: Path) -> None:
    done = await auditor("check", "bad.jsonl", "--policy", "none.toml", place=place)
    assert done.code == 2
    assert done.messages == ["none.toml: cannot be read: No such file or directory"]


async def test_metrics_count_every_rule(place: Path) -> None:
    (place / "p.toml").write_text(
        "[rules.all]\nforbid_failures = true\nmax_layers = 9\n"
    )
    done = await auditor(
        "check", "bad.jsonl", "--policy", "p.toml", "--metrics", "m.prom", place=place
    )
    assert (done.code, done.stderr) == (1, [])
    lines = (place / "m.prom").read_text().splitlines()
    assert {line for line in lines if line.startswith("auditor_check_violations{")} == {
        'auditor_check_violations{audit="m",rule="all.forbid_failures"} 1.0',
        'auditor_check_violations{audit="m",rule="all.max_layers"} 0.0',
    }


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check", "bad.jsonl", "--policy", "p.toml"], 1),
        (["query", "bad.jsonl", "from range(100000)", "--format", "csv"], 0),
        (["html", "bad.jsonl", "-o", "-"], 0),
    ],
)
async def test_a_closed_pipe_does_not_change_the_exit_code(
    place: Path, arguments: list[str], code: int
) -> None:
    (place / "p.toml").write_text("[rules.all]\nforbid_failures = true\n")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = await auditor(*arguments, stdout=writer, place=place)
    finally:
        os.close(writer)
    assert (done.code, done.stderr) == (code, [])


@pytest.mark.parametrize(("untagged", "code"), [(True, 0), (None, 1)])
def test_a_policy_is_not_about_manifests_without_a_tag(
    untagged: bool | None, code: int, tmp_path: Path
) -> None:
    old = image(
        reference=f"r.example.com/team/app@{digest('d')}",
        tag=None,
        digest=digest("d"),
        untagged=untagged,
        architectures=("linux/s390x",),
        platforms=(platform("d", architecture="s390x"),),
    )
    report = write_report(tmp_path / "report.jsonl", [image(), old])
    policy = tmp_path / "policy.toml"
    policy.write_text('[rules.all]\nrequired_platforms = ["linux/amd64"]\n')
    assert run(["check", report, "--policy", str(policy)]) == code
