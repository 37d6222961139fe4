"""How long answers take at a host that is not busy, and how much longer they take now.

Requests differ in work, so each class of them (kind and size) has a baseline of its
own. The answers of a round, divided by their baselines, are the slowdown of the host.
Pure: no clock and no network; all times are seconds.

- A baseline is a mean in which no outlier counts for much, and comes with the spread of
  round trips without a queue, so that a heavy tail is not taken for one.
- Made of enough answers it only falls: else a queue that grows slowly would raise it.
  It rises after a trial that has shown that there is no queue (`learn_from_trial`).
- A queue in a part of the host, behind a proxy for example, makes outliers of some
  answers, most of which are still to come. The clock shows it: by Little's law, the
  mean of all round trips is the requests in flight, divided by the answers per second.
  `tail` compares that with the mean of all answers without a queue.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Iterator
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
# A baseline of fewer answers is not certain.
ENOUGH_ANSWERS = 64
# A baseline is the mean of up to `MAX_ANSWERS` answers, so that no lucky round decides
# it alone. A round whose mean is below `MUCH_FASTER` of it replaces it.
MAX_ANSWERS = 256
MUCH_FASTER = 0.75
# Fewer than `MIN_TAIL` answers show no tail. Of more, one up to `TAIL` is chance, and
# `TAIL_ERRORS` standard errors of times with a heavy tail are added to that.
MIN_TAIL, TAIL, TAIL_ERRORS = 8, 1.2, 3.0
# A single answer counts for at most this multiple of the usual mean.
LONGEST = 25.0
# The mean of a trial replaces one that is greater by this many standard errors.
SURE_ERRORS = 2.0
# How many answers show whether half of the limit brings as many: more, the more round
# trips vary.
MIN_WANTED, WANTED, MAX_WANTED = 32, 400, 320


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

    def with_round(self, times: _Times) -> _Times:
        """The baseline after a round without a queue."""
        if times.mean < MUCH_FASTER * self.mean:
            return times
        if times.mean > self.mean and self.count >= ENOUGH_ANSWERS:
            return self
        share = times.count / (times.count + self.count)
        return _Times(
            min(self.count + times.count, MAX_ANSWERS),
            self.mean + share * (times.mean - self.mean),
            self.spread + share * (times.spread - self.spread),
        )


@dataclass(slots=True)
class _RequestClass:
    """Requests of a kind and size, and their answers in this round.

    `round_trips` are those of requests that met the queue of the round; `total_s` is
    the sum of all `count` answers. `usual_s` is the mean of all `usual_count` answers
    without a queue.
    """

    baseline: _Times | None = None
    round_trips: list[float] = field(default_factory=list)
    total_s: float = 0.0
    count: int = 0
    usual_s: float = 0.0
    usual_count: int = 0

    def learn_usual(self) -> None:
        """Let the answers of this round join the usual ones, until there are enough."""
        if self.count and self.usual_count < ENOUGH_ANSWERS:
            self.usual_count += self.count
            more_s = self.total_s - self.count * self.usual_s
            self.usual_s += more_s / self.usual_count


class RoundTripBaselines:
    """The baselines of a host, and the round trips of a round.

    After `measure`, `slowdown` is that of the round, up to `tolerance` of which can be
    chance, and so with `tail` and `tail_tolerance`. `baseline_s`, `usual_s` (outliers
    included) and `round_trip_s` belong to the class that had the most answers in it,
    None before the first round.
    """

    __slots__ = (
        "_classes", "_expected_s", "_spread", "_took_s", "baseline_s", "round_trip_s",
        "slowdown", "tail", "tail_tolerance", "tolerance", "usual_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.slowdown = self.tail = self.tail_tolerance = 1.0
        self.tolerance = MAX_TOLERANCE
        self.baseline_s: float | None = None
        self.usual_s: float | None = None
        self.round_trip_s: float | None = None
        self._spread = 1.0
        self._classes: dict[object, _RequestClass] = {}
        # The seconds that the answers of this round took, and those of their baselines.
        self._took_s = self._expected_s = 0.0

    @property
    def has_queue(self) -> bool:
        """Whether the last round was slower than chance explains."""
        return self.slowdown > self.tolerance

    @property
    def has_long_tail(self) -> bool:
        """Whether some of the requests in flight take longer than chance explains."""
        return self.tail > self.tail_tolerance

    @property
    def is_far_slower(self) -> bool:
        """Whether the answers of this round so far leave no doubt about a queue."""
        return self._took_s > FAR_SLOWER * self._expected_s

    @property
    def answers_wanted(self) -> int:
        """How many answers show whether half of the limit brings as many."""
        return min(max(MIN_WANTED, round(WANTED * self._spread**2)), MAX_WANTED)

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
        most_s = LONGEST * found.usual_s
        found.total_s += (
            round_trip_s if round_trip_s < most_s else most_s or round_trip_s
        )
        found.count += 1
        if is_sent_in_round:
            found.round_trips.append(round_trip_s)
            if (baseline := found.baseline) is not None:
                self._took_s += round_trip_s
                self._expected_s += max(baseline.mean, FLOOR_S)

    def measure(self, *, learn: bool, clock_s: float | None = None) -> None:
        """Measure the round; if `learn`, answers without a queue join the baselines.

        `clock_s`: the mean of all round trips by the clock, None if it is not known.
        """
        self._compare_tails(clock_s, learn=learn or self.baseline_s is None)
        took = expected = variance = 0.0
        most = 0
        for one, times in self._round():
            count, baseline = times.count, one.baseline
            is_new = baseline is None
            if baseline is None:
                baseline = times
            usual = baseline
            took += count * max(times.mean, FLOOR_S)
            expected += count * max(usual.mean, FLOOR_S)
            error = usual.spread * usual.mean
            variance += error**2 * count * (1 + count / usual.count)
            if learn and not is_new and times.mean <= TOLERANCE * usual.mean:
                baseline = baseline.with_round(times)
            one.baseline = baseline
            if count > most:
                most = count
                self.baseline_s, self.usual_s = baseline.mean, one.usual_s
                self.round_trip_s = times.mean
                self._spread = baseline.spread
        if not expected:
            self.tolerance = MAX_TOLERANCE
            return
        self.slowdown = took / expected
        error = math.sqrt(variance) / expected
        self.tolerance = min(TOLERANCE + SPREAD_ERRORS * error, MAX_TOLERANCE)

    def _compare_tails(self, clock_s: float | None, *, learn: bool) -> None:
        self.tail = self.tail_tolerance = 1.0
        known = [one for one in self._classes.values() if one.count and one.usual_count]
        answers = sum(one.count for one in known)
        if clock_s is not None and answers >= MIN_TAIL:
            usual_s = sum(one.count * max(one.usual_s, FLOOR_S) for one in known)
            fewest = min(one.usual_count for one in known)
            took_s = sum(one.total_s for one in known)
            self.tail = min(clock_s * answers, took_s) / usual_s
            error = math.sqrt(1 / answers + 1 / fewest)
            self.tail_tolerance = TAIL + TAIL_ERRORS * error
        if learn:
            for one in self._classes.values():
                one.learn_usual()

    def _round(self) -> Iterator[tuple[_RequestClass, _Times]]:
        for one in self._classes.values():
            if len(one.round_trips) >= MIN_SAMPLES:
                yield one, _Times.of(one.round_trips)

    # -- trials ----------------------------------------------------------------

    def learn_from_trial(self, *, most_rise: float) -> None:
        """Take the answers of this round, of a host without a queue, for baselines.

        Those of a slower host rise by `most_rise` at most; 1 if it is not slower.
        """
        for one, times in self._round():
            before, rise = one.baseline, 1.0
            if before is None:
                one.baseline = times
            elif most_rise > 1 or times.mean < before.mean:
                rise = min(times.mean / before.mean, most_rise)
                one.baseline = replace(times, mean=rise * before.mean)
            else:
                one.baseline = before.with_round(times)
            mean = one.total_s / one.count
            sure = 1 - SURE_ERRORS / math.sqrt(one.count)
            if one.usual_count < ENOUGH_ANSWERS or mean < sure * one.usual_s:
                one.usual_s = mean
                one.usual_count = max(one.count, one.usual_count)
            elif rise > 1:
                one.usual_s = max(one.usual_s, min(mean, rise * one.usual_s))
