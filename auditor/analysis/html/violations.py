"""What a policy finds in the report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from auditor.analysis.check.evaluate import checked
from auditor.analysis.check.policy import Severity
from auditor.analysis.check.policy_file import load_policy
from auditor.analysis.html.rows import Rows
from auditor.fast_dataclass import dataclass

# What a person works through in a day; the rules are counted over all.
MAX_VIOLATIONS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLine:
    """A rule and how often it was broken."""

    id: str
    severity: str
    violations: int
    waived: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationLine:
    """A reference that breaks a rule, without a waiver."""

    rule: str
    severity: str
    reference: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Violations:
    """The answer of a policy. `errors` make `auditor check` fail, `warnings` do not."""

    policy: str
    today: date
    passed: bool
    errors: int
    warnings: int
    waived: int
    rules: tuple[RuleLine, ...]
    rows: Rows[ViolationLine]
    notices: tuple[str, ...]


def read_violations(
    paths: Sequence[str], policy_file: str, *, today: date, earlier: Sequence[str]
) -> Violations:
    """Check a report; raises `ConfigError` and `UsageError` as `auditor check` does."""
    policy = load_policy(policy_file)
    with checked(paths, policy, today=today, earlier=earlier) as findings:
        errors = findings.total(Severity.ERROR)
        warnings = findings.total(Severity.WARNING)
        rows = tuple(
            ViolationLine(
                rule=one.rule.id,
                severity=one.rule.section.severity.value,
                reference=one.reference,
                detail=one.detail,
            )
            for one in findings.violations(waived=False, limit=MAX_VIOLATIONS)
        )
        rules = [
            RuleLine(
                id=count.rule.id,
                severity=count.rule.section.severity.value,
                violations=count.violations,
                waived=count.waived,
            )
            for count in findings.counts
        ]
        return Violations(
            policy=Path(policy_file).name,
            today=today,
            passed=findings.passed,
            errors=errors,
            warnings=warnings,
            waived=findings.waived,
            rules=tuple(sorted(rules, key=lambda rule: -rule.violations)),
            rows=Rows(rows=rows, total=errors + warnings),
            notices=tuple(findings.notices()),
        )
