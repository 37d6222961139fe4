"""`auditor explain`: what a code means, and what to do about it."""

from __future__ import annotations

import difflib
import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from auditor.cli.explanations import (
    EXIT_CODES,
    FAILURES,
    REASONS,
    STATUSES,
    WARNINGS,
    WHO,
)
from auditor.cli.help_text import help_command
from auditor.cli.output import print_lines
from auditor.errors import ExitCode, UsageError
from auditor.util.text import safe_text

if TYPE_CHECKING:
    from auditor.cli.explanations import Explanation

_MAX_WIDTH = 100
_RULE_STEPS = (
    "auditor check REPORT --policy FILE shows what breaks it",
    "a waiver with a reason and a date exempts images: [[waivers]] in the policy",
)


def explanations() -> dict[str, dict[str, Explanation]]:
    """The explanations of every code, by the title of its group."""
    from auditor.analysis.check.rules import RULES
    from auditor.cli.explanations import Explanation

    rules = {}
    for name, rule in RULES.items():
        hint = (f"if it is unknown: {rule.hint}",) if rule.hint else ()
        rules[name] = Explanation(rule.summary.rstrip("."), (*hint, *_RULE_STEPS))
    return {
        "failure": {str(kind): one for kind, one in FAILURES.items()},
        "warning": {str(code): one for code, one in WARNINGS.items()},
        "reason": {str(reason): one for reason, one in REASONS.items()},
        "rule": rules,
        "exit code": {str(int(code)): one for code, one in EXIT_CODES.items()},
    }


def _complete(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [
        CompletionItem(code, help=one.meaning)
        for codes in explanations().values()
        for code, one in codes.items()
        if code.startswith(incomplete)
    ]


@help_command("explain")
@click.argument("codes", nargs=-1, metavar="[CODE]...", shell_complete=_complete)
def command(*, codes: tuple[str, ...]) -> int:
    """Explain failures, warnings, rules and exit codes, and what to do about them.

    CODE is a failure or warning of a report, a reason of a failed connection, a rule of
    a policy, an exit code, or an HTTP status. Without a CODE, all are listed.
    """
    groups = explanations()
    print_lines(_explained(codes, groups) if codes else _overview(groups))
    return ExitCode.OK


def _explained(
    codes: tuple[str, ...], groups: dict[str, dict[str, Explanation]]
) -> list[str]:
    found = [_find(code, groups) for code in codes]
    lines: list[str] = []
    for group, code in found:
        explanation = groups[group][code]
        who = f"; to be fixed by: {_who(code)}" if group == "failure" else ""
        lines += [""] * bool(lines)
        lines += [f"{code} ({group}{who})", *_wrapped(explanation.meaning, "  "), ""]
        if len(explanation.steps) == 1:
            lines += _wrapped(f"What to do: {explanation.steps[0]}", "  ")
            continue
        lines.append("  What to do:")
        for step in explanation.steps:
            lines += _wrapped(step, "  - ")
    return lines


def _who(code: str) -> str:
    blame = next(kind.blame for kind in FAILURES if kind == code)
    return WHO[blame].replace("no action", "nobody")


def _find(text: str, groups: dict[str, dict[str, Explanation]]) -> tuple[str, str]:
    code = text.strip().lower().replace("-", "_").replace(" ", "_")
    code = STATUSES.get(code, code.rpartition(".")[2])  # production.max_age
    for group, codes in groups.items():
        if code in codes:
            return group, code
    every = [name for codes in groups.values() for name in codes]
    near = difflib.get_close_matches(code, every, 1) or [
        name for name in every if len(code) > 2 and code in name
    ]
    shown = safe_text(text)
    raise UsageError(
        f"there is no code {shown}; did you mean {near[0]}?"
        if near
        else f"there is no code {shown}; auditor explain lists all"
    )


def _overview(groups: dict[str, dict[str, Explanation]]) -> Iterator[str]:
    for group, codes in groups.items():
        yield f"{group.capitalize()}s"
        width = max(map(len, codes)) + 2
        for code, explanation in codes.items():
            yield from _wrapped(explanation.meaning, f"  {code:<{width}}")
        yield ""
    yield "auditor explain CODE says what to do."


def _wrapped(text: str, indent: str) -> list[str]:
    """Lines as wide as the terminal; the first one begins with `indent`."""
    return textwrap.wrap(
        text.replace("`", ""),
        min(shutil.get_terminal_size().columns, _MAX_WIDTH),
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
