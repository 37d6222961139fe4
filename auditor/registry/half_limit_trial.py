"""Whether half of a host's concurrent requests bring as many answers: a pure trial.

The clock shows every queue, also one in a part of the host, behind a proxy for
example: if half of the limit brings as many answers per second, the other half only
queued. Then half of that is tried, until it brings fewer. The round trips with that
limit are those of a host without a queue.

A step has the answers to requests that meet the queue that its limit makes, not the one
before: the answers of a growing queue come too fast, those of a shrinking one too slow.
"""

from __future__ import annotations

import math

# Requests meet the new queue after two generations: all that are in flight now are
# answered, then all that are in flight at that moment. The slowest sixteenth is not
# waited for, and the wait ends after eight answers for each request in flight.
GENERATIONS, SLOWEST, MOST_AFTER = 2, 16, 8
# The fewest answers of a step: for each request in flight, and in all.
ROUNDS, MIN_ANSWERS = 2, 32
# With a low limit, that would take too long: the most answers, for each in flight.
MAX_ROUNDS = 12
# Half of the limit is enough if all of it brings at most this multiple of the answers:
# the mix of requests varies.
NO_GAIN = 1.4
# A step is over at once if all of the limit brought `CLEAR_GAIN` times the answers, or
# not even `CLEARLY_NO_GAIN` times, of at least `MIN_CLEAR`.
CLEAR_GAIN = 1.75
CLEARLY_NO_GAIN, MIN_CLEAR = 1.2, 128


class HalfLimitTrial:
    """A trial that starts with all of the limit, `full_limit`.

    `limit` is that of the present step, which began at `since`. `is_settling`: it has
    not begun, requests in flight meet another queue. `answers` show a small difference.
    """

    __slots__ = (
        "_answers", "_before", "_enough", "_generations", "_idle", "_in_flight",
        "_last_at", "_least", "_old", "_paused_s", "_rate", "full_limit", "is_aborted",
        "is_less", "limit", "since",
    )  # fmt: skip

    def __init__(self, now: float, limit: int, *, least: int, answers: int) -> None:
        self.full_limit = self.limit = limit
        self.is_less = False  # fewer requests were enough
        self.is_aborted = False  # the limit was not what held requests back
        self._least = least
        self._enough = answers
        # Limit and answers per second of the step before.
        self._before, self._rate = limit, 0.0
        # The requests in flight that are still waited for, then the answers.
        self._generations, self._in_flight, self._old = 1, limit, limit
        self.since = self._last_at = now
        self._answers = self._idle = 0
        self._paused_s = 0.0  # while nothing was in flight

    @property
    def is_settling(self) -> bool:
        """Whether the step has not begun."""
        return self._generations > 0

    def count(self, now: float, *, sent_at: float, is_full: bool) -> bool:
        """Count an answer; whether the step is over. `is_full`: requests waited."""
        if sent_at > self._last_at:
            self._paused_s += sent_at - self._last_at  # nothing was in flight
        self._last_at = now
        self._answers += 1
        if self._generations:
            if sent_at <= self.since:
                self._old -= 1
            left = max(1, self._in_flight // SLOWEST)
            if self._old <= left or self._answers >= MOST_AFTER * self._in_flight:
                self._settle(now, self.limit, self._generations - 1)
            return False
        self._idle += not is_full
        most = MAX_ROUNDS * self.limit
        if self._answers < max(ROUNDS * self.limit, min(MIN_ANSWERS, most)):
            return False
        if self._answers >= self._enough:
            return True
        if not self._rate:
            return False
        gain = self._rate * self._took_s(now) / self._answers
        return gain >= CLEAR_GAIN or (
            gain <= CLEARLY_NO_GAIN and self._answers >= MIN_CLEAR
        )

    def next_limit(self, now: float) -> int | None:
        """Begin the next step; None if the trial is over, after a step."""
        if 2 * self._idle > self._answers:
            self.is_aborted = True
            return None
        rate = self._answers / max(self._took_s(now), 1e-9)
        if self._rate:
            gain, most = self._rate / rate, (self._before / self.limit)
            no_gain = most ** math.log2(NO_GAIN)
            if gain > no_gain or self.limit <= self._least:
                self._rate = gain
                if gain <= no_gain and self._before > self.limit:
                    self.is_less = True
                return None
            self.is_less = True
        self._rate = rate
        self._before = self.limit
        self.limit = max(self._least, (self.limit + 1) // 2)
        self._settle(now, self._before, GENERATIONS)
        return self.limit

    @property
    def useful(self) -> int:
        """How many requests were of use, once a trial is over that `is_less`."""
        # Without a queue, twice the requests bring twice the answers.
        useful = round(min(self.limit * self._rate, self._before * NO_GAIN))
        return min(self.full_limit, max(1, useful))

    def _took_s(self, now: float) -> float:
        return now - self.since - self._paused_s

    def _settle(self, now: float, in_flight: int, generations: int) -> None:
        self._generations = generations
        self._in_flight = self._old = in_flight
        self.since = self._last_at = now
        self._answers = self._idle = 0
        self._paused_s = 0.0
