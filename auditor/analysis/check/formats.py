"""The output formats of `auditor check`, by name.

Each is a function that yields its output piece by piece from `Findings`, so that all
violations are never in memory at once. To add a format, write such a function, name it
in `output_formats`, and add its name to the option of `auditor check`;
tests/unit/analysis/check/test_formats.py checks that hostile text is printed as plain
text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from functools import partial

import orjson

from auditor.analysis.check import junit, sarif
from auditor.analysis.check.findings import Findings
from auditor.analysis.check.newer_platforms import NewerTag
from auditor.analysis.check.policy import Severity, Waiver
from auditor.analysis.text_tables import (
    TitledTable,
    code_column,
    markdown_lines,
    markdown_text,
    text_column,
    text_lines,
)
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.util.terminal import PIPE, Screen, styled, wrapped
from auditor.util.text import format_count, pluralize, terminal_safe_json

OutputFormat = Callable[[Findings], Iterator[str]]


def output_formats(limit: int, screen: Screen = PIPE) -> dict[str, OutputFormat]:
    """The formats by name; `limit` is the maximum rows per table, 0 for all.

    The table is laid out for the `screen`.
    """
    return {
        "table": partial(_table, limit=limit, screen=screen),
        "markdown": partial(_markdown, limit=limit),
        "jsonl": _json_lines,
        "sarif": sarif.render,
        "junit": junit.render,
        "github": _github,
    }


# -- tables: a summary, notices, and `limit` rows of each violated rule --


def _table(findings: Findings, limit: int, screen: Screen) -> Iterator[str]:
    colour = "green" if findings.passed else "red"
    for line in wrapped(_summary_line(findings), screen):
        yield f"{styled(line, colour, screen)}\n"
    for notice in findings.notices():
        yield from (f"{line}\n" for line in wrapped(f"note: {notice}", screen))
    tables = _violation_tables(findings, limit)
    yield from (f"{line}\n" for line in text_lines(tables, screen))
    broken = [one.rule.definition.name for one in findings.counts if one.violations]
    if broken:
        yield f"\nwhat to do: auditor explain {' '.join(dict.fromkeys(broken))}\n"


def _markdown(findings: Findings, limit: int) -> Iterator[str]:
    yield f"{markdown_text(_summary_line(findings))}\n\n"
    yield from (f"- {markdown_text(notice)}\n" for notice in findings.notices())
    tables = _violation_tables(findings, limit)
    yield from (f"{line}\n" for line in markdown_lines(tables))


def _summary_line(findings: Findings) -> str:
    errors, warnings = map(findings.total, (Severity.ERROR, Severity.WARNING))
    return (
        f"{'passed' if findings.passed else 'failed'}:"
        f" {findings.lines:,} {pluralize(findings.lines, 'reference')},"
        f" {format_count(len(findings.policy.rules), 'rule')},"
        f" {errors:,} {pluralize(errors, 'error')},"
        f" {warnings:,} {pluralize(warnings, 'warning')}, {findings.waived:,} waived"
    )


_VIOLATION_COLUMNS = (code_column("reference"), text_column("violation", "detail"))
_WAIVER_COLUMNS = (
    code_column("reference"),
    code_column("rule", "rule.id"),
    text_column("until", "waiver.expires"),
    text_column("reason", "waiver.reason"),
)


def _violation_tables(findings: Findings, limit: int) -> Iterator[TitledTable]:
    for count in findings.counts:
        if count.violations:
            rule = count.rule
            rows = findings.violations(rule=rule, waived=False, limit=limit)
            yield TitledTable(
                title=f"{rule.section.severity} {rule.id}",
                columns=_VIOLATION_COLUMNS,
                rows=tuple(rows),
                total=count.violations,
                note=rule.definition.summary,
            )
    if findings.waived:
        yield TitledTable(
            title="waived",
            columns=_WAIVER_COLUMNS,
            rows=tuple(findings.violations(waived=True, limit=limit)),
            total=findings.waived,
        )


# -- GitHub --
# "Workflow commands for GitHub Actions": what @actions/core escapes. Line breaks cannot
# occur in the texts (`safe_text`).

_MESSAGE = str.maketrans({"%": "%25"})
_PROPERTY = str.maketrans({"%": "%25", ":": "%3A", ",": "%2C"})


def _github(findings: Findings) -> Iterator[str]:
    """Annotations of the rule's line in the policy file, then the notices."""
    file = findings.policy.file_name.translate(_PROPERTY)
    for violation in findings.violations(waived=False):
        rule = violation.rule
        text = f"{violation.safe_reference}: {violation.detail}".translate(_MESSAGE)
        title = rule.id.translate(_PROPERTY)
        properties = f"file={file},line={rule.line},title={title}"
        yield f"::{rule.section.severity} {properties}::{text}\n"
    for notice in findings.notices():
        yield f"::notice file={file}::{notice.translate(_MESSAGE)}\n"


# -- JSON lines --


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverLine:
    """The waiver of a violation."""

    reason: str
    expires: date


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationLine:
    """A violation. `known` is false if the report does not contain what it needs.

    `newer` is for `required_platforms`: the next newer tags of the repository with
    platforms that are missing; empty if no newer one has them, null if the report has
    no other tag.
    """

    schema: int = SCHEMA
    kind: str = "violation"
    rule: str
    severity: Severity
    reference: str
    registry: str | None
    repository: str | None
    tag: str | None
    digest: str | None
    known: bool
    found: tuple[str, ...]
    used_by: tuple[str, ...]
    newer: tuple[NewerTag, ...] | None
    detail: str
    waiver: WaiverLine | None
    expired_waiver: WaiverLine | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCountLine:
    """The counts of one rule."""

    violations: int
    waived: int
    ignored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLine:
    """The result; `rules` are by id. Without this last line the output is truncated."""

    schema: int = SCHEMA
    kind: str = "check"
    passed: bool
    lines: int
    errors: int
    warnings: int
    waived: int
    rules: dict[str, RuleCountLine]
    notices: tuple[str, ...]


# The fields that a `ViolationLine` has of the `Violation`.
_COPIED = (
    *("reference", "registry", "repository", "tag", "digest", "known", "found"),
    *("used_by", "newer", "detail"),
)


def _json_lines(findings: Findings) -> Iterator[str]:
    """A `ViolationLine` for each violation, also waived ones, then the `CheckLine`."""
    for violation in findings.violations():
        yield _json(
            ViolationLine(
                rule=violation.rule.id,
                severity=violation.rule.section.severity,
                **{name: getattr(violation, name) for name in _COPIED},
                waiver=_waiver(violation.waiver),
                expired_waiver=_waiver(violation.expired),
            )
        )
    yield _json(
        CheckLine(
            passed=findings.passed,
            lines=findings.lines,
            errors=findings.total(Severity.ERROR),
            warnings=findings.total(Severity.WARNING),
            waived=findings.waived,
            rules={
                count.rule.id: RuleCountLine(
                    violations=count.violations,
                    waived=count.waived,
                    ignored=count.ignored,
                )
                for count in findings.counts
            },
            notices=tuple(findings.notices()),
        )
    )


def _waiver(waiver: Waiver | None) -> WaiverLine | None:
    if waiver is None:
        return None
    return WaiverLine(reason=waiver.reason, expires=waiver.expires)


def _json(line: ViolationLine | CheckLine) -> str:
    data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    return terminal_safe_json(data).decode()
