"""JSON lines: one for each violation, also if it is waived, and one with the totals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson

from auditor.analysis.check.findings import Findings, Violation
from auditor.analysis.check.policy import Severity, Waiver
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverLine:
    """A waiver; `expires` is the last day on which it applies."""

    reason: str
    expires: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationLine:
    """A rule that a reference breaks.

    If `known` is false, the report cannot tell. `found` are the values in the report.
    `waiver` applies; `expired_waiver` did once.
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
    detail: str
    waiver: WaiverLine | None
    expired_waiver: WaiverLine | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCounts:
    """Numbers of references. `ignored` are those for which the report cannot tell."""

    violations: int
    waived: int
    ignored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLine:
    """The last line: without it the output was truncated."""

    schema: int = SCHEMA
    kind: str = "check"
    passed: bool
    lines: int
    errors: int
    warnings: int
    waived: int
    rules: Mapping[str, RuleCounts]
    notices: tuple[str, ...]


def pieces(findings: Findings) -> Iterator[str]:
    """The lines, each with its line break."""
    for violation in findings.violations():
        yield _text(_violation(violation))
    yield _text(
        CheckLine(
            passed=findings.passed,
            lines=findings.lines,
            errors=findings.total(Severity.ERROR),
            warnings=findings.total(Severity.WARNING),
            waived=findings.waived,
            rules={
                count.rule.id: RuleCounts(
                    violations=count.violations,
                    waived=count.waived,
                    ignored=count.ignored,
                )
                for count in findings.counts
            },
            notices=tuple(findings.notices()),
        )
    )


def _violation(violation: Violation) -> ViolationLine:
    return ViolationLine(
        rule=violation.rule.id,
        severity=violation.rule.section.severity,
        reference=violation.reference,
        registry=violation.registry,
        repository=violation.repository,
        tag=violation.tag,
        digest=violation.digest,
        known=violation.known,
        found=violation.found,
        detail=violation.detail,
        waiver=_waiver(violation.waiver),
        expired_waiver=_waiver(violation.expired),
    )


def _waiver(waiver: Waiver | None) -> WaiverLine | None:
    if waiver is None:
        return None
    return WaiverLine(reason=waiver.reason, expires=waiver.expires.isoformat())


def _text(line: ViolationLine | CheckLine) -> str:
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE).decode()
