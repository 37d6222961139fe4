"""What a doctor says, for people and for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import click

from auditor.diagnose.doctor import works
from auditor.diagnose.doctor_step import Case, Step, StepState
from auditor.util.clock import rfc3339
from auditor.util.text import safe_text

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
