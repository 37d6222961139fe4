"""Whether half of a host's concurrent requests bring as many answers: a pure trial.

Round trips do not show every queue. Where a proxy stands before several back ends, and
one of them queues, they show no more than that some answers take long. The clock shows
it: if half of the limit brings as many answers per second, the other half only queued.

`HalfLimitTrial` counts answers while the limit stays where it is. When a trial is due,
the caller sets the limit to `begin`, and asks `count` after each answer for the next
limit. If the first half already brings clearly less, all is as before; it has cost
about one round trip at full speed. The next trial is due after a much longer time then.
"""

from __future__ import annotations

from auditor.fast_dataclass import dataclass

# Limits below are not worth a trial.
MIN_LIMIT = 16
# A trial is due when a limit stood for so many answers per request in flight, and so
# many seconds; then for a multiple of that, if there was a difference.
ANSWERS_BEFORE = 3
FIRST_S, FACTOR, MAX_S = 1.0, 4.0, 60.0
# Fewer answers, per request in flight and in all, are too few to compare.
ROUNDS, MIN_ANSWERS = 2, 32
# A limit that brought less than this multiple of its half's answers was no better:
# the mix of requests varies.
NO_GAIN = 1.4
# The trial is over at once if it brought clearly more, else after so many answers.
CLEAR_GAIN, MAX_ANSWERS = 1.75, 320
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
    """Counts the answers of one host, and compares those of a limit with its half."""

    __slots__ = (
        "_answers", "_before", "_due_after_s", "_full_limit", "_idle", "_last_at",
        "_last_gain", "_limit", "_rate", "_settling", "_since", "_tried_at",
        "is_running",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.is_running = False
        self._due_after_s = FIRST_S
        self._tried_at = self._last_at = now
        # Limit and answers per second before the trial, the limit before its last half,
        # and how many times the answers of that the first one brought.
        self._full_limit = self._limit = self._before = 0
        self._rate, self._last_gain = 0.0, 1.0
        self.restart(now)

    def restart(self, now: float) -> None:
        """Count anew: the limit has moved. Ends a trial."""
        self.is_running = False
        self._start_count(now)

    def count(
        self, now: float, *, limit: int, is_full: bool, round_trip_s: float
    ) -> TrialResult | None:
        """Count an answer; during a trial the result, once there is one.

        `is_full`: requests waited for the limit. `round_trip_s`: the usual one.
        """
        self._answers += 1
        self._idle += not is_full
        pause_s = now - self._last_at
        self._last_at = now
        is_pause = pause_s > MIN_PAUSE_S and pause_s > PAUSE * round_trip_s
        if is_pause or 2 * self._idle > self._answers:
            self._start_count(now)  # the limit was not what held requests back
        if not self.is_running:
            if self._answers >= 2 * ANSWERS_BEFORE * limit:
                self._start_count(now)  # the latest answers count
            return None
        if self._settling:
            self._settling -= 1
            if not self._settling:
                self._start_count(now)
            return None
        took_s = now - self._since
        if (
            self._answers < max(ROUNDS * self._limit, MIN_ANSWERS)
            or took_s < round_trip_s
        ):
            return None
        gain = self._rate * took_s / self._answers
        if gain < CLEAR_GAIN and self._answers < MAX_ANSWERS:
            return None
        return self._result(gain, now)

    def is_due(self, now: float, limit: int) -> bool:
        """Whether a trial can begin."""
        return (
            limit >= MIN_LIMIT
            and self._answers >= ANSWERS_BEFORE * limit
            and now - self._tried_at >= self._due_after_s
            and now > self._since
        )

    def begin(self, now: float, limit: int) -> int:
        """Begin a trial; returns half of the limit."""
        self.is_running = True
        self._full_limit = self._limit = limit
        self._rate = self._answers / (now - self._since)
        return self._next_half(1.0)

    def _next_half(self, gain: float) -> int:
        self._before, self._last_gain = self._limit, max(1.0, gain)
        self._limit = (self._limit + 1) // 2
        # Until so many were answered, more are in flight than the limit allows.
        self._settling = self._before - self._limit
        return self._limit

    def _result(self, gain: float, now: float) -> TrialResult:
        """What follows from the times the answers that all of the limit brought."""
        self._tried_at = now
        if gain <= NO_GAIN and self._limit > 1:
            return TrialResult(self._next_half(gain), is_over=False, is_less=True)
        self.is_running = False
        self._start_count(now)
        if self._before == self._full_limit:
            self._due_after_s = min(FACTOR * self._due_after_s, MAX_S)
            return TrialResult(self._full_limit, is_over=True, is_less=False)
        useful = round(min(self._limit * gain, self._before * self._last_gain))
        limit = min(self._full_limit, max(1, useful))
        return TrialResult(limit, is_over=True, is_less=True)

    def _start_count(self, now: float) -> None:
        self._since = now
        self._answers = self._idle = 0
