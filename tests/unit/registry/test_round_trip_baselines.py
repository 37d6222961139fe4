"""How slow a host is now, compared with what it was without a queue."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from auditor.registry.round_trip_baselines import (
    BASELINE_S,
    ENOUGH_ANSWERS,
    MAX_TOLERANCE,
    TOLERANCE,
    RoundTripBaselines,
)


def measured(
    baselines: RoundTripBaselines,
    times: Iterable[float],
    *,
    kind: str = "head",
    now: float = 0.0,
    learn: bool = True,
) -> float:
    """The slowdown of a round."""
    baselines.start_round()
    for seconds in times:
        baselines.count(kind, seconds, is_sent_in_round=True)
    baselines.measure(now, learn=learn)
    return baselines.slowdown


def test_the_first_round_is_the_baseline() -> None:
    baselines = RoundTripBaselines()
    assert measured(baselines, [0.125] * 8) == 1.0
    assert measured(baselines, [0.25] * 8) == 2.0
    assert (baselines.baseline_s, baselines.round_trip_s) == (0.125, 0.25)
    assert baselines.has_queue


def test_classes_are_compared_with_their_own_kind() -> None:
    baselines = RoundTripBaselines()
    measured(baselines, [0.01] * 8, kind="head")
    measured(baselines, [1.0] * 8, kind="blob")
    baselines.start_round()
    for kind, seconds in [("head", 0.01), ("blob", 1.0), ("new", 9.0)] * 4:
        baselines.count(kind, seconds, is_sent_in_round=True)
    baselines.measure(0, learn=True)
    assert baselines.slowdown == pytest.approx(1.0)


def test_a_spread_is_no_queue() -> None:
    chance = random.Random(1)
    baselines = RoundTripBaselines()
    measured(baselines, [chance.lognormvariate(-4, 1) for _ in range(16)])
    for _ in range(50):
        measured(baselines, [chance.lognormvariate(-4, 1) for _ in range(16)])
        assert TOLERANCE < baselines.tolerance <= MAX_TOLERANCE
    steady = RoundTripBaselines()
    measured(steady, [0.125] * 16)
    assert steady.tolerance == TOLERANCE


def test_a_queue_that_grows_slowly_does_not_raise_the_baseline() -> None:
    baselines = RoundTripBaselines()
    seconds = 0.125
    measured(baselines, [seconds] * ENOUGH_ANSWERS)
    while seconds < 0.25:
        seconds *= 1.02
        measured(baselines, [seconds] * 16)
    assert baselines.baseline_s == 0.125
    assert baselines.has_queue


def test_a_baseline_of_few_answers_is_soon_doubted() -> None:
    for answers, lasts_s in (8, BASELINE_S / 8), (ENOUGH_ANSWERS, BASELINE_S):
        baselines = RoundTripBaselines()
        measured(baselines, [0.01] * answers)
        measured(baselines, [0.02] * 8, now=lasts_s)
        assert not baselines.is_old(0.9 * lasts_s)
        assert baselines.is_old(lasts_s)
        baselines.confirm(lasts_s)
        assert not baselines.is_old(1.9 * lasts_s)


@pytest.mark.parametrize("is_right", [True, False])
def test_higher_baselines_are_tried(*, is_right: bool) -> None:
    baselines = RoundTripBaselines()
    measured(baselines, [0.1] * 64)
    measured(baselines, [0.2] * 16)
    baselines.try_round(1.0)
    assert measured(baselines, [0.22] * 16) == pytest.approx(1.1)
    measured(baselines, [0.3] * 16)
    baselines.try_round(2.0)  # another one: those before the first are kept
    baselines.end_try(3.0, is_right=is_right)
    assert measured(baselines, [0.3] * 16) == pytest.approx(1.0 if is_right else 3.0)
    assert not baselines.is_old(3.1)


def test_outliers_that_get_longer_are_a_long_tail() -> None:
    """One answer in five comes from a back end that queues."""
    baselines = RoundTripBaselines()
    rounds = [
        ([*[0.01] * 26, *[0.08] * 6], False),
        ([*[0.01] * 26, *[0.09] * 6], False),
        ([*[0.01] * 26, *[0.3] * 6], True),
        ([*[0.01] * 12, *[0.3] * 3], False),  # too few to say
        ([*[0.01] * 26, *[0.3] * 6], True),
    ]
    found = []
    for times, _ in rounds:
        assert measured(baselines, times) == pytest.approx(1.0, rel=0.05)
        found.append(baselines.has_long_tail)
    assert found == [is_long for _, is_long in rounds]
    baselines.forget_tails()
    measured(baselines, [*[0.01] * 26, *[0.3] * 6])
    assert not baselines.has_long_tail


def test_answers_of_the_round_before_count_for_the_tail_alone() -> None:
    baselines = RoundTripBaselines()
    measured(baselines, [0.01] * 32)
    baselines.start_round()
    for _ in range(32):
        baselines.count("head", 0.01, is_sent_in_round=True)
        baselines.count("head", 0.3, is_sent_in_round=False)
    baselines.measure(0, learn=True)
    assert baselines.slowdown == pytest.approx(1.0)
    assert baselines.has_long_tail


def test_a_round_that_leaves_no_doubt_need_not_end() -> None:
    baselines = RoundTripBaselines()
    measured(baselines, [0.1] * 8)
    baselines.start_round()
    baselines.count("head", 0.39, is_sent_in_round=True)
    assert not baselines.is_far_slower
    baselines.count("head", 0.5, is_sent_in_round=True)
    assert baselines.is_far_slower
