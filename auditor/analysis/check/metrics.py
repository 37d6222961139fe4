"""A check as Prometheus metrics: how often each rule is broken, and waived."""

from __future__ import annotations

from datetime import datetime

from auditor.analysis.check.findings import Findings
from auditor.report.metrics import Metric, check_metrics


def findings_metrics(findings: Findings, finished: datetime) -> tuple[Metric, ...]:
    """The metrics, with a 0 for each rule that is kept."""
    counts = findings.counts
    return check_metrics(
        violations={count.rule.id: count.violations for count in counts},
        waived={count.rule.id: count.waived for count in counts},
        finished_at=finished.isoformat(timespec="seconds"),
    )
