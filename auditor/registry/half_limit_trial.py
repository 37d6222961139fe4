"""Whether half of a host's concurrent requests bring as many answers: a pure trial.

Round trips do not show every queue. Where a proxy stands before several back ends, and
one of them queues, they show no more than that some answers take long. The clock shows
it: if half of the limit brings as many answers per second, the other half only queued.

`HalfLimitTrial` counts answers while the limit stays where it is. When a trial is due,
the caller sets the limit to `begin`, and asks `count` after each answer for the next
limit. A count begins when requests meet the queue that the limit makes, not the one
before: the answers of a growing queue come too fast, those of a shrinking one too slow.
If the first half already brings clearly less, all is as before; it has cost about two
round trips at full speed. The next trial is due after a much longer time then.
"""

from __future__ import annotations

from auditor.fast_dataclass import dataclass

# Limits below are not worth a trial.
MIN_LIMIT = 16
# The fewest answers to compare with: for each request in flight, and in all.
ANSWERS_BEFORE, MIN_BEFORE = 3, 192
# Seconds before the first trial without a sign of a queue; after any trial, before the
# next one: a multiple of that each time that half of the limit brought clearly less.
FIRST_S, WAIT_S, FACTOR, MAX_WAIT_S = 10.0, 1.0, 4.0, 60.0
# Requests meet the new queue after two generations: all that are in flight now are
# answered, then all that are in flight at that moment. The slowest sixteenth is not
# waited for, and the wait ends after eight answers for each request in flight.
GENERATIONS, SLOWEST, MOST_AFTER = 2, 16, 8
# Fewer answers, per request in flight and in all, are too few to compare.
ROUNDS, MIN_ANSWERS = 2, 32
# A limit that brought less than this multiple of its half's answers was no better:
# the mix of requests varies.
NO_GAIN = 1.4
# A count is over at once if the limit brought clearly more, or clearly not in so many
# answers; else after `MAX_ANSWERS`.
CLEAR_GAIN = 1.75
CLEARLY_NO_GAIN, MIN_CLEAR = 1.2, 128
MAX_ANSWERS = 320
# Without an answer for so long, and so many round trips, nothing was asked.
MIN_PAUSE_S, PAUSE = 0.2, 4.0


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How a trial goes on: `limit` is the next one.

    `is_over`: no further half is tried. `is_less`: fewer requests were enough.
    """

    limit: int
    is_over: bool
    is_less: bool


class HalfLimitTrial:
    """Counts the answers of one host, and compares those of a limit with its half.

    `full_limit` is the limit before the last trial.
    """

    __slots__ = (
        "_answers", "_before", "_fewest", "_first_at", "_generations", "_idle",
        "_in_flight", "_last_at", "_limit", "_next_at", "_old", "_rate", "_since",
        "_wait_s", "full_limit", "is_running",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.is_running = False
        self._wait_s = WAIT_S
        self._first_at, self._next_at, self._last_at = now + FIRST_S, now, now
        # Limit and answers per second before the trial, and the limit before its last
        # half.
        self.full_limit = self._limit = self._before = 0
        self._rate = 0.0
        self._fewest = MIN_ANSWERS
        # The count, or the requests in flight that are still waited for.
        self._generations = self._in_flight = self._old = 0
        self._since, self._answers, self._idle = now, 0, 0

    def restart(self, now: float, in_flight: int) -> None:
        """Count anew: the limit has moved, with so many in flight. Ends a trial."""
        self.is_running = False
        self._settle(now, in_flight)

    def count(
        self,
        now: float,
        *,
        sent_at: float,
        limit: int,
        is_full: bool,
        round_trip_s: float,
    ) -> TrialResult | None:
        """Count an answer; during a trial the result, once there is one.

        `is_full`: requests waited for the limit. `round_trip_s`: the usual one.
        """
        if self._generations:
            self._count_generation(now, sent_at, limit)
            return None
        self._answers += 1
        self._idle += not is_full
        pause_s = now - self._last_at
        self._last_at = now
        is_pause = pause_s > MIN_PAUSE_S and pause_s > PAUSE * round_trip_s
        if is_pause or 2 * self._idle > self._answers:
            self._start_count(now)  # the limit was not what held requests back
        if not self.is_running:
            if self._answers >= 2 * max(ANSWERS_BEFORE * limit, MIN_BEFORE):
                self._start_count(now)  # the latest answers count
            return None
        took_s = now - self._since
        if (
            self._answers < max(ROUNDS * self._limit, self._fewest)
            or took_s < round_trip_s
        ):
            return None
        gain = self._rate * took_s / self._answers
        is_clear = gain >= CLEAR_GAIN or (
            gain <= CLEARLY_NO_GAIN and self._answers >= MIN_CLEAR
        )
        if not is_clear and self._answers < MAX_ANSWERS:
            return None
        return self._result(gain, now)

    def _count_generation(self, now: float, sent_at: float, limit: int) -> None:
        self._last_at = now
        self._answers += 1
        if sent_at <= self._since:
            self._old -= 1
        left = max(1, self._in_flight // SLOWEST)
        if self._old <= left or self._answers >= MOST_AFTER * self._in_flight:
            self._generations -= 1
            self._start_count(now)
            self._in_flight = self._old = limit

    def is_due(self, now: float, limit: int, *, is_urgent: bool = False) -> bool:
        """Whether a trial can begin; without a sign of a queue, not so soon."""
        return (
            self.is_allowed(now, limit)
            and not self._generations
            and self._answers >= max(ANSWERS_BEFORE * limit, MIN_BEFORE)
            and now > self._since
            and (is_urgent or now >= self._first_at)
        )

    def is_allowed(self, now: float, limit: int) -> bool:
        """Whether the limit is worth a trial, and the last one was long ago."""
        return limit >= MIN_LIMIT and now >= self._next_at

    def begin(self, now: float, limit: int, *, is_urgent: bool = False) -> int:
        """Begin a trial; returns half of the limit. A sign of a queue makes it long."""
        self.is_running = True
        self._fewest = MIN_CLEAR if is_urgent else MIN_ANSWERS
        self.full_limit = self._limit = limit
        self._rate = self._answers / (now - self._since)
        return self._next_half(now)

    def _next_half(self, now: float) -> int:
        self._before = self._limit
        self._limit = (self._limit + 1) // 2
        self._settle(now, self._before)
        return self._limit

    def _settle(self, now: float, in_flight: int) -> None:
        """Wait until requests meet the queue that the limit makes, not the one before.

        That is so once all that are in flight now were answered, and all that are in
        flight then. The slowest are not waited for.
        """
        self._generations = GENERATIONS
        self._in_flight = self._old = in_flight
        self._start_count(now)

    def _result(self, gain: float, now: float) -> TrialResult:
        """What follows from the times the answers that all of the limit brought."""
        self._next_at = now + self._wait_s
        if gain <= NO_GAIN and self._limit > 1:
            return TrialResult(self._next_half(now), is_over=False, is_less=True)
        self.is_running = False
        self._start_count(now)
        if self._before == self.full_limit:
            if gain >= CLEAR_GAIN:
                self._wait_s = min(FACTOR * self._wait_s, MAX_WAIT_S)
            self._next_at = now + self._wait_s
            return TrialResult(self.full_limit, is_over=True, is_less=False)
        # Without a queue, so many times the requests bring so many times the answers.
        useful = round(min(self._limit * gain, self._before * NO_GAIN))
        limit = min(self.full_limit, max(1, useful))
        return TrialResult(limit, is_over=True, is_less=True)

    def _start_count(self, now: float) -> None:
        self._since = now
        self._answers = self._idle = 0
