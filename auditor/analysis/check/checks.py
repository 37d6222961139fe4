"""Everything that a policy can ask for: one row each, from the files beside this."""

from __future__ import annotations

from auditor.analysis.check import content, limits, origin, repositories, trust
from auditor.analysis.check.check import Check

CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        *content.CHECKS,
        *limits.CHECKS,
        *origin.CHECKS,
        *trust.CHECKS,
        *repositories.CHECKS,
    )
}
