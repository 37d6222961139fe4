"""A table for each broken rule: aligned text, or Markdown for a job's summary."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.analysis.check.findings import Findings, RuleCount
from auditor.analysis.check.policy import Severity
from auditor.analysis.text_tables import (
    TableColumn,
    TitledTable,
    code_columns,
    markdown_lines,
    markdown_text,
    text_lines,
)
from auditor.util.text import format_count, pluralize

_BROKEN = (*code_columns("reference"), TableColumn(title="what is wrong"))
_WAIVED = (
    *code_columns("reference", "rule"),
    TableColumn(title="until"),
    TableColumn(title="reason"),
)


def text(findings: Findings, limit: int) -> Iterator[str]:
    """Plain text: totals, notices, then at most `limit` rows a table; 0 for all."""
    yield f"{_totals(findings)}\n"
    yield from (f"note: {notice}\n" for notice in findings.notices())
    yield from (f"{line}\n" for line in text_lines(tuple(_sections(findings, limit))))


def markdown(findings: Findings, limit: int) -> Iterator[str]:
    """The same in GitHub-flavoured Markdown."""
    yield f"{markdown_text(_totals(findings))}\n\n"
    yield from (f"- {markdown_text(notice)}\n" for notice in findings.notices())
    sections = tuple(_sections(findings, limit))
    yield from (f"{line}\n" for line in markdown_lines(sections))


def _totals(findings: Findings) -> str:
    errors, warnings = map(findings.total, (Severity.ERROR, Severity.WARNING))
    return (
        f"{'passed' if findings.passed else 'failed'}:"
        f" {findings.lines:,} {pluralize(findings.lines, 'reference')},"
        f" {format_count(len(findings.policy.rules), 'rule')},"
        f" {errors:,} {pluralize(errors, 'error')},"
        f" {warnings:,} {pluralize(warnings, 'warning')}, {findings.waived:,} waived"
    )


def _sections(findings: Findings, limit: int) -> Iterator[TitledTable]:
    for count in findings.counts:
        if count.violations:
            yield _broken(findings, count, limit)
    if findings.waived:
        yield _excused(findings, limit)


def _broken(findings: Findings, count: RuleCount, limit: int) -> TitledTable:
    rule = count.rule
    found = findings.violations(rule=rule, waived=False, limit=limit)
    return TitledTable(
        title=f"{rule.section.severity} {rule.id}",
        columns=_BROKEN,
        rows=tuple((violation.reference, violation.detail) for violation in found),
        total=count.violations,
        note=rule.check.summary,
    )


def _excused(findings: Findings, limit: int) -> TitledTable:
    return TitledTable(
        title="waived",
        columns=_WAIVED,
        rows=tuple(
            (one.reference, one.rule.id, str(one.waiver.expires), one.waiver.reason)
            for one in findings.violations(waived=True, limit=limit)
            if one.waiver is not None
        ),
        total=findings.waived,
    )
