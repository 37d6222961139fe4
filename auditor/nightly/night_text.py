"""The texts of a night: ten lines for cron's mail, Markdown for others, `status`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from auditor.analysis.check.findings import Findings
from auditor.analysis.check.formats import output_formats
from auditor.analysis.diff import Change, Comparison, Difference
from auditor.analysis.diff_text import diff_lines
from auditor.analysis.text_tables import (
    TitledTable,
    code_column,
    number_column,
    text_column,
    text_lines,
)
from auditor.errors import ExitCode
from auditor.nightly.night_folder import Night
from auditor.report.sbom_file import SbomCounts
from auditor.util.terminal import PIPE, Screen
from auditor.util.text import format_count, format_duration, safe_text

# Lines that a person reads in a mail at breakfast.
MAX_LINES = 10
# Examples of failures in these lines.
_MAX_FAILURES = 3
_REFERENCE_CHARS = 300
# A row of a table in the Markdown text; a line of cron's mail is cut earlier.
_LINE_CHARS = 10_000
# Rows of each table in the Markdown text.
_TABLE_ROWS = 20

# Changes that may need an action, the worst first.
_CHANGES_SHOWN = (Change.FAILING, Change.REMOVED, Change.MOVED, Change.ALTERED)

Json = Mapping[str, Any]


def headline(night: Night) -> str:
    """One line: what a person has to know."""
    if _has_error(night):
        return (
            f"the night {night.name} ended with exit code {night.exit_code}:"
            f" {night.remark}"
        )
    if not night.complete:
        return f"the night {night.name} is incomplete: {night.remark}"
    parts = [
        f"{night.failed:,} of {format_count(night.references, 'reference')} failed"
    ]
    if not has_all_sboms(night):
        parts.append(_missing_sboms(night))
    if night.changes:
        parts.append(format_changes(night.changes))
    if night.violations and (count := sum(night.violations.values())):
        parts.append(format_count(count, "policy violation"))
    return f"night {night.name}: {'; '.join(parts)}"


def has_all_sboms(night: Night) -> bool:
    """Whether the SBOM file is written with every SBOM, or there is to be none."""
    return night.sboms is None or SbomCounts(**night.sboms).is_complete


def _missing_sboms(night: Night) -> str:
    assert night.sboms is not None
    if not night.sboms["written"]:
        return "the SBOM file was not written"
    return f"{format_count(night.sboms['failed'], 'SBOM')} could not be fetched"


def _has_error(night: Night) -> bool:
    """Whether an error ended the night, not only a step after its audit."""
    return not night.complete and (night.exit_code or 0) >= ExitCode.USAGE


def format_changes(changes: Mapping[str, int]) -> str:
    """`3 moved, 1 removed`; `no changes` without any."""
    shown = [f"{n:,} {change.replace('_', ' ')}" for change, n in changes.items() if n]
    return ", ".join(shown) or "no changes"


def action_lines(
    night: Night,
    *,
    failures: Json,
    changes: Sequence[str],
    violations: Sequence[str],
    warnings: Sequence[str],
    page: str | None,
    report: str,
) -> list[str]:
    """At most `MAX_LINES` lines to act on.

    `failures` are those of the audit's summary; `changes` and `violations` have one
    sentence for each example, `warnings` are about the steps after the audit.
    """
    footer = [f"page: {page}" if page else f"report: {report}"]
    if failures:
        kinds = " ".join(list(failures)[:_MAX_FAILURES])
        footer.insert(0, f"what to do: auditor explain {kinds}")
    lines = [headline(night), *warnings]
    groups = [list(_failure_lines(failures)), list(violations), list(changes)]
    room = MAX_LINES - len(lines) - len(footer)
    while room > 0 and any(groups):
        for group in groups:
            if group and room > 0:
                lines.append(group.pop(0))
                room -= 1
    return [*map(_safe_line, lines[: MAX_LINES - len(footer)]), *footer]


def _failure_lines(failures: Json) -> Iterator[str]:
    for kind, failure in list(failures.items())[:_MAX_FAILURES]:
        example = failure["example"]
        reference = safe_text(example["reference"], _REFERENCE_CHARS)
        detail = safe_text(example["detail"])
        yield f"{failure['count']:,} {kind}: {reference}: {detail}"


def change_lines(comparison: Comparison | None) -> list[str]:
    """A sentence for each of the first changes to act on."""
    if comparison is None:
        return []
    return [
        _change_line(difference)
        for change in _CHANGES_SHOWN
        for difference in comparison.differences(change, limit=MAX_LINES)
    ][:MAX_LINES]


def _change_line(difference: Difference) -> str:
    change = difference.change.value.replace("_", " ")
    line = f"{change}: {safe_text(difference.reference, 300)}"
    if difference.architectures_lost:
        lost = ", ".join(difference.architectures_lost)
        line += f", lost {safe_text(lost)}"
    return line


def violation_lines(findings: Findings | None) -> list[str]:
    """A sentence for each of the first violations."""
    if findings is None:
        return []
    violations = (
        one
        for one in findings.violations(waived=False)
        # These lines are in the failures already.
        if one.rule.definition.name != "forbid_failures"
    )
    return [
        f"{one.rule.id}: {one.safe_reference}: {one.detail}"
        for one in islice(violations, MAX_LINES)
    ]


def diff_text(comparison: Comparison | None) -> list[str]:
    """The changes as Markdown, as `auditor diff` writes them."""
    if comparison is None:
        return []
    return list(diff_lines(comparison, "markdown", _TABLE_ROWS))


def findings_text(findings: Findings | None) -> list[str]:
    """The violations as Markdown, as `auditor check` writes them."""
    if findings is None:
        return []
    pieces = output_formats(_TABLE_ROWS)["markdown"](findings)
    return "".join(pieces).splitlines()


def markdown_text(
    night: Night, *, failures: Json, changes: Iterable[str], findings: Sequence[str]
) -> str:
    """The night as Markdown; `changes` and `findings` are lines of their commands."""
    lines = [
        f"# Night {night.name}",
        "",
        f"{headline(night)}.",
        "",
        f"- {night.audited:,} of {format_count(night.references, 'reference')} audited"
        f" in {format_duration(night.duration_s)}",
    ]
    lines += [f"- failed: `{line}`" for line in _failure_lines(failures)]
    if night.sboms is not None:
        lines.append(f"- SBOMs: {SbomCounts(**night.sboms).text()}")
    if night.compared_with:
        lines += ["", f"## Changes since {night.compared_with}", "", *changes]
    if findings:
        lines += ["", "## Policy", "", *findings]
    return "\n".join(map(_safe_line, lines)) + "\n"


def failure_text(night: Night) -> str:
    """A night that ended with an error, as Markdown."""
    lines = [
        f"# Night {night.name}",
        "",
        f"{headline(night)}.",
        "",
        "The latest report and page are those of the last complete night.",
    ]
    return "\n".join(map(_safe_line, lines)) + "\n"


def _safe_line(line: str) -> str:
    """The line without characters that act on a terminal or turn its direction."""
    return safe_text(line, _LINE_CHARS)


def status_lines(
    nights: Sequence[Night], folder: str, screen: Screen = PIPE
) -> Iterator[str]:
    """The table of `auditor nightly status`, laid out for the screen."""
    if not nights:
        yield f"no night in {safe_text(folder)} yet"
        return
    yield from text_lines(
        [
            TitledTable(
                title=f"nights in {safe_text(folder)}",
                columns=_STATUS_COLUMNS,
                rows=nights,
                total=len(nights),
            )
        ],
        screen,
    )


def _changes_cell(night: Night) -> str | None:
    return None if night.changes is None else format_changes(night.changes)


def _violations_cell(night: Night) -> int | None:
    return None if night.violations is None else sum(night.violations.values())


def _state_cell(night: Night) -> str:
    if night.complete:
        return "complete"
    if _has_error(night):
        return f"exit code {night.exit_code}: {night.remark}"
    return f"incomplete: {night.remark}" if night.remark else "unfinished"


_STATUS_COLUMNS = (
    code_column("night", "name"),
    text_column("started", "started_at"),
    text_column("took", "duration_s", form=format_duration),
    number_column("references"),
    number_column("failed"),
    text_column("changes", _changes_cell),
    number_column("violations", _violations_cell),
    text_column("state", _state_cell),
    text_column("report"),
)
