"""The help: groups of options, examples, and the ways to ask for it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest

from auditor.cli.command_examples import EXAMPLES
from auditor.cli.help_text import EXPERT, GroupedOption
from auditor.cli.main import COMMAND_SECTIONS, COMMANDS, cli, command_context, run
from auditor.config import OPTIONS
from auditor.config.value_types import (
    byte_size,
    duration,
    format_short_duration,
    format_short_size,
)
from auditor.version import __version__

Printed = pytest.CaptureFixture[str]


def _all_contexts() -> Iterator[click.Context]:
    pending = [(), *((name,) for name in COMMANDS)]
    while pending:
        context = command_context(names := pending.pop(0))
        yield context
        if names and isinstance(context.command, click.Group):
            names_below = context.command.list_commands(context)
            pending += [(*names, name) for name in names_below]


CONTEXTS = {context.command_path: context for context in _all_contexts()}


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("path", CONTEXTS)
def test_the_help_fits_into_80_columns_and_has_examples(path: str) -> None:
    lines = CONTEXTS[path].get_help().splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("\x1b" in line for line in lines)
    # A group that does nothing by itself has those of its commands.
    only_commands = {
        "auditor history",
        "auditor cache",
        "auditor config",
        "auditor cleanup",
    }
    assert ("Examples:" in lines) is (path not in only_commands)


def test_every_example_is_of_a_command() -> None:
    names = {path.partition(" ")[2] for path in CONTEXTS}
    assert set(EXAMPLES) <= names


EXAMPLE_LINES = [line for examples in EXAMPLES.values() for line, _ in examples]


@pytest.mark.parametrize("line", EXAMPLE_LINES)
def test_every_example_is_a_valid_command_line(line: str) -> None:
    words = shlex.split(line.rpartition(" | ")[2].partition(" > ")[0])
    assert words.pop(0) == "auditor"
    context = click.Context(cli)
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        if command.invoke_without_command and words[0].startswith("-"):
            parser = command.make_parser(context)
            parser.allow_interspersed_args = False
            _, words, _ = parser.parse_args(words)
            continue
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    command.make_context(command.name, words)  # `UsageError` if invalid


def test_expert_options_are_the_last_group() -> None:
    lines = CONTEXTS["auditor audit"].get_help().splitlines()
    headings = [line for line in lines if line.endswith(":") and line[0].isalpha()]
    assert headings[-2:] == [f"{EXPERT}:", "Examples:"]
    assert headings.index("Input:") < headings.index("Network:")
    at = lines.index(f"{EXPERT}:")
    assert any("--connect-timeout" in line for line in lines[at:])
    assert not any("--platform" in line for line in lines[at:])


def test_every_expert_option_exists() -> None:
    audit = CONTEXTS["auditor audit"].command
    flags = {
        option.name
        for option in audit.params
        if isinstance(option, GroupedOption) and option.heading == EXPERT
    }
    assert flags == {option.name for option in OPTIONS if option.is_expert}
    assert len(flags) > 10


def test_every_command_is_in_the_overview(capsys: Printed) -> None:
    assert run(["help"]) == 0
    shown = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in shown
    assert all(f"\n{title}:\n" in shown for title in COMMAND_SECTIONS)


@pytest.mark.parametrize(
    "arguments", [["nightly", "status", "-h"], ["help", "nightly", "status"]]
)
def test_help_can_be_asked_for_in_every_way(
    arguments: list[str], capsys: Printed
) -> None:
    assert run(arguments) == 0
    assert capsys.readouterr().out.startswith("Usage: auditor nightly status ")


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_has_a_short_flag(flag: str, capsys: Printed) -> None:
    assert run([flag]) == 0
    assert capsys.readouterr().out == f"auditor, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["help", "audt"], "Did you mean 'audit'?"),
        (["help", "nope"], "No such command 'nope'."),
        (["help", "ls", "tags"], "'tags': this command has no commands"),
    ],
)
def test_help_of_an_unknown_command_is_an_error(
    arguments: list[str], problem: str, capsys: Printed
) -> None:
    assert run(arguments) == 2
    assert problem in capsys.readouterr().err


def test_a_group_shows_the_whole_summaries_of_its_commands() -> None:
    shown = " ".join(CONTEXTS["auditor cache"].get_help().split())
    assert "until the cache fits its maximum size. verify Check" in shown
    assert "..." not in shown.partition("Commands:")[2]


def test_headings_are_bold_on_a_terminal_with_colours(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1mExamples:\x1b[0m" in CONTEXTS["auditor ls"].get_help()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(604_800.0, "7d"), (43_200.0, "12h"), (120.0, "2m"), (90.0, "90s"), (1.5, "1.5")],
)
def test_a_duration_is_shown_as_it_can_be_given(seconds: float, text: str) -> None:
    assert format_short_duration(seconds) == text
    assert duration(0, 1e9).read(text, as_text=True) == seconds


@pytest.mark.parametrize(
    ("size", "text"), [(1024**3, "1G"), (4 * 1024**2, "4M"), (1000, "1000"), (0, "0")]
)
def test_a_size_is_shown_as_it_can_be_given(size: int, text: str) -> None:
    assert format_short_size(size) == text
    assert byte_size(0, 1024**5).read(text, as_text=True) == size
