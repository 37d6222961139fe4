"""`auditor explain`: every code has an explanation, and docs/reference/ has it."""

from __future__ import annotations

import re

import click
import pytest

from auditor.cli.explain_command import command, explanations
from auditor.cli.main import cli, run
from auditor.errors import ExitCode, FailureKind, FailureReason
from auditor.model import WarningCode


def test_every_code_has_an_explanation_and_at_least_one_step() -> None:
    groups = explanations()
    assert sorted(groups["failure"]) == sorted(FailureKind)
    assert sorted(groups["warning"]) == sorted(WarningCode)
    assert sorted(groups["reason"]) == sorted(FailureReason)
    assert list(groups["exit code"]) == [str(int(code)) for code in ExitCode]
    for codes in groups.values():
        assert all(one.meaning and one.steps for one in codes.values())


def test_a_code_is_in_one_group_only() -> None:
    codes = [code for codes in explanations().values() for code in codes]
    assert len(codes) == len(set(codes))


def test_the_options_in_explanations_exist() -> None:
    context = click.Context(cli)
    existing = {"--help"}
    for name in cli.list_commands(context):
        found = cli.get_command(context, name)
        assert found is not None
        for parameter in found.params:
            existing |= {*parameter.opts, *parameter.secondary_opts}
    for codes in explanations().values():
        for one in codes.values():
            text = " ".join((one.meaning, *one.steps))
            named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
            assert named <= existing, one


def test_a_code_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "dns", "child_missing"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "dns (failure; to be fixed by: network)",
        "  the host name does not resolve",
        "",
        "  What to do:",
        "  - check the spelling of the host",
        "  - check that this machine resolves it: getent hosts HOST",
        "  - if only a proxy can resolve it, set HTTPS_PROXY or --proxy",
        "",
        "child_missing (warning)",
        "  an index names a manifest that the registry does not have",
        "",
        "  What to do:",
        "  - this platform cannot be pulled",
        "  - a copy without all platforms, or garbage collection, is the usual cause:",
        "    push the image again, or delete the tag",
    ]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("401", "denied (failure; to be fixed by: you)"),
        ("429", "rate_limited (failure; to be fixed by: nobody)"),
        ("2", "2 (exit code)"),
        ("Not-Found", "not_found (failure; to be fixed by: you)"),
        ("production.max_age", "max_age (rule)"),
        ("untrusted_ca", "untrusted_ca (reason)"),
    ],
)
def test_codes_are_found_as_people_write_them(
    text: str, title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", text]) == 0
    assert capsys.readouterr().out.splitlines()[0] == title


def test_an_unknown_code_suggests_a_known_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["explain", "denyed"]) == 2
    assert capsys.readouterr().err == (
        "auditor: there is no code denyed; did you mean denied?\n"
    )


def test_without_a_code_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for codes in explanations().values():
        for code in codes:
            assert any(line.startswith(f"  {code} ") for line in lines), code
    assert max(map(len, lines)) <= 80


def test_codes_are_completed() -> None:
    (argument,) = command.params
    found = argument.shell_complete(click.Context(command), "digest_m")
    assert [item.value for item in found] == ["digest_mismatch"]
