"""Sections that need more than the report: changes, policy, and end of life.

Changes need an earlier report (`--previous`), end of life the dates of the policy or of
the report.
"""

# ruff: noqa: S608  (the SQL is made of constants of this file)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from types import SimpleNamespace

from auditor.analysis.check.evaluate import check_reports
from auditor.analysis.check.policy import Severity
from auditor.analysis.check.policy_file import load_policy
from auditor.analysis.diff import (
    Change,
    Difference,
    DiffTotals,
    ReferenceState,
    compare,
)
from auditor.analysis.end_of_life import create_end_of_life
from auditor.analysis.html.report_lines import ReportLines, ShownRows, read_source
from auditor.util.terminal import short_digest
from auditor.util.text import format_size

# Rows of each kind of change; together they are a few screens that can be searched.
MAX_CHANGES_OF_A_KIND = 250
# Violations listed one by one; rules are counted over all of them.
MAX_VIOLATIONS = 1000

# -- changes --

# Label, explanation and colour of each kind of change.
_CHANGES = {
    Change.FAILING: (
        "failing now", "an image or not in the earlier report, a failure now", "bad",
    ),
    Change.UNREACHED: (
        "not reached", "unknown: the run was interrupted before this reference", "warn",
    ),
    Change.REMOVED: ("removed", "an image before, not in this report", "bad"),
    Change.UNLISTED: ("not listed", "unknown: the list of tags failed", "warn"),
    Change.MOVED: ("moved", "the same tag has another digest", "accent"),
    Change.ALTERED: (
        "altered", "the same digest, but other architectures or attachments", "warn",
    ),
    Change.ADDED: ("added", "an image that was not in the earlier report", "good"),
    Change.RELISTED: (
        "listed again", "the earlier report could not list it, or did not reach it",
        "good",
    ),
    Change.HEALED: ("healed", "a failure before, an image now", "good"),
    Change.DROPPED: ("dropped", "a failure before, not in this report", "plain"),
    Change.STILL_FAILING: ("still failing", "a failure in both reports", "plain"),
    Change.UNCHANGED: ("unchanged", "the same digest in both reports", "plain"),
}  # fmt: skip


def read_changes(old: Sequence[str], new: Sequence[str]) -> SimpleNamespace:
    """What changed between two reports, each given as files or globs.

    `counts` has the number of references by change, `same` that of unchanged ones.
    """
    source = read_source(old)
    with compare(old, new) as comparison:
        totals = comparison.totals
        counted = [change for change in Change if totals.changes[change]]
        return SimpleNamespace(
            source=source,
            totals=totals,
            counts=[_count(one, totals) for one in counted if one.is_difference],
            same=[_count(one, totals) for one in counted if not one.is_difference],
            rows=[
                _change_row(difference)
                for change in counted
                if change.is_difference
                for difference in comparison.differences(
                    change, limit=MAX_CHANGES_OF_A_KIND
                )
            ],
        )


def _count(change: Change, totals: DiffTotals) -> SimpleNamespace:
    label, meaning, tone = _CHANGES[change]
    return SimpleNamespace(
        name=change.value,
        label=label,
        meaning=meaning,
        tone=tone,
        count=totals.changes[change],
        shown=min(totals.changes[change], MAX_CHANGES_OF_A_KIND),
    )


def _change_row(difference: Difference) -> SimpleNamespace:
    """A reference that changed. `growth` is in bytes, None where unknown.

    `gains` are architectures and attachments, with a plus if gained, a minus if lost.
    """
    old, new = difference.old, difference.new
    growth = None
    if old and new and old.size is not None and new.size is not None:
        growth = new.size - old.size
    gained = (*difference.architectures_gained, *difference.attachments_gained)
    lost = (*difference.architectures_lost, *difference.attachments_lost)
    label, _, tone = _CHANGES[difference.change]
    return SimpleNamespace(
        reference=difference.reference,
        change=difference.change,
        label=label,
        tone=tone,
        detail=_change_detail(difference),
        growth=growth,
        gains=[*(f"+{name}" for name in gained), *(f"\u2212{name}" for name in lost)],
    )


def _change_detail(difference: Difference) -> str:
    old, new = difference.old, difference.new
    if difference.change is Change.FAILING and new is not None:
        return f"{_state_text(new)}: {new.detail}"
    if old is None or difference.change is Change.ALTERED:
        return _state_text(new)
    if new is None:
        return f"was {_state_text(old)}"
    return f"{_state_text(old)} \u2192 {_state_text(new)}"


def _state_text(state: ReferenceState | None) -> str:
    if state is None:
        return "not in the report"
    if state.digest is None or state.failure is not None:
        return (state.failure or "unknown").replace("_", " ")
    digest = short_digest(state.digest)
    return digest if state.size is None else f"{digest} ({format_size(state.size)})"


# -- policy --


def read_policy_findings(
    paths: Sequence[str],
    policy_file: str,
    *,
    today: date,
    earlier: Sequence[str],
    sboms: Sequence[str] | None,
) -> SimpleNamespace:
    """Check a report; raises `ConfigError` and `UsageError` as `auditor check` does.

    `errors` and `warnings` are numbers of violations that are not waived.
    """
    policy = load_policy(policy_file)
    with check_reports(
        paths, policy, today=today, earlier=earlier, sboms=sboms
    ) as findings:
        errors, warnings = map(findings.total, (Severity.ERROR, Severity.WARNING))
        rows = tuple(findings.violations(waived=False, limit=MAX_VIOLATIONS))
        return SimpleNamespace(
            policy=Path(policy_file).name,
            today=today,
            errors=errors,
            warnings=warnings,
            waived=findings.waived,
            rules=sorted(findings.counts, key=lambda count: -count.violations),
            rows=ShownRows(rows=rows, total=errors + warnings),
            notices=findings.notices(),
        )


# -- end of life --

# Time to plan a migration in. Relative to the audit, like ages.
SOON_DAYS = 90
# Images listed one by one; their numbers are of all.
MAX_ENDING = 1000

_COUNTS = f"""
    SELECT count(*) FILTER (days < 0) AS ended,
           count(*) FILTER (days BETWEEN 0 AND {SOON_DAYS}) AS soon,
           count(*) FILTER (days > {SOON_DAYS}) AS later,
           count(*) FILTER (ends IS NULL AND is_known) AS undated,
           count(*) FILTER (NOT is_known) AS unknown
    FROM (SELECT *, date_diff('day', audited_on, ends) AS days FROM end_of_life)"""
_ENDING = f"""
    SELECT reference, strftime(ends, '%Y-%m-%d') AS ends, source,
           date_diff('day', audited_on, ends) AS days, count(*) OVER () AS total
    FROM end_of_life
    WHERE date_diff('day', audited_on, ends) <= {SOON_DAYS}
    ORDER BY end_of_life.ends, reference LIMIT {MAX_ENDING}"""


def read_end_of_life(
    lines: ReportLines, table: Mapping[str, date]
) -> SimpleNamespace | None:
    """Images whose support ends within `SOON_DAYS` of the audit, the first one first.

    `table` is that of the policy. None if neither it nor the report has any date.
    `undated` images have a base without a date, `unknown` ones have no known base.
    """
    create_end_of_life(lines.connection, table, lines="report.lines")
    (counts,) = lines.rows(_COUNTS)
    if not table and not counts.ended + counts.soon + counts.later:
        return None
    counts.rows = lines.shown(_ENDING)
    counts.soon_days = SOON_DAYS
    return counts
