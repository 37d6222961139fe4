"""How many retries one host is worth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.registry.host_health import EARNED, ROUNDS, RetryBudget


def _taken(budget: RetryBudget, at_most: int = 1000) -> int:
    taken = 0
    while taken < at_most and budget.take():
        taken += 1
    return taken


@pytest.mark.parametrize(
    ("most_at_once", "tries", "retries"), [(8, 3, 64), (1, 2, 4), (1, 1, 4)]
)
def test_the_reserve_is_some_rounds_of_all_slots(
    most_at_once: int, tries: int, retries: int
) -> None:
    assert _taken(RetryBudget(most_at_once=most_at_once, tries=tries)) == retries


def test_retries_that_worked_cost_nothing() -> None:
    budget = RetryBudget(most_at_once=1, tries=3)
    for _ in range(100):
        assert budget.take()
        assert budget.take()
        budget.good(2)
    assert _taken(budget) == 2 * ROUNDS


def test_good_requests_earn_one_retry_in_five() -> None:
    budget = RetryBudget(most_at_once=1, tries=3)
    _taken(budget)
    for _ in range(5):
        assert not budget.take()
        budget.good(0)
    assert budget.take()
    assert not budget.take()


def test_what_is_earned_is_not_saved_up_beyond_the_reserve() -> None:
    budget = RetryBudget(most_at_once=2, tries=2)
    for _ in range(1000):
        budget.good(0)
    assert _taken(budget) == 2 * ROUNDS


@given(st.lists(st.booleans(), max_size=300))
def test_retries_in_vain_are_at_most_the_reserve_and_a_share(
    good: list[bool],
) -> None:
    """However good and failing requests are mixed, and each retried twice."""
    budget = RetryBudget(most_at_once=1, tries=3)
    in_vain = 0
    for one in good:
        if one:
            budget.good(0)
        else:
            in_vain += budget.take() + budget.take()
    assert in_vain <= 2 * ROUNDS + EARNED * sum(good) + 1e-6
