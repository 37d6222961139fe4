"""What the page says first: the worst finding, and the others below it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from auditor.analysis.diff import Change
from auditor.fast_dataclass import dataclass

# Worst first.
_TONES = ("bad", "warn", "accent", "good")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A sentence, its colour, and the id of the section that explains it."""

    text: str
    tone: str
    section: str


def find_worst(
    totals: Any, changes: SimpleNamespace | None, violations: SimpleNamespace | None
) -> SimpleNamespace:
    """The title of the page with its colour, and all findings, worst first.

    `totals` are those of the report; `changes` and `violations` are None without an
    earlier report and a policy.
    """
    findings = _findings(totals, changes, violations)
    findings.sort(key=lambda finding: _TONES.index(finding.tone))
    if findings and findings[0].tone in {"bad", "warn"}:
        title, tone = findings[0].text, findings[0].tone
        findings = findings[1:]
    elif not totals.lines:
        title, tone = "The report is empty", "warn"
    else:
        title = f"All {_many(totals.lines, 'reference')} audited"
        if totals.lines == 1:
            title = "1 reference audited"
        tone = "good"
    return SimpleNamespace(title=title, tone=tone, findings=findings)


def _findings(
    totals: Any, changes: SimpleNamespace | None, violations: SimpleNamespace | None
) -> list[Finding]:
    found: list[Finding] = []

    def add(number: int, text: str, tone: str, section: str) -> None:
        if number:
            found.append(Finding(text=text, tone=tone, section=section))

    add(
        totals.failures,
        f"{totals.failures:,} of {_many(totals.lines, 'reference')} could not be"
        " audited",
        "bad",
        "failures",
    )
    if violations is not None:
        errors, warnings = violations.errors, violations.warnings
        add(errors, f"{_many(errors, 'violation')} of the policy", "bad", "policy")
        add(warnings, f"{_many(warnings, 'policy warning')}", "warn", "policy")
        add(
            not errors + warnings and totals.lines > 0,
            "The policy check passed", "good", "policy",
        )  # fmt: skip
    if changes is not None:
        counts = changes.totals.changes
        lost = counts[Change.REMOVED]
        add(lost, f"{_many(lost, 'image')} removed", "warn", "changes")
        unlisted = counts[Change.UNLISTED] + counts[Change.UNREACHED]
        add(
            unlisted,
            f"{_many(unlisted, 'reference')} not listed or not reached this time",
            "warn",
            "changes",
        )
        moved = counts[Change.MOVED]
        add(
            moved, f"{_many(moved, 'tag')} moved to another digest", "accent", "changes"
        )
        since = (changes.totals.old.audited_to or "the earlier report")[:10]
        different = changes.totals.differences
        others = different - lost - unlisted - moved - counts[Change.FAILING]
        add(
            others,
            f"{_many(others, 'other change')} since {since}",
            "accent",
            "changes",
        )
        add(not different, f"Nothing changed since {since}", "good", "changes")
    add(
        totals.warned,
        f"{_many(totals.warned, 'reference')} with warnings of the audit",
        "warn",
        "warnings",
    )
    return found


def _many(number: int, word: str) -> str:
    return f"{number:,} {word if number == 1 else word + 's'}"
