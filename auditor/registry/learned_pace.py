"""The requests per second that a host accepts, where even one at a time is too many.

`LearnedPace` gets each answer and refusal (429, 503) of a host that is sent as few
requests at once as its limit allows. It has no clock and no network.

- Refusals. With each refusal in a row the pause is longer, for all requests.
- What is proven. A host that refuses has nothing left. So it has gained as many
  requests as it accepts from then on: their number by the time since is a rate that it
  stands, whatever it allows in a burst. For a token bucket it is a lower bound, which
  becomes exact while requests come at about the host's rate.
- Search. A pace that was refused is an upper bound. While the two are far apart, their
  geometric mean is tried.
- Hold. Then the pace stays. A little more is tried after a while, and more and more
  while that is accepted; later each time it is refused.
- Windows. Where a host refuses for long after it has accepted many, the pace is what it
  accepted from the end of a window to the end of the next one.
- End. There is no pace any more when requests do not wait for it: a host that has
  refused requests for a minute is not asked slowly for a night.
- Doubts. A 503 can be that of a broken image. Such requests are refused again, others
  are not: then there is no pace. Or a part of a host is broken, and refuses at any
  pace, even the slowest one: then there is none for some time. Or a host fails now and
  then: that makes a pace no slower.
"""

from __future__ import annotations

import math

# The longest pause between two requests after refusals in a row, in seconds.
MAX_PAUSE_S = 30.0
# The factor of that pause from one refusal to the next.
LONGER = 4.0
# The slowest pace, in requests per second: a slower one would take hours to recover.
# A host that accepts less shows that with long refusals.
SLOWEST = 0.25
# Round trips are at least so long, in seconds.
MIN_ROUND_TRIP_S = 0.001
# The slowest pace after the first refusals: those of a window of a minute do not mean
# that a host accepts one request a minute. Later ones slow it down to a part of it.
FIRST_SLOWEST, SLOWER = 0.5, 4
# Answers that show a rate, those after which a pace is known to be accepted, and those
# that show a rate so well that no other one is searched for.
MEASURED, SETTLED, CERTAIN = 4, 8, 16
# The end of a window is waited for if more turns than these pass without an answer.
LONG = 8
# Of a pace that was refused: what is tried if nothing better is proven, and what is
# near enough to it. In a search, this many times the pace at most.
REDUCED, NEAR, DOUBLED = 0.7, 0.85, 2.0
# Of what is proven, the part that is sent: networks make some gaps shorter. If that is
# refused, this part of it.
SAFE, LESS = 0.98, 0.95
# After the search, the factor of the first step; its excess doubles with each step.
STEP = 1.04
# A 503 can be that of a broken image, at any pace. Such a request is refused again and
# again, others are not; a rate limit refuses them alike. So there is no rate limit if,
# of the last `BLOCK` answers or so, at least `MANY` were to requests that were refused
# before, more than this part of them 503, and less than that part of the others.
BLOCK, MANY, AGAIN, AT_FIRST = 32, 6, 0.8, 0.4
# A 503 does not lower a pace that is held if a pace has at least `ACCIDENT` answers
# before one: a moving mean of about `AVERAGED` numbers, each at most `MOST_COUNTED`.
ACCIDENT, AVERAGED, MOST_COUNTED = 16, 8, 64
# The longest pause after a 503, in seconds; after more than this number of refusals in
# a row it is not longer than that of the pace.
MAX_DOUBTFUL_PAUSE_S, MAX_DOUBTFUL_ROW = 2.0, 8
# Seconds in which no 503 counts after one at the slowest pace, doubled each time: to
# come down to that takes some minutes.
IGNORED_S = 160.0
# Seconds without a step after one, and after a refusal, doubled with each refusal.
HOLD_S, MAX_HOLD_S = 10.0, 160.0


class LearnedPace:
    """The pace of one host. Times are seconds of one monotonic clock.

    `rate` is in requests per second, None while nothing is spaced; `lowest` the lowest
    one so far. `next_at` is the time of the next request. `is_active`: requests are to
    wait for that.
    """

    __slots__ = (
        "_accepted", "_again", "_again_refused", "_before", "_between", "_ceiling",
        "_fresh", "_fresh_refused", "_held_until", "_hold_s", "_ignored_s",
        "_ignored_until", "_in_row", "_is_searching", "_mean_settled", "_previous",
        "_quickest_s", "_refused_at", "_resumed_at", "_series_at", "_set_at",
        "_settled", "_since", "_step", "is_active", "lowest", "next_at", "rate",
    )  # fmt: skip

    def __init__(self) -> None:
        self.rate: float | None = None
        self.lowest: float | None = None
        self.next_at = -math.inf
        self.is_active = False
        # Refusals without an answer between them, the first and the last of them.
        self._in_row = 0
        self._series_at = self._refused_at = -math.inf
        # Answers since the last series, which ended at `_resumed_at`, and before it.
        self._between = self._before = SETTLED
        self._resumed_at = -math.inf
        # The refusal since which accepted requests are counted, and the pace that was
        # refused last: a higher one is not searched for.
        self._since: float | None = None
        self._accepted = 0
        self._ceiling = math.inf
        # When the pace has changed, and the answers since then.
        self._set_at, self._settled = -math.inf, 0
        self._quickest_s = math.inf  # the shortest round trip of these
        self._is_searching = True
        # The pace before the last step, None if there was none since a refusal.
        self._previous: float | None = None
        self._step = STEP
        self._hold_s, self._held_until = HOLD_S, -math.inf
        # Answers of the last block to requests that were refused before, and to others.
        self._again = self._again_refused = 0
        self._fresh = self._fresh_refused = 0
        self._ignored_s, self._ignored_until = IGNORED_S, -math.inf
        self._mean_settled = 0.0  # the mean of `_settled` at the first refusal in a row

    def sent(self, now: float) -> None:
        """A request is sent."""
        if self.rate is not None:
            self.next_at = now + 1 / self.rate

    def refused(
        self,
        *,
        sent_at: float,
        now: float,
        at_once: int,
        refusals: int = 0,
        is_certain: bool = True,
    ) -> None:
        """Count a refusal; requests that were in flight together are one.

        `at_once`: the requests that may be in flight. `refusals`: how often the request
        was refused before. `is_certain`: the rate is the reason, as the status says.
        """
        if sent_at <= self._refused_at or (
            not is_certain and now < self._ignored_until
        ):
            return
        self._count(refusals, is_doubtful=not is_certain)
        is_slowest = self.rate == SLOWEST and sent_at >= self._set_at
        if is_slowest and not is_certain and not self._in_row:
            self._ignored_until = now + self._ignored_s
            self._ignored_s *= 2
        self._refused_at, before_at = now, self._refused_at
        if not self._is_likely or now < self._ignored_until:
            self._in_row = 0
            self._hold_s = HOLD_S
            self._end()
            return
        self._in_row += 1
        rate, round_trip_s = self.rate, max(now - sent_at, MIN_ROUND_TRIP_S)
        if self._in_row == 1:
            self._series_at = now
            self._before, self._between = self._between, 0
            counted = min(self._settled, MOST_COUNTED)
            self._mean_settled += (counted - self._mean_settled) / AVERAGED
            if rate is None:
                self._begin(at_once / round_trip_s, before_at, now)
        if rate is not None and sent_at >= self._set_at:
            is_kept = self._is_accident and not is_certain
            # Two in a row are no accident. The first has not changed the pace then.
            is_second = self._in_row == 2 and self._set_at < self._series_at
            if (is_second and not is_certain) or (self._in_row == 1 and not is_kept):
                self._lower(rate, now)
        gap_s = round_trip_s if self.rate is None else 1 / self.rate
        pause_s = gap_s * LONGER ** min(self._in_row - 1, 20)
        longest_s = MAX_PAUSE_S
        if not is_certain:
            is_long = self._in_row > MAX_DOUBTFUL_ROW
            longest_s = 0.0 if is_long else MAX_DOUBTFUL_PAUSE_S
        self.next_at = now + min(pause_s, max(gap_s, longest_s))
        self.is_active = True

    def accepted(
        self,
        *,
        sent_at: float,
        now: float,
        at_once: int,
        refusals: int = 0,
        round_trip_s: float | None = None,
    ) -> None:
        """Count an answer, which took `round_trip_s` if that is not until `now`."""
        if self._since is None or sent_at <= self._refused_at:
            return
        self._count(refusals)
        took_s = now - sent_at if round_trip_s is None else round_trip_s
        self._quickest_s = min(self._quickest_s, max(took_s, MIN_ROUND_TRIP_S))
        unpaced = at_once / self._quickest_s
        if self._in_row:
            self._end_series(now, unpaced)
        self._between += 1
        self._accepted += 1
        rate = self.rate
        if rate is None:
            return
        self._settled += 1
        is_far = DOUBLED * DOUBLED * rate < self._ceiling and self._is_searching
        if self._settled >= (MEASURED if is_far else SETTLED):
            self._raise(rate, unpaced, now)

    # -- lower -----------------------------------------------------------------

    def _begin(self, unpaced: float, before_at: float, now: float) -> None:
        """At the first refusal in a row without a pace; the last was at `before_at`."""
        if self._since is None or now - before_at > MAX_HOLD_S:
            self._count_from(now)
            self._hold_s = HOLD_S
        elif self._accepted >= MEASURED:
            rate = self._accepted / (now - self._since)
            if self.lowest is not None:  # there was a pace, and it ended too early
                self._hold_s = min(2 * self._hold_s, MAX_HOLD_S)
            self._set(min(SAFE * rate, NEAR * unpaced), now)
            self._ceiling = unpaced
            self._is_searching = self._accepted < CERTAIN
            self._mean_settled = min(self._accepted, MOST_COUNTED)
            self._hold(now)
            self._count_from(now)

    def _lower(self, rate: float, now: float) -> None:
        """After a refusal of this pace."""
        assert self._since is not None
        most = (LESS if self._before >= SETTLED else REDUCED) * rate
        proven = 0.0
        if self._accepted >= SETTLED:
            proven = SAFE * self._accepted / (now - self._since)
        self._ceiling = rate
        if self._is_searching or self._previous is None:
            lower = max(proven, REDUCED * rate)
            self._held_until = now + self._hold_s
        else:
            # A host that accepted many at the new pace did so out of a burst: the pace
            # before can be too much, too.
            lower = self._previous
            if self._settled > SETTLED and proven > NEAR * lower:
                lower = min(lower, proven)
            self._hold_s = min(2 * self._hold_s, MAX_HOLD_S)
            self._hold(now)
        self._set(min(lower, most), now)
        self._count_from(now)

    def _end_series(self, now: float, unpaced: float) -> None:
        """At the first answer after refusals: often several mean a slower pace."""
        rate, waited_s = self.rate, now - self._series_at
        if self._in_row > 1 and self._before < SETTLED:
            slowest = FIRST_SLOWEST if rate is None else rate / SLOWER
            self._ceiling = unpaced if rate is None else rate
            self._set(max(slowest, 1 / waited_s), now)
            self._is_searching = True
        elif (
            rate is not None
            and not self._is_searching
            and waited_s * rate > LONG
            and self._before >= CERTAIN
        ):
            measured = SAFE * self._before / (now - self._resumed_at)
            if measured < rate:
                self._set(measured, now)
        self._held_until += waited_s
        self._in_row = 0
        self._settled = 0
        self._resumed_at = now
        self.is_active = self.rate is not None
        if self.rate is not None:
            self.next_at = now + 1 / self.rate

    # -- raise -----------------------------------------------------------------

    def _raise(self, rate: float, unpaced: float, now: float) -> None:
        if self._is_searching:
            if rate < NEAR * self._ceiling:
                self._set(min(math.sqrt(rate * self._ceiling), DOUBLED * rate), now)
                return
            self._is_searching = False
            self._hold(now)
        if now >= self._held_until:
            if rate >= unpaced:
                self._end()
                return
            self._previous = rate
            self._set(rate * self._step, now)
            self._step = min(2 * self._step - 1, DOUBLED)
            self._held_until = now + HOLD_S

    def _hold(self, now: float) -> None:
        self._held_until = now + self._hold_s
        self._step = STEP
        self._previous = None

    def _end(self) -> None:
        """Requests do not wait for the pace any more."""
        self.rate = None
        self.is_active = False

    # -- doubts ----------------------------------------------------------------

    @property
    def _is_likely(self) -> bool:
        """Whether the refusals can be those of a rate limit."""
        return (
            self._again < MANY
            or self._again_refused <= AGAIN * self._again
            or self._fresh_refused >= AT_FIRST * self._fresh
        )

    def _count(self, refusals: int, *, is_doubtful: bool = False) -> None:
        if refusals:
            if self._again >= BLOCK:  # the past counts less and less
                self._again //= 2
                self._again_refused //= 2
            self._again += 1
            self._again_refused += is_doubtful
        else:
            if self._fresh >= BLOCK:
                self._fresh //= 2
                self._fresh_refused //= 2
            self._fresh += 1
            self._fresh_refused += is_doubtful

    @property
    def _is_accident(self) -> bool:
        """Whether a 503 shows nothing about the pace that is held."""
        is_held = not self._is_searching and self._previous is None
        return is_held and self._mean_settled >= ACCIDENT

    # -- state -----------------------------------------------------------------

    def _set(self, rate: float, now: float) -> None:
        rate = max(rate, SLOWEST)
        self.rate, self._set_at = rate, now
        self.lowest = rate if self.lowest is None else min(self.lowest, rate)
        self._settled = 0
        self._quickest_s = math.inf

    def _count_from(self, now: float) -> None:
        self._since, self._accepted = now, 0
