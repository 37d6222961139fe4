"""Aligned text: a table for each violated rule, and one of what is waived."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.analysis.check.findings import Findings
from auditor.analysis.check.policy import Severity
from auditor.analysis.text_tables import (
    TableColumn,
    TitledTable,
    code_columns,
    text_lines,
)
from auditor.util.text import format_count, pluralize

_VIOLATION_COLUMNS = (*code_columns("reference"), TableColumn(title="violation"))
_WAIVER_COLUMNS = (
    *code_columns("reference", "rule"),
    TableColumn(title="until"),
    TableColumn(title="reason"),
)


def render_table(findings: Findings, limit: int) -> Iterator[str]:
    """A summary, notices, and tables of at most `limit` rows each; 0 for all."""
    yield f"{summary_line(findings)}\n"
    yield from (f"note: {notice}\n" for notice in findings.notices())
    tables = violation_tables(findings, limit)
    yield from (f"{line}\n" for line in text_lines(tables))


def summary_line(findings: Findings) -> str:
    """Whether the check passed, and its counts."""
    errors, warnings = map(findings.total, (Severity.ERROR, Severity.WARNING))
    return (
        f"{'passed' if findings.passed else 'failed'}:"
        f" {findings.lines:,} {pluralize(findings.lines, 'reference')},"
        f" {format_count(len(findings.policy.rules), 'rule')},"
        f" {errors:,} {pluralize(errors, 'error')},"
        f" {warnings:,} {pluralize(warnings, 'warning')}, {findings.waived:,} waived"
    )


def violation_tables(findings: Findings, limit: int) -> Iterator[TitledTable]:
    """A table for each rule with violations, and one of waived violations."""
    for count in findings.counts:
        if count.violations:
            rule = count.rule
            rows = findings.violations(rule=rule, waived=False, limit=limit)
            yield TitledTable(
                title=f"{rule.section.severity} {rule.id}",
                columns=_VIOLATION_COLUMNS,
                rows=tuple((row.reference, row.detail) for row in rows),
                total=count.violations,
                note=rule.definition.summary,
            )
    if findings.waived:
        yield TitledTable(
            title="waived",
            columns=_WAIVER_COLUMNS,
            rows=tuple(
                (row.reference, row.rule.id, str(waiver.expires), waiver.reason)
                for row in findings.violations(waived=True, limit=limit)
                if (waiver := row.waiver) is not None
            ),
            total=findings.waived,
        )
