"""JSON lines: one per violation, including waived ones, then the result."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import orjson

from auditor.analysis.check.findings import Findings, Violation
from auditor.analysis.check.policy import Severity, Waiver
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverLine:
    """The waiver of a violation."""

    reason: str
    expires: date


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationLine:
    """A violation. `known` is false if the report does not contain what it needs."""

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


def render(findings: Findings) -> Iterator[str]:
    """A `ViolationLine` for each violation, then the `CheckLine`."""
    for violation in findings.violations():
        yield _json(_violation(violation))
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
    return WaiverLine(reason=waiver.reason, expires=waiver.expires)


def _json(line: ViolationLine | CheckLine) -> str:
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE).decode()
