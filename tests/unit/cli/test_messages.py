"""Messages on standard error: wrapped and in colour on a terminal only."""

from __future__ import annotations

import contextlib
import io
import sys

import pytest

from auditor.cli import main, output
from auditor.cli.output import print_message, print_summary
from auditor.config import Settings
from auditor.errors import Failure, FailureKind, FailureReason
from auditor.util.terminal import ERASE_LINE, SHOW_CURSOR

LONG = "  requests: " + ", ".join(f"{number} manifests" for number in range(9))


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _terminal(monkeypatch: pytest.MonkeyPatch) -> _Terminal:
    """Make standard error a terminal; in the test, as pytest replaces it before."""
    stream = _Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.set_message_format(output.plain_message)
    return stream


def test_a_long_message_is_wrapped_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = _terminal(monkeypatch)
    print_message(LONG)
    first, *others = terminal.getvalue().splitlines()
    assert first.startswith("auditor:   requests: 0 manifests")
    assert others
    assert all(line.startswith(" " * 13) and len(line) <= 60 for line in others)


def test_a_message_is_one_line_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    output.set_message_format(output.plain_message)
    print_message(LONG, "red")
    assert capsys.readouterr().err == f"auditor: {LONG}\n"


def test_a_json_message_is_never_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _terminal(monkeypatch)
    output.set_message_format(lambda sentence: f'{{"message":"{sentence}"}}')
    try:
        print_message(LONG, "red")
    finally:
        output.set_message_format(output.plain_message)
    assert terminal.getvalue() == f'{{"message":"{LONG}"}}\n'


@pytest.mark.parametrize(("failed", "code"), [(True, "31"), (False, "32")])
def test_the_first_line_of_a_summary_has_a_colour(
    failed: bool, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = _terminal(monkeypatch)
    print_summary(Settings(), ["2 of 3 audited", "  requests: none"], failed=failed)
    assert terminal.getvalue() == (
        f"\x1b[{code}mauditor: 2 of 3 audited\x1b[0m\nauditor:   requests: none\n"
    )


def test_an_error_has_a_red_prefix_and_a_readable_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = _terminal(monkeypatch)
    assert main.run(["audit", "-c", "gone.toml"]) == 2
    assert terminal.getvalue().startswith("\x1b[31mauditor: \x1b[0mgone.toml: ")


def test_a_usage_error_keeps_to_the_width_and_has_a_colour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = _terminal(monkeypatch)
    # The message names the whole argument: longer than the terminal.
    assert main.run(["adit " + "and so on " * 9]) == 2
    lines = terminal.getvalue().splitlines()
    at = next(number for number, line in enumerate(lines) if "Error:" in line)
    assert lines[at].startswith("\x1b[31mError:\x1b[0m No such command")
    assert len(lines) > at + 1
    assert all(len(line) <= 60 for line in lines[at + 1 :])


def test_a_failure_leads_to_the_explanation_of_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.set_message_format(output.plain_message)
    failure = Failure(
        kind=FailureKind.TLS, detail="no trust", reason=FailureReason.UNTRUSTED_CA
    )
    output.print_failure("r.example.com/app:1", failure)
    assert capsys.readouterr().err.splitlines() == [
        "auditor: r.example.com/app:1: tls: no trust",
        "auditor: what to do: auditor explain untrusted_ca",
    ]


def test_a_quiet_run_has_no_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _terminal(monkeypatch)
    print_summary(Settings(quiet=True), ["2 of 3 audited"], failed=True)
    assert terminal.getvalue() == ""


def test_a_message_erases_the_line_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _terminal(monkeypatch)
    with output.messages_over_progress():
        print_message("interrupted")
    print_message("done")
    assert terminal.getvalue() == (f"{ERASE_LINE}auditor: interrupted\nauditor: done\n")


@pytest.mark.parametrize("has_progress", [False, True])
def test_a_program_that_quits_leaves_no_progress_and_a_visible_cursor(
    monkeypatch: pytest.MonkeyPatch, *, has_progress: bool
) -> None:
    terminal = _terminal(monkeypatch)
    monkeypatch.setattr("os._exit", sys.exit)
    progress = output.messages_over_progress if has_progress else contextlib.nullcontext
    with pytest.raises(SystemExit) as caught, progress():
        output.quit_now(130)
    assert caught.value.code == 130
    shown = f"{ERASE_LINE}{SHOW_CURSOR}" if has_progress else ""
    assert terminal.getvalue() == shown
