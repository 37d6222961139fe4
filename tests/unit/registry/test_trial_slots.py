"""Trials begin in the same seconds for all audits of a host."""

from __future__ import annotations

import pytest

from auditor.registry.trial_slots import RAREST, TrialSlots


def trials(
    since: float, now: float, round_trip_s: float, *, is_busy: bool, most: int = RAREST
) -> list[int]:
    """The slots of the first 64 in which a trial begins."""
    slots, found = TrialSlots(since, now), []
    for number in range(64):
        now = max(now, since + number + 0.5)
        slots.begin(now)
        assert slots.next_at == since + int(now - since) + 1
        if slots.has_trial(round_trip_s, is_busy=is_busy, most=most):
            found.append(int(now - since))
    return found


@pytest.mark.parametrize(
    ("is_busy", "round_trip_s", "most", "expected"),
    [
        (False, 0.01, RAREST, [0, 8, 16, 32, 48]),
        (True, 0.01, RAREST, [*range(0, 64, 4)]),
        (True, 0.08, RAREST, [*range(0, 64, 8)]),  # a trial costs two round trips
        (True, 5.0, RAREST, [*range(0, 64, 16)]),
        (False, 5.0, 2, [*range(0, 64, 4)]),
        (False, 5.0, 0, [*range(64)]),
    ],
)
def test_trials_become_rarer_without_a_sign_of_a_queue(
    *, is_busy: bool, round_trip_s: float, most: int, expected: list[int]
) -> None:
    found = trials(1000.0, 1000.0, round_trip_s, is_busy=is_busy, most=most)
    assert found == expected


def test_an_audit_that_comes_later_has_its_trials_in_the_same_slots() -> None:
    first = trials(1000.0, 1000.0, 0.01, is_busy=False)
    later = trials(1000.0, 1013.3, 0.01, is_busy=False)
    assert {32, 48} <= set(first) & set(later)
