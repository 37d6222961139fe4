"""`auditor doctor`"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.click_options import settings_from, settings_options
from auditor.cli.output import print_line
from auditor.config import OptionGroup, Settings
from auditor.diagnose.doctor import works
from auditor.diagnose.doctor_step import Case, Step, StepState
from auditor.errors import ExitCode, ProtocolError, UsageError
from auditor.util.clock import rfc3339
from auditor.util.text import safe_text

if TYPE_CHECKING:
    from auditor.oci.reference import Reference


@click.command("doctor")
@click.argument("target", metavar="HOST|[HOST/]REPOSITORY[:TAG]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options(OptionGroup.CREDENTIALS, OptionGroup.NETWORK)
def command(*, target: str, as_json: bool, **flags: Any) -> int:
    """Tell step by step what works at a registry, and what to try where it does not.

    The name, TCP, TLS and its certificate, the ping, how the registry wants to be
    asked, where the credential stands, token and grant, manifest, lists, and what is
    left of an allowance: the way of an audit, each step once and with the time it took.
    A host alone is examined as far as that goes without a repository. Exits with 0 if
    an audit would work and with 1 if not.
    """
    settings = settings_from(flags)
    registry, reference, tag_named = _meant(target)
    from auditor.cli.run_async import run_async

    return run_async(_doctor, settings, registry, reference, tag_named, as_json)


def _meant(text: str) -> tuple[str, Reference | None, bool]:
    from auditor.diagnose.ls import host_alone
    from auditor.oci.reference import parse_reference

    try:
        if (registry := host_alone(text)) is not None:
            return registry, None, False
        reference = parse_reference(text)
    except ProtocolError as error:
        raise UsageError(error.detail) from None
    tag_named = reference.digest is not None or text.endswith(f":{reference.tag}")
    return reference.registry, reference, tag_named


async def _doctor(
    settings: Settings,
    name: str,
    reference: Reference | None,
    tag_named: bool,
    as_json: bool,
) -> int:
    from auditor.diagnose.doctor import examine, opened, works
    from auditor.util.clock import SystemClock

    colours = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if colours else None
    colours = colours and not os.environ.get("NO_COLOR")
    steps: list[Step] = []
    is_read = True
    async with opened(
        settings, name, reference, tag_named=tag_named, clock=SystemClock()
    ) as case:
        async for step in examine(case):
            steps.append(step)
            if as_json:
                continue
            for line in step_lines(step, width=width, colours=colours):
                is_read = is_read and print_line(line)
    if as_json:
        import orjson

        print_line(orjson.dumps(to_json(steps, case)).decode())
    elif is_read:
        print_line("")
        print_line(verdict(steps, case))
    return ExitCode.OK if works(steps) else ExitCode.FAILED


# -- doctor_words --
# What a doctor says, for people and for programs.

_COLOURS = {
    StepState.OK: "green",
    StepState.WARNING: "yellow",
    StepState.FAILED: "red",
    StepState.SKIPPED: "bright_black",
}
# State, name and time: what stands before the words, and before what is wrapped.
_INDENT = 32
# Narrower than this, a line is not broken at all.
_LEAST_CHARS = 60


def step_lines(step: Step, *, width: int | None, colours: bool) -> Iterator[str]:
    """A step as lines; `width` is where they are broken, null: nowhere."""
    ms = "" if step.ms is None else f"{step.ms:.0f} ms"
    state = f"{step.state:<8}"
    if colours:
        state = click.style(state, fg=_COLOURS[step.state])
    begin = f"{state}  {step.name:<10}  {ms:>8}  "
    for line in _broken(safe_text(step.says, 2000), width):
        yield begin + line
        begin = " " * _INDENT
    if step.next is not None:
        for line in _broken(f"next: {safe_text(step.next, 2000)}", width):
            yield " " * _INDENT + line


def _broken(text: str, width: int | None) -> list[str]:
    if width is None or width < _LEAST_CHARS:
        return [text]
    return textwrap.wrap(
        text, width - _INDENT, break_long_words=False, break_on_hyphens=False
    )


def verdict(steps: list[Step], case: Case) -> str:
    """One sentence on what all of it comes to."""
    failed = [step for step in steps if step.state is StepState.FAILED]
    warnings = sum(step.state is StepState.WARNING for step in steps)
    more = f" ({warnings} warning{'' if warnings == 1 else 's'})" if warnings else ""
    if failed:
        return f"an audit would not work: it fails at {failed[0].name}"
    if case.reference is None:
        return (
            f"so far it works{more}; auditor doctor {case.name}/REPOSITORY goes on with"
            " token, grant and manifest"
        )
    return f"an audit would work{more}"


def to_json(steps: list[Step], case: Case) -> dict[str, Any]:
    """Everything, with stable keys; what is not known is null."""
    reference = case.reference
    return {
        "schema": 1,
        "registry": case.name,
        "repository": None if reference is None else reference.repository,
        "reference": None
        if reference is None or not case.tag_named
        else str(reference),
        "works": works(steps),
        "checked_at": rfc3339(case.clock.epoch()),
        "verdict": verdict(steps, case),
        "steps": [
            {
                "step": step.name.value,
                "state": step.state.value,
                "says": safe_text(step.says, 2000),
                "ms": step.ms,
                "next": None if step.next is None else safe_text(step.next, 2000),
                "facts": dict(step.facts),
            }
            for step in steps
        ],
    }
