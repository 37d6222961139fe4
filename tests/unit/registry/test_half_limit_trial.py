"""Half of the limit is tried, and the answers of both are compared by the clock."""

from __future__ import annotations

from collections import deque

from auditor.registry.half_limit_trial import (
    FACTOR,
    FIRST_S,
    MIN_LIMIT,
    WAIT_S,
    HalfLimitTrial,
    TrialResult,
)


class _Client:
    """Answers come evenly, `rate` of them a second, to the oldest request in flight."""

    def __init__(self) -> None:
        self.now = 0.0
        self.trial = HalfLimitTrial(self.now)
        self._in_flight: deque[float] = deque()

    def answers(
        self, count: int, rate: float, limit: int, *, is_full: bool = True
    ) -> TrialResult | None:
        """The result of so many answers, or of the first that has one."""
        for _ in range(count):
            while len(self._in_flight) < limit:
                self._in_flight.append(self.now)
            self.now += 1 / rate
            result = self.trial.count(
                self.now,
                sent_at=self._in_flight.popleft(),
                limit=limit,
                is_full=is_full,
                round_trip_s=limit / rate,
            )
            if result is not None:
                return result
        return None

    def begin(self, limit: int, rate: float, *, is_urgent: bool = False) -> int:
        """Answers until a trial is due; half of the limit."""
        while not self.trial.is_due(self.now, limit, is_urgent=is_urgent):
            assert self.answers(1, rate, limit) is None
        return self.trial.begin(self.now, limit)


def test_a_half_that_brings_half_of_the_answers_ends_the_trial_soon() -> None:
    client = _Client()
    assert client.begin(64, 1280) == 32
    began = client.now
    assert client.answers(1000, 640, 32) == TrialResult(64, is_over=True, is_less=False)
    assert client.now - began < 5 * 0.05  # round trips
    assert not client.trial.is_running


def test_a_half_that_brings_as_many_answers_leads_to_a_quarter() -> None:
    client = _Client()
    client.begin(64, 400)
    result = client.answers(1000, 400, 32)
    assert result == TrialResult(16, is_over=False, is_less=True)
    assert client.trial.is_running


def test_what_was_of_use_is_the_result() -> None:
    client = _Client()
    client.begin(64, 400)
    client.answers(1000, 400, 32)
    result = client.answers(1000, 200, 16)
    assert result == TrialResult(32, is_over=True, is_less=True)
    client = _Client()
    client.begin(64, 400)
    client.answers(1000, 400, 32)
    client.answers(1000, 380, 16)
    result = client.answers(1000, 200, 8)
    assert result == TrialResult(16, is_over=True, is_less=True)


def test_a_trial_is_due_after_a_while_and_then_much_later() -> None:
    client = _Client()
    client.begin(64, 1280)
    assert FIRST_S <= client.now <= 1.2 * FIRST_S
    client.answers(1000, 640, 32)
    ended = client.now
    client.begin(64, 1280)
    assert client.now - ended >= FACTOR * WAIT_S
    client.answers(1000, 640, 32)
    ended = client.now
    client.begin(64, 1280)
    assert client.now - ended >= FACTOR * FACTOR * WAIT_S


def test_a_sign_of_a_queue_makes_it_due_after_some_round_trips() -> None:
    client = _Client()
    client.begin(64, 1280, is_urgent=True)
    assert client.now <= 8 * 0.05


def test_the_answers_of_a_growing_queue_are_not_counted() -> None:
    """They come faster than the host works in the long run."""
    client = _Client()
    client.answers(1, 100, 16)
    client.trial.restart(client.now, 15)
    client.answers(15 + 64, 2000, 64)  # those of before, then all that are in flight
    client.begin(64, 400, is_urgent=True)
    result = client.answers(1000, 400, 32)
    assert result == TrialResult(16, is_over=False, is_less=True)


def test_answers_that_never_come_are_not_waited_for() -> None:
    client = _Client()
    client.begin(64, 1280)
    client._in_flight.clear()
    assert client.answers(3000, 640, 32) == TrialResult(64, is_over=True, is_less=False)


def test_small_limits_are_not_tried() -> None:
    client = _Client()
    client.answers(10_000, 100, MIN_LIMIT - 1)
    assert not client.trial.is_due(client.now, MIN_LIMIT - 1)


def test_a_limit_that_holds_nothing_back_is_not_tried() -> None:
    client = _Client()
    client.answers(10_000, 1000, 64, is_full=False)
    assert not client.trial.is_due(client.now, 64)


def test_a_pause_is_not_counted() -> None:
    client = _Client()
    client.begin(64, 1280)
    client.answers(40, 640, 32)
    client.now += 3600
    assert client.answers(1000, 640, 32) == TrialResult(64, is_over=True, is_less=False)


def test_a_move_of_the_limit_ends_a_trial() -> None:
    client = _Client()
    client.begin(64, 1280)
    client.trial.restart(client.now, 64)
    assert client.answers(1000, 640, 32) is None
