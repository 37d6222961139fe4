"""JSON lines: a line each violation, waived ones too, and one that sums them up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from auditor.analysis.check.findings import Findings, Violation
from auditor.analysis.check.policy import Severity, Waiver
from auditor.model import SCHEMA


def pieces(findings: Findings) -> Iterator[str]:
    """The lines. The last is of kind `check`: without it the output was cut."""
    for violation in findings.violations():
        yield _line(_violation(violation))
    yield _line(
        {
            "schema": SCHEMA,
            "kind": "check",
            "passed": findings.passed,
            "lines": findings.lines,
            "errors": findings.total(Severity.ERROR),
            "warnings": findings.total(Severity.WARNING),
            "waived": findings.waived,
            "rules": {
                count.rule.id: {
                    "violations": count.violations,
                    "waived": count.waived,
                    "ignored": count.ignored,
                }
                for count in findings.counts
            },
            "notices": findings.notices(),
        }
    )


def _violation(violation: Violation) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": "violation",
        "rule": violation.rule.id,
        "severity": violation.rule.section.severity,
        "reference": violation.reference,
        "registry": violation.registry,
        "repository": violation.repository,
        "tag": violation.tag,
        "digest": violation.digest,
        "known": violation.known,
        "found": violation.found,
        "detail": violation.detail,
        "waiver": _waiver(violation.waiver),
        "expired_waiver": _waiver(violation.expired),
    }


def _waiver(waiver: Waiver | None) -> dict[str, Any] | None:
    if waiver is None:
        return None
    return {"reason": waiver.reason, "expires": waiver.expires}


def _line(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE).decode()
