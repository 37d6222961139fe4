"""`auditor doctor`"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.command_support import (
    invalid_argument,
    json_option,
    run_async,
    settings_from,
    settings_options,
)
from auditor.cli.help_text import complete_references, help_command
from auditor.cli.output import json_text, print_line
from auditor.config import OptionGroup, Settings
from auditor.errors import ExitCode

if TYPE_CHECKING:
    from auditor.diagnose.doctor_step import DoctorStep
    from auditor.oci.reference import Reference

# Colours by the value of `StepState`.
_COLOURS = {
    "ok": "green",
    "warning": "yellow",
    "failed": "red",
    "skipped": "bright_black",
}
# Columns of state, name and time, before the message.
_INDENT = 32
# A narrower terminal breaks the lines itself.
_MIN_WIDTH = 60


@help_command("doctor")
@click.argument(
    "target", metavar="HOST|[HOST/]REPOSITORY[:TAG]", shell_complete=complete_references
)
@json_option
@settings_options(OptionGroup.CREDENTIALS, OptionGroup.NETWORK)
def command(*, target: str, as_json: bool, **flags: Any) -> int:
    """Check a registry step by step, with advice for each problem.

    The steps are those of an audit: DNS, TCP, TLS and its certificate, ping, challenge,
    login, token and grant, manifest, listings, and the remaining rate limit. Each is
    shown with its duration. With a host alone, the steps end before those that need a
    repository. Exits with 0 if an audit would work, and with 1 if not.
    """
    settings = settings_from(flags)
    registry, reference, has_tag = _parse_target(target)
    return run_async(_doctor, settings, registry, reference, has_tag, as_json)


def _parse_target(text: str) -> tuple[str, Reference | None, bool]:
    """The registry, the reference if there is one, and whether it names an image."""
    from auditor.diagnose.ls import host_alone
    from auditor.oci.reference import parse_reference

    with invalid_argument():
        if (registry := host_alone(text)) is not None:
            return registry, None, False
        reference = parse_reference(text)
    has_tag = reference.digest is not None or text.endswith(f":{reference.tag}")
    return reference.registry, reference, has_tag


async def _doctor(
    settings: Settings,
    name: str,
    reference: Reference | None,
    has_tag: bool,
    as_json: bool,
) -> int:
    from auditor.diagnose.doctor import open_session, run_steps, summarize
    from auditor.util.clock import SystemClock
    from auditor.util.terminal import screen_of, styled, wrapped

    screen = screen_of(sys.stdout)
    steps: list[DoctorStep] = []
    left_out = 0
    is_read = True
    async with open_session(
        settings, name, reference, has_tag=has_tag, clock=SystemClock()
    ) as session:
        async for step in run_steps(session):
            steps.append(step)
            if as_json:
                continue
            if session.stopped is not None and step.message == session.stopped:
                left_out += 1
                continue
            for line in step_lines(step, width=screen.width, colours=screen.colours):
                is_read = is_read and print_line(line)
        report = summarize(session, steps)
    if as_json:
        print_line(json_text(report))
    elif is_read:
        if left_out:
            print_line(f"skipped   {left_out} steps: {session.stopped}")
        colour = "green" if report.works else "red"
        verdict = "\n".join(wrapped(report.verdict, screen))
        print_line("\n" + styled(verdict, colour, screen))
    return ExitCode.OK if report.works else ExitCode.FAILED


def step_lines(step: DoctorStep, *, width: int | None, colours: bool) -> Iterator[str]:
    """A step as lines of at most `width` characters; None means any length."""
    ms = "" if step.ms is None else f"{step.ms:.0f} ms"
    state = f"{step.state:<8}"
    if colours:
        state = click.style(state, fg=_COLOURS[step.state])
    prefix = f"{state}  {step.name:<10}  {ms:>8}  "
    for line in _wrapped(step.message, width):
        yield prefix + line
        prefix = " " * _INDENT
    if step.next is not None:
        for line in _wrapped(f"next: {step.next}", width):
            yield " " * _INDENT + line


def _wrapped(text: str, width: int | None) -> list[str]:
    from auditor.util.terminal import with_short_digests

    if width is None or width < _MIN_WIDTH:
        return [text]
    text = with_short_digests(text)
    return textwrap.wrap(
        text, width - _INDENT, break_long_words=False, break_on_hyphens=False
    )
