"""Half of the limit is tried, and the answers of both are compared by the clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from auditor.registry.half_limit_trial import MIN_ANSWERS, HalfLimitTrial


class _Client:
    """Answers come evenly, `rate(limit)` a second, to the oldest request in flight."""

    def __init__(self, limit: int, *, least: int = 1, answers: int = 128) -> None:
        self.now = 0.0
        self.trial = HalfLimitTrial(self.now, limit, least=least, answers=answers)
        self._in_flight: deque[float] = deque()
        self.limits = [limit]

    def step(self, rate: float, *, is_full: bool = True) -> int | None:
        """The limit of the next step, None if the trial is over."""
        is_over = False
        for _ in range(5000):
            while len(self._in_flight) < self.trial.limit:
                self._in_flight.append(self.now)
            self.now += 1 / rate
            sent_at = self._in_flight.popleft()
            is_over = self.trial.count(self.now, sent_at=sent_at, is_full=is_full)
            if is_over:
                break
        assert is_over
        return self.trial.next_limit(self.now)

    def end(self, rate: Callable[[int], float]) -> list[int]:
        """The limits of all steps."""
        limits = [self.trial.limit]
        while (limit := self.step(rate(self.trial.limit))) is not None:
            limits.append(limit)
        return limits


def test_a_half_that_brings_half_of_the_answers_ends_the_trial_soon() -> None:
    client = _Client(64)
    assert client.step(1280) == 32
    began = client.now
    assert client.step(640) is None
    assert not client.trial.is_less
    assert client.trial.full_limit == 64
    assert client.now - began < 5 * 0.05  # round trips


@pytest.mark.parametrize(
    ("workers", "limits", "useful"),
    [
        pytest.param(20, [64, 32, 16, 8], 16, id="nearly as many answers"),
        pytest.param(6, [64, 32, 16, 8, 4], 6, id="a long queue"),
        pytest.param(1, [64, 32, 16, 8, 4, 2, 1], 1, id="down to one"),
    ],
)
def test_limits_are_halved_until_fewer_answers_come(
    workers: int, limits: list[int], useful: int
) -> None:
    client = _Client(64)
    assert client.end(lambda limit: 50 * min(limit, workers)) == limits
    assert client.trial.is_less
    assert client.trial.useful == pytest.approx(useful, abs=2)


def test_the_least_is_not_halved() -> None:
    client = _Client(16, least=4)
    assert client.end(lambda _: 400) == [16, 8, 4]
    assert client.trial.is_less
    client = _Client(4, least=4)
    assert client.end(lambda _: 400) == [4, 4]
    assert not client.trial.is_less


def test_a_small_difference_takes_more_answers() -> None:
    """Less than all that shows it would be chance."""
    settling = 30 + 15  # two generations, all but the slowest
    for full, half, wanted in (1000, 500, 32), (1000, 700, 300):
        client = _Client(32, answers=300)
        client.step(full)
        began = client.now
        client.step(half)
        counted = (client.now - began) * half - settling
        assert counted == pytest.approx(max(wanted, MIN_ANSWERS), abs=2)


def test_the_answers_of_a_shrinking_queue_are_not_counted() -> None:
    """Two generations of requests meet the queue that was there before."""
    client = _Client(64)
    client.step(400)
    began = client.now
    while client.trial.is_settling:
        client._in_flight.append(client.now)
        client.now += 1 / 400
        client.trial.count(
            client.now, sent_at=client._in_flight.popleft(), is_full=True
        )
    assert client.now - began >= 64 / 400


def test_answers_that_never_come_are_not_waited_for() -> None:
    client = _Client(64)
    client.step(1280)
    client._in_flight.clear()
    assert client.step(640) is None
    assert not client.trial.is_less


def test_a_limit_that_holds_nothing_back_is_not_tried() -> None:
    client = _Client(64)
    assert client.step(1280, is_full=False) is None
    assert client.trial.is_aborted


def test_a_pause_is_not_counted() -> None:
    client = _Client(64)
    client.step(1280)
    for _ in range(100):
        client._in_flight.append(client.now)
        client.now += 1 / 640
        client.trial.count(
            client.now, sent_at=client._in_flight.popleft(), is_full=True
        )
    client._in_flight.clear()
    client.now += 3600
    assert client.step(640) is None
    assert not client.trial.is_less
