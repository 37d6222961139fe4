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


def _recovered(
    limits: RefusedLimits, limit: int, cause: Move, refused: int, now: float
) -> int:
    """The limit after so many of the requests in flight were in distress."""
    for number in range(refused):
        assert limits.is_new(limit, cause, sent_at=now - 1, now=now) == (not number)
    found = limits.recovered(limit // 2, now)
    limits.moved(now)
    limits.was_fine(found, now)  # as at the end of each round
    return found


def test_a_connection_that_fails_again_at_once_is_no_accident() -> None:
    limits = RefusedLimits(0.0)
    assert _recovered(limits, 40, Move.CONNECTION, 2, 2.0) == 40
    assert limits.may_grow(2.0)
    assert _recovered(limits, 40, Move.CONNECTION, 2, 4.0) == 36
    assert not limits.may_grow(4.0)
    assert limits.may_grow(4.0 + HOLD_S)
    assert not limits.may_double(20, 4.0 + HOLD_S)


def test_a_connection_that_fails_now_and_then_is_an_accident() -> None:
    limits = RefusedLimits(0.0)
    for now in range(2, 40, 2):
        assert _recovered(limits, 40, Move.CONNECTION, 1, now) == 40
        limits.was_fine(40, now + 0.5)
        assert limits.may_grow(now)


@pytest.mark.parametrize("cause", [Move.SERVER_ERROR, Move.TIMEOUT])
def test_errors_of_a_small_part_of_the_requests_hold_no_limit(cause: Move) -> None:
    limits = RefusedLimits(0.0)
    for now in range(2, 40, 2):
        assert _recovered(limits, 40, cause, 2, now) == 40
        assert limits.may_grow(now)


@pytest.mark.parametrize(
    ("refused", "limit", "is_held"),
    [(3, 35, True), (20, 20, True), (30, 20, True), (31, 20, False), (40, 20, False)],
)
def test_connections_that_fail_beside_others_show_what_is_accepted(
    *, refused: int, limit: int, is_held: bool
) -> None:
    """If nearly all of them fail, the host is down."""
    limits = RefusedLimits(0.0)
    assert _recovered(limits, 40, Move.CONNECTION, refused, 2.0) == limit
    assert limits.may_grow(2.0) != is_held
