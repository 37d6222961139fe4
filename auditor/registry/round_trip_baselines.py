"""How long answers take at a host that is not busy, and how much longer they take now.

Requests differ in work, so each class of them (kind and size) has a baseline of its
own. The answers of a round, divided by their baselines, are the slowdown of the host.
Pure: no clock and no network; all times are seconds.

- A baseline is a mean in which no outlier counts for much, and comes with the spread of
  round trips without a queue, so that a heavy tail is not taken for one.
- Of few answers it is uncertain, and soon measured again. Made of enough answers it
  only falls: else a queue that grows slowly would raise it.
- It rises for a try (`try_round`). Whoever sends more requests then, and meets no
  queue, makes it the baseline (`end_try`); else the one before was right.
- A queue in a part of the host, behind a proxy for example, makes outliers of some
  answers. `has_long_tail` compares the mean of all answers with the usual one.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import field, replace

from auditor.fast_dataclass import dataclass

# Of a class, fewer answers say nothing.
MIN_SAMPLES = 3
# A round trip counts for at most this multiple of its round's median.
OUTLIER = 3.0
# Shorter round trips count for as much: what a scheduler does to them is no queue, and
# nobody notices it.
FLOOR_S = 0.002
# A slowdown up to this is no queue: timers and the client's own work are not exact.
TOLERANCE = 1.1
# How much of the spread of the answers is added to it, in standard errors.
SPREAD_ERRORS = 2.0
MAX_TOLERANCE = 1.7
# A slowdown that leaves no doubt before the end of a round.
FAR_SLOWER = 4.0
# Seconds after which a baseline is measured again, if it is made of enough answers.
BASELINE_S, ENOUGH_ANSWERS = 10.0, 64
# Of so many answers a baseline is made, so that no lucky round decides it alone, unless
# it is that much faster.
MAX_ANSWERS = 256
MUCH_FASTER = 0.75
# The mean of so many answers or more is a long tail at this multiple of the usual mean,
# which follows means that are a little longer.
MIN_TAIL, LONG_TAIL = 32, 2.0
USUAL_TAIL, USUAL_SHARE = 1.5, 0.25


@dataclass(frozen=True, slots=True)
class _Times:
    """Round trips, none taken for more than `OUTLIER` medians.

    `spread` is their standard deviation, divided by the mean, which is more than 0.
    """

    count: int
    mean: float
    spread: float

    @classmethod
    def of(cls, times: list[float]) -> _Times:
        """Those of some round trips, at least one."""
        ranked = sorted(times)
        count = len(ranked)
        most = OUTLIER * ranked[count // 2]
        kept = bisect_right(ranked, most)
        if kept < count:
            ranked[kept:] = [most] * (count - kept)
        mean = max(sum(ranked) / count, 1e-9)
        squares = sum(map(operator.mul, ranked, ranked)) / count
        deviation = math.sqrt(max(0.0, squares - mean * mean))
        return cls(count, mean, deviation / mean)


@dataclass(frozen=True, slots=True)
class _Baseline:
    """The round trips of a class without a queue; confirmed at a time."""

    times: _Times
    confirmed_at: float

    @property
    def lasts_s(self) -> float:
        """How long it is not doubted: of few answers, not for long."""
        certain = min(1.0, self.times.count / ENOUGH_ANSWERS)
        return max(BASELINE_S * certain, 20 * self.times.mean)

    def with_round(self, times: _Times, now: float) -> _Baseline:
        """The baseline after a round without a queue."""
        mine = self.times
        if times.mean < MUCH_FASTER * mine.mean:
            return _Baseline(times, now)
        if times.mean > mine.mean and mine.count >= ENOUGH_ANSWERS:
            return _Baseline(mine, now)
        share = times.count / (times.count + mine.count)
        mixed = _Times(
            min(mine.count + times.count, MAX_ANSWERS),
            mine.mean + share * (times.mean - mine.mean),
            mine.spread + share * (times.spread - mine.spread),
        )
        return _Baseline(mixed, now)


@dataclass(slots=True)
class _RequestClass:
    """Requests of a kind and size, and their answers in this round.

    `round_trips` are those of requests that were sent in it; `total_s` is the sum of
    all `count` answers, whenever they were sent, and `usual_s` their usual mean.
    """

    baseline: _Baseline | None = None
    round_trips: list[float] = field(default_factory=list)
    usual_s: float = math.inf
    total_s: float = 0.0
    count: int = 0

    def update_usual(self) -> None:
        """Let the usual mean follow that of this round, if it is not a long tail."""
        mean = self.total_s / self.count
        if self.usual_s == math.inf:
            self.usual_s = mean
        elif mean < USUAL_TAIL * self.usual_s:
            self.usual_s += USUAL_SHARE * (mean - self.usual_s)


class RoundTripBaselines:
    """The baselines of a host, and the round trips of a round.

    After `measure`, `slowdown` is that of the round, up to `tolerance` of which can be
    chance. `baseline_s` and `round_trip_s` belong to the class that had the most
    answers in it, None before the first round.
    """

    __slots__ = (
        "_before", "_classes", "_expected_s", "_took_s", "baseline_s", "has_long_tail",
        "round_trip_s", "slowdown", "tolerance",
    )  # fmt: skip

    def __init__(self) -> None:
        self.slowdown = 1.0
        self.tolerance = MAX_TOLERANCE
        self.has_long_tail = False
        self.baseline_s: float | None = None
        self.round_trip_s: float | None = None
        self._classes: dict[object, _RequestClass] = {}
        # The baselines before those that are tried.
        self._before: Mapping[object, _Baseline | None] | None = None
        # The seconds that the answers of this round took, and those of their baselines.
        self._took_s = self._expected_s = 0.0

    @property
    def has_queue(self) -> bool:
        """Whether the last round was slower than chance explains."""
        return self.slowdown > self.tolerance

    @property
    def is_far_slower(self) -> bool:
        """Whether the answers of this round so far leave no doubt about a queue."""
        return self._took_s > FAR_SLOWER * self._expected_s

    # -- rounds ----------------------------------------------------------------

    def start_round(self) -> None:
        """Forget the answers of the last round."""
        self._took_s = self._expected_s = 0.0
        for one in self._classes.values():
            one.round_trips.clear()
            one.total_s, one.count = 0.0, 0

    def count(
        self, kind: object, round_trip_s: float, *, is_sent_in_round: bool
    ) -> None:
        """Count an answer to a request of this class."""
        found = self._classes.get(kind)
        if found is None:
            found = self._classes[kind] = _RequestClass()
        found.total_s += round_trip_s
        found.count += 1
        if is_sent_in_round:
            found.round_trips.append(round_trip_s)
            if (baseline := found.baseline) is not None:
                self._took_s += round_trip_s
                self._expected_s += max(baseline.times.mean, FLOOR_S)

    def measure(self, now: float, *, learn: bool) -> None:
        """Measure the round; if `learn`, answers without a queue join the baselines."""
        took = expected = variance = 0.0
        most = 0
        for one, times in self._round():
            count, baseline = times.count, one.baseline
            is_new = baseline is None
            if baseline is None:
                baseline = _Baseline(times, now)
            usual = baseline.times
            took += count * max(times.mean, FLOOR_S)
            expected += count * max(usual.mean, FLOOR_S)
            error = usual.spread * usual.mean
            variance += error**2 * count * (1 + count / usual.count)
            if learn and not is_new and times.mean <= TOLERANCE * usual.mean:
                baseline = baseline.with_round(times, now)
            one.baseline = baseline
            if count > most:
                most = count
                self.baseline_s = baseline.times.mean
                self.round_trip_s = times.mean
        self._compare_tails()
        if not expected:
            self.tolerance = MAX_TOLERANCE
            return
        self.slowdown = took / expected
        error = math.sqrt(variance) / expected
        self.tolerance = min(TOLERANCE + SPREAD_ERRORS * error, MAX_TOLERANCE)

    def _compare_tails(self) -> None:
        took = expected = 0.0
        answers = 0
        for one in self._classes.values():
            if one.count >= MIN_SAMPLES:
                one.update_usual()
                took += one.total_s
                expected += one.count * max(one.usual_s, FLOOR_S)
                answers += one.count
        self.has_long_tail = answers >= MIN_TAIL and took > LONG_TAIL * expected

    def forget_tails(self) -> None:
        """Take the next answers for the usual ones, whatever their tail."""
        for one in self._classes.values():
            one.usual_s = math.inf

    def _round(self) -> Iterator[tuple[_RequestClass, _Times]]:
        for one in self._classes.values():
            if len(one.round_trips) >= MIN_SAMPLES:
                yield one, _Times.of(one.round_trips)

    # -- baselines -------------------------------------------------------------

    def is_old(self, now: float) -> bool:
        """Whether the baseline of a class in this round has to be measured again."""
        return any(
            now - one.baseline.confirmed_at >= one.baseline.lasts_s
            for one in self._classes.values()
            if one.baseline is not None and len(one.round_trips) >= MIN_SAMPLES
        )

    def replace(self, now: float) -> None:
        """Take the answers of this round for the baselines."""
        for one, times in self._round():
            one.baseline = _Baseline(times, now)
            one.usual_s = math.inf

    def confirm(self, now: float) -> None:
        """Keep the baselines of the classes in this round for a while."""
        for one, _ in self._round():
            if one.baseline is not None:
                one.baseline = replace(one.baseline, confirmed_at=now)

    def try_round(self, now: float) -> None:
        """Take the answers of this round for the baselines, until `end_try`."""
        if self._before is None:
            self._before = {kind: one.baseline for kind, one in self._classes.items()}
        self.replace(now)

    def end_try(self, now: float, *, is_right: bool) -> None:
        """Keep the baselines that were tried, or return to those before."""
        before, self._before = self._before, None
        if before is None or is_right:
            return
        for kind, baseline in before.items():
            if baseline is not None:
                self._classes[kind].baseline = replace(baseline, confirmed_at=now)
