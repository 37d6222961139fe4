"""The retry budget of a host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.registry.retry_budget import BUDGET_ROUNDS, RETRY_EARNED, RetryBudget


def _taken(budget: RetryBudget, at_most: int = 1000) -> int:
    taken = 0
    while taken < at_most and budget.take():
        taken += 1
    return taken


@pytest.mark.parametrize(
    ("max_in_flight", "tries", "retries"), [(8, 3, 64), (1, 2, 4), (1, 1, 4)]
)
def test_the_retry_budget_is_some_rounds_of_all_slots(
    max_in_flight: int, tries: int, retries: int
) -> None:
    budget = RetryBudget(most_in_flight=lambda: max_in_flight, tries=tries)
    assert _taken(budget) == retries


def test_successful_retries_are_refunded() -> None:
    budget = RetryBudget(most_in_flight=lambda: 1, tries=3)
    for _ in range(100):
        assert budget.take()
        assert budget.take()
        budget.refund(2)
    assert _taken(budget) == 2 * BUDGET_ROUNDS


def test_five_good_requests_earn_one_retry() -> None:
    budget = RetryBudget(most_in_flight=lambda: 1, tries=3)
    _taken(budget)
    for _ in range(5):
        assert not budget.take()
        budget.refund(0)
    assert budget.take()
    assert not budget.take()


def test_earned_retries_never_exceed_the_budget() -> None:
    budget = RetryBudget(most_in_flight=lambda: 2, tries=2)
    for _ in range(1000):
        budget.refund(0)
    assert _taken(budget) == 2 * BUDGET_ROUNDS


@given(st.lists(st.booleans(), max_size=300))
def test_futile_retries_are_bounded_by_the_budget(
    good: list[bool],
) -> None:
    """For any mix of good and failing requests, each retried twice."""
    budget = RetryBudget(most_in_flight=lambda: 1, tries=3)
    futile = 0
    for one in good:
        if one:
            budget.refund(0)
        else:
            futile += budget.take() + budget.take()
    assert futile <= 2 * BUDGET_ROUNDS + RETRY_EARNED * sum(good) + 1e-6
