"""What distress shows about the requests that a host accepts at once."""

from __future__ import annotations

import pytest

from auditor.registry.refused_limits import HOLD_S, PROVEN_S, RefusedLimits
from auditor.wire.host_concurrency import Move


@pytest.mark.parametrize(
    ("limit", "may_double"), [(4, True), (7, True), (8, False), (9, False)]
)
def test_no_limit_doubles_to_one_that_was_refused(limit: int, may_double: bool) -> None:
    refused = RefusedLimits(0.0)
    assert refused.is_new(16, Move.THROTTLED, sent_at=0.0, now=1.0)
    refused.recovered(8, 2.0)
    assert not refused.may_double(limit, 2.0)
    now = 2.0 + HOLD_S
    assert refused.may_double(limit, now) == may_double
    refused.moved(now)
    refused.was_fine(16, now + PROVEN_S)
    assert refused.may_double(16, now + PROVEN_S)
