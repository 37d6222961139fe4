"""How slow a host is now, compared with what it was without a queue."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from auditor.registry.round_trip_baselines import (
    ENOUGH_ANSWERS,
    MAX_TOLERANCE,
    MAX_WANTED,
    MIN_WANTED,
    TOLERANCE,
    RoundTripBaselines,
)


def measured(
    baselines: RoundTripBaselines,
    times: Iterable[float],
    *,
    kind: str = "head",
    learn: bool = True,
    clock_s: float | None = None,
) -> float:
    """The slowdown of a round."""
    baselines.start_round()
    for seconds in times:
        baselines.count(kind, seconds, is_sent_in_round=True)
    baselines.measure(learn=learn, clock_s=clock_s)
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
    baselines.measure(learn=True)
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


@pytest.mark.parametrize(
    ("times", "most_rise", "baseline_s"),
    [
        pytest.param(0.05, 1.0, 0.05, id="faster"),
        pytest.param(0.12, 1.0, 0.1, id="a little slower: chance"),
        pytest.param(0.15, 2.0, 0.15, id="slower"),
        pytest.param(0.5, 2.0, 0.2, id="much slower"),
    ],
)
def test_a_trial_gives_the_baselines(
    times: float, most_rise: float, baseline_s: float
) -> None:
    baselines = RoundTripBaselines()
    measured(baselines, [0.1] * ENOUGH_ANSWERS)
    measured(baselines, [times] * 32, learn=False)
    baselines.learn_from_trial(most_rise=most_rise)
    measured(baselines, [times] * 8, learn=False)
    assert baselines.slowdown == pytest.approx(times / baseline_s)


def test_a_trial_has_more_answers_than_a_first_baseline() -> None:
    baselines = RoundTripBaselines()
    measured(baselines, [0.1] * 8)
    measured(baselines, [0.12] * 72, learn=False)
    baselines.learn_from_trial(most_rise=1.0)
    assert measured(baselines, [0.12] * 8) == pytest.approx(0.12 / 0.118)


# One answer in five comes from a back end that queues, but few of them in time.
FAST, SLOW = [0.01] * 26, [0.08] * 6


@pytest.mark.parametrize(
    ("slow_s", "clock_s", "is_long"),
    [
        (0.08, 0.023, False),
        (0.08, 0.1, False),  # no slow answer has come
        (0.3, 0.03, False),  # few, by the clock
        (0.3, 0.07, True),
        (9.0, 0.9, True),
    ],
)
def test_the_clock_shows_a_long_tail(
    slow_s: float, clock_s: float, is_long: bool
) -> None:
    baselines = RoundTripBaselines()
    measured(baselines, [*FAST, *SLOW] * 2)
    measured(baselines, [*FAST, *[slow_s] * 6] * 2, clock_s=clock_s)
    assert baselines.has_long_tail is is_long
    assert baselines.slowdown == pytest.approx(1.0, abs=0.3)
    measured(baselines, [*FAST, *[slow_s] * 6])  # without the clock, nothing is known
    assert not baselines.has_long_tail


def test_of_few_answers_a_tail_is_chance() -> None:
    for answers, is_long in (8, False), (64, True):
        baselines = RoundTripBaselines()
        measured(baselines, [0.01] * 64)
        measured(baselines, [0.02] * answers, clock_s=0.02)
        assert baselines.has_long_tail is is_long


def test_the_usual_tail_falls_after_a_trial_and_rises_only_with_the_baseline() -> None:
    for times, clock_s, most_rise, is_long in (
        (0.01, 0.03, 1.0, True),
        (0.04, 0.06, 2.0, False),
        (0.04, 0.06, 1.0, True),
    ):
        baselines = RoundTripBaselines()
        measured(baselines, [0.02] * 32 + [0.12] * 8 + [0.02] * 24)
        measured(baselines, [times] * 64, learn=False)
        baselines.learn_from_trial(most_rise=most_rise)
        measured(baselines, [clock_s] * 64, learn=False, clock_s=clock_s)
        assert baselines.has_long_tail is is_long


def test_a_trial_takes_more_answers_where_round_trips_vary() -> None:
    chance = random.Random(1)
    steady, varied = RoundTripBaselines(), RoundTripBaselines()
    measured(steady, [0.125] * 16)
    measured(varied, [chance.lognormvariate(-4, 1.5) for _ in range(64)])
    assert steady.answers_wanted == MIN_WANTED
    assert MIN_WANTED < varied.answers_wanted <= MAX_WANTED


def test_a_round_that_leaves_no_doubt_need_not_end() -> None:
    baselines = RoundTripBaselines()
    measured(baselines, [0.1] * 8)
    baselines.start_round()
    baselines.count("head", 0.39, is_sent_in_round=True)
    assert not baselines.is_far_slower
    baselines.count("head", 0.5, is_sent_in_round=True)
    assert baselines.is_far_slower
