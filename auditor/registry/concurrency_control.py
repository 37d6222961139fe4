"""How many requests one host is sent at once: a pure controller.

`ConcurrencyControl` gets the outcome of each request and sets `limit`. It has no clock
and no network. A host is observed in rounds: a round has the answers to requests that
were sent since the limit last moved, about as many as are in flight.

- Latency. The round trips of a round, divided by those of a host that is not busy (the
  baselines), are its slowdown. By Little's law a host with a slowdown of 2 works on
  half of the requests in flight; the others queue. So `limit / slowdown` of them are of
  use: the limit approaches that number, and a short queue that keeps the host busy.
- Slow start. While there is no queue, the limit becomes twice the requests that were of
  use, each round: never more than twice what the host can work on.
- Throughput. `limit / slowdown` is also the throughput, in answers per baseline. When
  slow start sees a queue, and every `BASELINE_S` while there is one, half of the limit
  is tried. If that brought as many answers as before, a half of that is tried, until
  there is no queue: the round trips then are the new baselines. If answers were as slow
  as before, there was no queue, and slow start goes on.
- The client. Its own delay is no part of round trips (loop_turns.py). While answers
  wait for it longer than they took, more requests bring nothing: the limit stays.
- Trial. A queue in a part of the host does not show in round trips: now and then, half
  of the limit is tried without a sign of a queue (half_limit_trial.py).
- Baselines. One for each class of requests, since kinds and sizes differ in work. They
  are means in which no outlier counts for much, and come with the spread of round trips
  without a queue, so that a heavy tail is not taken for one.
- Distress (429, 5xx, timeouts, lost connections). The limit is halved, once for all
  requests that were in flight together. How many of these were refused shows how many
  were accepted; the limit returns there after a round without distress, or to the last
  one that was fine for a while. After 429 and 503 no higher one is tried for `HOLD_S`,
  and slow start does not lead to the one that was refused: from there on it grows in
  small steps, until that one was fine for a while.

The ideas are those of TCP Vegas (Brakmo and Peterson, 1995: the queue from the lowest
round trip), BBR (Cardwell et al., 2016: ProbeRTT), Netflix's concurrency-limits
(VegasLimit.java, Gradient2Limit.java: a queue that grows with the root of the limit, no
growth while it is not used up), Envoy (adaptive concurrency filter: baselines measured
with few requests) and brpc (auto_concurrency_limiter.md: errors in a small part of the
requests do not count).
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from dataclasses import field, replace

from auditor.fast_dataclass import dataclass
from auditor.registry.half_limit_trial import HalfLimitTrial, TrialResult
from auditor.wire.host_concurrency import DISTRESS, Move

# As many as `docker pull` downloads at once with its default settings, and one more.
START = 4
# Answers of a round: as many as are in flight, but enough for a mean.
MIN_ROUND, MIN_QUICK_ROUND, MAX_ROUND = 16, 8, 96
# Slow start takes smaller steps while a step would be a large part of what the host can
# work on.
SMALL, SMALL_FACTOR = 9, 1.75
# So is the first one after a probe that has found no queue: where all answers come at
# the same moments, it can be mistaken.
PROBED_FACTOR = 1.5
# The limit grows only if requests waited for it at this share of the answers.
FULL = 0.75
# And not if its answers wait longer for the client than they took.
CLIENT_BUSY = 1.0
# With a fixed limit, one answer in this many is measured.
MEASURED_ONE_IN = 8
# Of a class, fewer answers say nothing.
MIN_SAMPLES = 3
# A round trip counts for at most this multiple of its round's median.
OUTLIER = 3.0
# With half of the limit, the host is as busy as before if that brought at most so many
# times the answers.
NO_GAIN = 1.15
# A slowdown up to this is no queue: timers and the client's own work are not exact.
TOLERANCE = 1.1
# How much of the spread of the answers is added to it, in standard errors.
SPREAD_ERRORS = 2.0
MAX_TOLERANCE = 1.7
# Slow start takes a longer round before it goes on above this part of the tolerance,
# and ends above this slowdown beyond it.
DOUBTFUL, QUEUE_SEEN = 1.0, 1.15
# Rounds in a row without a queue after which the limit doubles again.
CALM_ROUNDS = 3
# The queue that keeps a host busy, in square roots of the requests it works on.
QUEUE = 0.75
# With an unchanged limit, a slowdown that has grown by this factor since the last
# round comes from the host.
SUDDEN = 1.5
# Seconds after which a baseline is measured again.
BASELINE_S = 10.0
# Of so many answers a baseline is made, so that no lucky round decides it alone, unless
# it is that much faster.
MAX_WEIGHT = 256
MUCH_FASTER = 0.75
# After a limit was refused, how long no higher one is tried, doubled each time it is
# refused again soon.
HOLD_S, MAX_HOLD_S = 10.0, 160.0
# A limit that was fine for so long is no accident of a burst that a host allows.
PROVEN_S = 3.0


@dataclass(slots=True)
class _RequestClass:
    """Requests of a kind and size: their baseline and the round trips of this round.

    `spread` is the standard deviation of round trips without a queue, divided by their
    mean; `weight` is the number of answers that these two are made of. All times in
    seconds.
    """

    baseline: float = math.inf
    spread: float = 0.0
    weight: int = 0
    confirmed_at: float = -math.inf
    round_trips: list[float] = field(default_factory=list)

    def set(self, mean: float, spread: float, count: int, now: float) -> None:
        """Replace the baseline by the mean of so many answers."""
        self.baseline, self.spread = mean, spread
        self.weight, self.confirmed_at = count, now

    def add(self, mean: float, spread: float, count: int, now: float) -> None:
        """Add so many answers without a queue."""
        if mean < MUCH_FASTER * self.baseline:
            self.set(mean, spread, count, now)
            return
        share = count / (count + self.weight)
        self.baseline += share * (mean - self.baseline)
        self.spread += share * (spread - self.spread)
        self.weight = min(self.weight + count, MAX_WEIGHT)
        self.confirmed_at = now


@dataclass(slots=True)
class _Refusals:
    """The requests in flight when the limit was halved, `limit` of them.

    `refused` of them were in distress; `cause` is the first one's.
    """

    at: float
    limit: int
    cause: Move
    refused: int = 1


@dataclass(frozen=True, slots=True)
class _Probe:
    """The limit and the slowdown before baselines were measured with half of it.

    `last_limit` and `last_slowdown` are those of the last step, if one half was not
    enough.
    """

    limit: int
    slowdown: float
    last_limit: int
    last_slowdown: float


class ConcurrencyControl:
    """The limit of one host, between `least` and `most`.

    `follows_latency` is false for a fixed limit, which only distress lowers. `lowest`
    and `highest` are those of the limit so far, `moves` counts its moves by cause,
    `last_move` is the last one's, at `moved_at`. `remembered` is the limit that the
    host stood in an earlier run.

    `slowdown` is that of the last round; `baseline_s` and `round_trip_s` belong to the
    class that had the most answers in it, None before the first round.
    """

    def __init__(
        self,
        *,
        most: int,
        least: int = 1,
        remembered: int | None = None,
        follows_latency: bool = True,
        now: float = 0.0,
    ) -> None:
        self.most = most
        self.least = min(least, most)
        # Half of it: a starting point, not a truth. What is higher than the usual start
        # is tried once the baselines are known.
        self._remembered = 0 if remembered is None else remembered // 2
        start = START if remembered is None else min(START, max(1, self._remembered))
        self.limit = min(max(start, self.least), most) if follows_latency else most
        self.lowest = self.highest = self.limit
        self.last_move = Move.START
        self.moved_at = now
        self.moves: dict[Move, int] = {}
        self.slowdown = 1.0
        self.baseline_s: float | None = None
        self.round_trip_s: float | None = None
        self._follows_latency = follows_latency
        self._classes: dict[object, _RequestClass] = {}
        self._in_slow_start = follows_latency
        # Whether a probe has just found that there was no queue.
        self._was_probed = False
        # Whether slow start has just seen a queue.
        self._is_unsure = False
        self._calm_rounds = 0
        # The round.
        self._round_at = -math.inf
        self._round_limit = self.limit
        self._settling = 0
        self._round_size = MIN_QUICK_ROUND
        self._answers = self._full_answers = 0
        self._unmeasured = 0  # answers of a fixed limit
        # How long its answers took, and then waited for the client.
        self._host_s = self._client_s = 0.0
        # The limit to return to after the baselines were measured with a lower one.
        self._settled_limit = 0  # that of the last round
        self._probe: _Probe | None = None
        # Limit and slowdown before the limit was first lowered because of a queue.
        self._before_cut: tuple[int, float] | None = None
        self._refusals: _Refusals | None = None
        self._halved_at = -math.inf
        self._held_until = -math.inf
        self._hold_s = HOLD_S
        # The limit that was refused with 429 or 503 last, until it is fine again.
        self._refused = 0
        self._fine = 0  # the highest limit without distress for `PROVEN_S`
        self._fine_since = now
        self._trial = HalfLimitTrial(now)
        self._start_round(now)
        # The first answers take longer: on both sides, much is done the first time.
        self._settling = self.limit if follows_latency else 0

    @property
    def is_in_distress(self) -> bool:
        """Whether distress, or the end of it, moved the limit last."""
        return self.last_move in DISTRESS or self.last_move is Move.RECOVERED

    @property
    def found(self) -> int | None:
        """The limit that the host stands, for a later run; None if it was not found.

        A run that ends before the limit has grown shows less than the host stands, and
        so does a host that has gone down.
        """
        if self.last_move in DISTRESS and self.last_move is not Move.THROTTLED:
            return None
        limit = self.limit if self._probe is None else self._probe.limit
        is_found = not self.moves.keys() <= {Move.FASTER, Move.REMEMBERED, Move.PROBE}
        is_higher = self.moves and limit // 2 >= self._remembered
        return limit if self._follows_latency and (is_found or is_higher) else None

    def restrict(self, most: int) -> None:
        """Allow at most so many from now on."""
        if most < self.most:
            self.most, self.least = most, min(self.least, most)
            self.limit = min(self.limit, most)
            self.lowest = min(self.lowest, self.limit)

    # -- outcomes --------------------------------------------------------------

    def answered(
        self,
        kind: object,
        round_trip_s: float,
        *,
        sent_at: float,
        now: float,
        is_full: bool,
        waited_s: float = 0.0,
    ) -> None:
        """Count an answer to a request of this class, sent at `sent_at`.

        `is_full`: requests waited for the limit. `waited_s`: how long the answer then
        waited for the client, which is no part of the round trip.
        """
        if not self._follows_latency:
            # Then nothing but the summary has use for round trips: some are enough.
            self._unmeasured += 1
            if self._unmeasured < MEASURED_ONE_IN and self.limit == self.most:
                return
            self._unmeasured = 0
        else:
            result = self._trial.count(
                now,
                limit=self.limit,
                is_full=is_full,
                round_trip_s=self.round_trip_s or 0.0,
            )
            if result is not None:
                self._continue_trial(result, now)
        if sent_at < self._round_at or self._trial.is_running:
            return
        if self._settling:
            self._settling -= 1
            return
        found = self._classes.get(kind)
        if found is None:
            found = self._classes[kind] = _RequestClass()
        found.round_trips.append(round_trip_s)
        self._answers += 1
        self._full_answers += is_full
        self._host_s += round_trip_s
        self._client_s += waited_s
        if self._answers >= self._round_size:
            self._end_round(now)

    def distressed(self, cause: Move, *, sent_at: float, now: float) -> None:
        """Halve the limit, unless it was since this request was sent."""
        refusals = self._refusals
        if sent_at <= self._halved_at:
            if refusals is not None:
                refusals.refused += 1
            return
        self._halved_at = now
        self._refusals = _Refusals(now, self.limit, cause)
        if cause is Move.THROTTLED:
            self._refused = self.limit
        if self._fine >= self.limit:
            self._fine = 0
        self._in_slow_start = False
        self._probe = self._before_cut = None
        self._move(max(self.least, self.limit // 2), cause, now)
        self._trial.restart(now)
        self._start_round(now)

    # -- rounds ----------------------------------------------------------------

    def _start_round(self, now: float) -> None:
        self._round_at = now
        self._answers = self._full_answers = 0
        self._host_s = self._client_s = 0.0
        for one in self._classes.values():
            one.round_trips.clear()
        # The first answers after a move show the queue that it leaves behind. Slow
        # start does not wait for that.
        has_moved = self.limit != self._round_limit
        self._settling = self.limit if has_moved and not self._in_slow_start else 0
        self._round_limit = self.limit
        if not self._follows_latency and self.limit == self.most:
            self._settling = 0
            self._round_size = MIN_QUICK_ROUND
        elif self._refusals is not None or not self._follows_latency:
            self._settling = 0
            self._round_size = max(self.limit, MIN_SAMPLES)
        elif self._in_slow_start:
            self._round_size = max(self.limit, MIN_QUICK_ROUND)
        else:
            rounds = 1 if self._probe is not None else 2
            self._round_size = min(max(rounds * self.limit, MIN_ROUND), MAX_ROUND)

    def _end_round(self, now: float) -> None:
        is_full = self._full_answers >= FULL * self._answers
        if self.limit >= SMALL and self._client_s > CLIENT_BUSY * self._host_s:
            is_full = False  # the client is what holds requests back
        if self._refusals is not None:
            self._recover(now)
        elif not self._follows_latency:
            self._measure(now)
            if now >= self._held_until:
                self._move(self.limit + 1, Move.RECOVERED, now)
        else:
            self._follow(now, is_full=is_full)
        if now - self._fine_since >= PROVEN_S:
            self._fine = max(self._fine, self.limit)
            if self.limit >= self._refused:
                self._refused = 0
        self._start_round(now)

    def _follow(self, now: float, *, is_full: bool) -> None:
        """Move the limit after a round without distress."""
        before = self.slowdown
        tolerance = self._measure(now)
        if self._probe is not None:
            self._end_probe(self._probe, tolerance, now)
            return
        is_settled = self._settled_limit == self.limit
        if is_settled and self.slowdown > SUDDEN * before:
            # A queue that is growing: the next round shows how long it gets.
            self._settled_limit = 0
            return
        self._settled_limit = self.limit
        if self._has_slowed_down(tolerance):
            self._measure_anew(now)
            self._in_slow_start = True
            self._note(Move.CHANGED, now)
        elif not self._doubts_queue(tolerance, now):
            limit = self.limit
            self._approach_target(tolerance, now, is_full=is_full)
            is_steady = self.limit == limit and is_full and self.slowdown <= tolerance
            if is_steady and limit >= 2 * self.least and self._trial.is_due(now, limit):
                self._move(self._trial.begin(now, limit), Move.PROBE, now)

    def _doubts_queue(self, tolerance: float, now: float) -> bool:
        """Whether another round has to show if there is a queue; begin a probe for it.

        Also ends slow start, or begins it again after rounds without a queue.
        """
        was_unsure, self._is_unsure = self._is_unsure, False
        slowdown = self.slowdown
        if self._in_slow_start and slowdown > 1 + DOUBTFUL * (tolerance - 1):
            self._in_slow_start = False
            self._is_unsure = True  # the next round is longer
            return True
        if slowdown <= tolerance:
            self._calm_rounds += 1
            self._before_cut = None
            if was_unsure or self._calm_rounds >= CALM_ROUNDS:
                self._in_slow_start = self._may_double(now)
            return False
        self._calm_rounds = 0
        if self._is_baseline_old(now) or (
            was_unsure and slowdown > QUEUE_SEEN * tolerance
        ):
            return self._begin_probe(now)
        return False

    def _approach_target(self, tolerance: float, now: float, *, is_full: bool) -> None:
        slowdown, limit = self.slowdown, self.limit
        target = self._target(limit, slowdown, tolerance)
        if target <= limit - max(1, limit // 8):
            lowered = max(self.least, round(max(target, limit / 2)))
            if lowered < limit:
                self._before_cut = self._before_cut or (limit, slowdown)
                self._move(lowered, Move.QUEUE, now)
        elif not is_full or now < self._held_until:
            return
        elif not self._in_slow_start:
            raised = min(math.floor(target), limit + max(1, limit // 8))
            self._move(max(limit, raised), Move.FASTER, now)
        else:
            factor = SMALL_FACTOR if limit < SMALL else 2
            if self._was_probed:
                factor, self._was_probed = PROBED_FACTOR, False
            raised = math.ceil(factor * limit / max(1.0, slowdown))
            if raised < self._remembered and slowdown <= tolerance:
                self._move(self._remembered, Move.REMEMBERED, now)
            else:
                self._move(max(limit, raised), Move.FASTER, now)
            self._in_slow_start = self._may_double(now)

    @staticmethod
    def _target(limit: int, slowdown: float, tolerance: float) -> float:
        """The requests that are of use, and some that keep the host busy."""
        useful = limit / max(1.0, slowdown / tolerance)
        return useful + max(1.0, QUEUE * math.sqrt(useful))

    def _has_slowed_down(self, tolerance: float) -> bool:
        """Whether answers are slow for another reason than the queue of ours.

        Then the limit was lowered a lot, and they did not get faster.
        """
        if self._before_cut is None or self.slowdown <= tolerance:
            return False
        before, was = self._before_cut
        return self.limit <= 0.6 * before and self.slowdown > 0.9 * was

    # -- probes ----------------------------------------------------------------

    def _begin_probe(self, now: float) -> bool:
        """Measure the baselines with half of the limit; false if it is the least."""
        self._before_cut = None
        if self.limit <= self.least:
            return False
        self._probe = _Probe(self.limit, self.slowdown, self.limit, self.slowdown)
        self._move(max(self.least, (self.limit + 1) // 2), Move.PROBE, now)
        return True

    def _end_probe(self, probe: _Probe, tolerance: float, now: float) -> None:
        """Compare with the answers before the limit was halved."""
        self._probe = None
        slowdown, limit = self.slowdown, self.limit
        is_first = probe.limit == probe.last_limit
        # What a queue would have left, and what no queue would.
        shorter = max(1.0, probe.last_slowdown * limit / probe.last_limit)
        is_same = slowdown >= (shorter + probe.last_slowdown) / 2
        if is_same and is_first:
            # Fewer requests were not answered faster: there was no queue.
            self._measure_anew(now)
            self._in_slow_start = self._may_double(now)
            self._was_probed = True
            self._move(probe.limit, Move.PROBE, now)
            return
        useful_before = probe.last_limit / probe.last_slowdown
        is_saturated = useful_before <= NO_GAIN * limit / slowdown
        if is_saturated and not is_same and limit > self.least:
            # Half of the requests were answered as often: there is a queue still.
            self._probe = replace(probe, last_limit=limit, last_slowdown=slowdown)
            self._move(max(self.least, (limit + 1) // 2), Move.PROBE, now)
            return
        was = probe.slowdown
        if slowdown <= tolerance or not is_first:
            self._measure_anew(now)
            was /= slowdown
        target = self._target(probe.limit, was, tolerance)
        self._move(min(probe.limit, round(target)), Move.QUEUE, now)

    def _continue_trial(self, result: TrialResult, now: float) -> None:
        """Take the limit that a trial names."""
        limit = max(self.least, result.limit)
        if result.is_over and result.is_less:
            self._hold(now)
            self._move(limit + round(QUEUE * math.sqrt(limit)), Move.QUEUE, now)
        else:
            self._move(limit, Move.PROBE, now)
        if result.is_over:
            self._start_round(now)

    def _may_double(self, now: float) -> bool:
        """Whether slow start can go on: not to a limit that was refused lately."""
        is_known = 0 < self._refused < 2 * self.limit
        return now >= self._held_until and not is_known

    def _hold(self, now: float) -> None:
        """Try no higher limit for a while, longer if that is so again."""
        is_again = now < self._held_until + self._hold_s
        self._hold_s = min(2 * self._hold_s, MAX_HOLD_S) if is_again else HOLD_S
        self._held_until = now + self._hold_s
        self._in_slow_start = False
        self._calm_rounds = 0

    def _recover(self, now: float) -> None:
        """A round without distress: return to what the host accepted."""
        refusals = self._refusals
        assert refusals is not None
        self._refusals = None
        before, refused, cause = refusals.limit, refusals.refused, refusals.cause
        target = self.limit
        if cause is not Move.THROTTLED:
            if refused <= max(1, before // 20):
                target = before  # an accident
        else:
            if 2 * refused < before:
                target = round(0.95 * (before - refused))
            if 0 < self._fine < before:
                target = max(target, self._fine)
            self._hold(now)
        self._calm_rounds = 0
        self._move(max(self.limit, target), Move.RECOVERED, now)

    # -- baselines -------------------------------------------------------------

    def _measure(self, now: float) -> float:
        """Set `slowdown` from the round; returns the tolerance."""
        took = expected = variance = 0.0
        most = 0
        for one in self._classes.values():
            times = one.round_trips
            if len(times) < MIN_SAMPLES:
                continue
            count, (mean, deviation) = len(times), _mean_and_deviation(times)
            if one.baseline == math.inf:
                one.set(mean, deviation / mean, count, now)
            took += count * mean
            expected += count * one.baseline
            error = one.spread * one.baseline
            variance += error**2 * count * (1 + count / one.weight)
            if self._probe is None and mean <= TOLERANCE * one.baseline:
                one.add(mean, deviation / mean, count, now)
            if count > most:
                most, self.baseline_s, self.round_trip_s = count, one.baseline, mean
        if not expected:
            return MAX_TOLERANCE
        self.slowdown = took / expected
        error = math.sqrt(variance) / expected
        return min(TOLERANCE + SPREAD_ERRORS * error, MAX_TOLERANCE)

    def _measure_anew(self, now: float) -> None:
        """Take the answers of this round for the baselines."""
        for one in self._classes.values():
            if (count := len(one.round_trips)) >= MIN_SAMPLES:
                mean, deviation = _mean_and_deviation(one.round_trips)
                one.set(mean, deviation / mean, count, now)

    def _is_old(self, one: _RequestClass, now: float) -> bool:
        return now - one.confirmed_at >= max(BASELINE_S, 20 * one.baseline)

    def _is_baseline_old(self, now: float) -> bool:
        return any(
            self._is_old(one, now)
            for one in self._classes.values()
            if len(one.round_trips) >= MIN_SAMPLES
        )

    # -- moves -----------------------------------------------------------------

    def _move(self, limit: int, cause: Move, now: float) -> None:
        limit = min(limit, self.most)
        if limit != self.limit:
            self.limit = limit
            if not self._trial.is_running:
                self._trial.restart(now)
            self._fine_since = now
            self.lowest = min(self.lowest, limit)
            self.highest = max(self.highest, limit)
            self._note(cause, now)

    def _note(self, cause: Move, now: float) -> None:
        self.last_move, self.moved_at = cause, now
        self.moves[cause] = self.moves.get(cause, 0) + 1


def _mean_and_deviation(times: list[float]) -> tuple[float, float]:
    """Mean and standard deviation of times, none taken for more than `OUTLIER` medians.

    The mean is more than 0.
    """
    ranked = sorted(times)
    count = len(ranked)
    most = OUTLIER * ranked[count // 2]
    kept = bisect_right(ranked, most)
    if kept < count:
        ranked[kept:] = [most] * (count - kept)
    mean = sum(ranked) / count
    squares = sum(map(operator.mul, ranked, ranked)) / count
    return max(mean, 1e-9), math.sqrt(max(0.0, squares - mean * mean))
