"""How many requests one host is sent at once: a pure controller.

`ConcurrencyControl` gets the outcome of each request and sets `limit`. It has no clock
and no network. A host is observed in rounds: a round has the answers to requests that
were sent in it, about as many as are in flight.

- Latency. The round trips of a round, divided by those of a host that is not busy (the
  baselines), are its slowdown. By Little's law a host with a slowdown of 2 works on
  half of the requests in flight; the others queue. So `limit / slowdown` of them are of
  use: the limit approaches that number, and a short queue that keeps the host busy.
- Slow start. While there is no queue, the limit becomes twice the requests that were of
  use, each round: never more than twice what the host can work on.
- Probes. When slow start sees a queue, and now and then while there is one, the
  baselines are measured with half of the limit (queue_probe.py). If answers are as slow
  as before, either the host is slower than it was, or others queue there: higher
  baselines are tried, and are right only if twice the requests are not slower.
  So several audits of a host, which see one queue, do not take it for a slow host.
- The client. Its own delay is no part of round trips (loop_turns.py). While answers
  wait for it longer than they took, more requests bring nothing: the limit stays.
- Trials. A queue in a part of the host makes only some answers slow. If these take much
  longer than usual, and rarely without such a sign, half of the limit is tried, and
  answers are compared by the clock (half_limit_trial.py).
- Distress (429, 5xx, timeouts, lost connections). The limit is halved, once for all
  requests that were in flight together, and returns to what the host accepted after a
  round without distress (refused_limits.py).

The ideas are those of TCP Vegas (Brakmo and Peterson, 1995: the queue from the lowest
round trip), BBR (Cardwell et al., 2016: ProbeRTT), Netflix's concurrency-limits
(VegasLimit.java, Gradient2Limit.java: a queue that grows with the root of the limit, no
growth while it is not used up), Envoy (adaptive concurrency filter: baselines measured
with few requests) and brpc (auto_concurrency_limiter.md: errors in a small part of the
requests do not count).
"""

from __future__ import annotations

import math

from auditor.registry.half_limit_trial import HalfLimitTrial, TrialResult
from auditor.registry.queue_probe import QueueProbe, Verdict
from auditor.registry.refused_limits import RefusedLimits
from auditor.registry.round_trip_baselines import (
    FAR_SLOWER,
    MIN_SAMPLES,
    RoundTripBaselines,
)
from auditor.wire.host_concurrency import DISTRESS, Move

# As many as `docker pull` downloads at once with its default settings, and one more.
START = 4
# Answers of a round: as many as are in flight, but enough for a mean.
MIN_ROUND, MIN_QUICK_ROUND, MAX_ROUND = 16, 8, 96
# And enough seconds that a moment in which something else ran does not decide it.
MIN_ROUND_S, MIN_QUICK_ROUND_S = 0.1, 0.02
# Slow start takes smaller steps while a step would be a large part of what the host can
# work on; and where the first answers after a step are much faster than the others, it
# waits for those.
SMALL, SMALL_FACTOR = 9, 1.7
# So is the first one after a probe that has found no queue: where all answers come at
# the same moments, it can be mistaken.
PROBED_FACTOR = 1.5
# The limit grows only if requests waited for it at this share of the answers.
FULL = 0.75
# And not if its answers wait longer for the client than they took.
CLIENT_BUSY = 1.0
# With a fixed limit, one answer in this many is measured.
MEASURED_ONE_IN = 8
# Higher baselines are tried with twice the requests, at least `MIN_TRIED`, in a round
# of `TRIED_ROUND` answers. They are wrong if the answers are slower by more than this
# part of the tolerance.
MIN_TRIED, TRIED_ROUND, TRY_TOLERANCE = 5, 32, 0.5
# Seconds until others are tried, doubled each time that they were wrong.
TRY_WAIT_S, MAX_TRY_WAIT_S = 2.0, 600.0
# Slow start ends if the slowdown of a second, longer round exceeds the tolerance by
# this factor.
QUEUE_SEEN = 1.15
# Rounds in a row without a queue after which the limit doubles again.
CALM_ROUNDS = 3
# The queue that keeps a host busy, in square roots of the requests it works on.
QUEUE = 0.75
# With an unchanged limit, a slowdown that has grown by this factor since the last
# round comes from the host.
SUDDEN = 1.5


class ConcurrencyControl:
    """The limit of one host, between `least` and `most`.

    `follows_latency` is false for a fixed limit, which only distress lowers. `lowest`
    and `highest` are those of the limit so far, `moves` counts its moves by cause,
    `last_move` is the last one's, at `moved_at`. `remembered` is the limit that the
    host stood in an earlier run.

    `baselines` has the round trips of the last round, and those without a queue.
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
        self.baselines = RoundTripBaselines()
        self._follows_latency = follows_latency
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
        self._settled_limit = 0  # that of the last round
        self._probe: QueueProbe | None = None
        self._tried_limit = 0  # the one before higher baselines were tried
        self._try_wait_s, self._next_try_at = TRY_WAIT_S, -math.inf
        # Limit and slowdown before the limit was first lowered because of a queue.
        self._before_cut: tuple[int, float] | None = None
        self._refused = RefusedLimits(now)
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
        limit = self.limit
        if self._trial.is_running:
            limit = self._trial.full_limit
        elif self._probe is not None:
            limit = self._probe.limit
        limit = min(limit, self.most)
        is_found = not self.moves.keys() <= {Move.FASTER, Move.REMEMBERED, Move.PROBE}
        is_higher = self.moves and limit // 2 >= self._remembered
        return limit if self._follows_latency and (is_found or is_higher) else None

    def restrict(self, most: int) -> None:
        """Lower the upper bound to `most`; a higher one changes nothing."""
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
                sent_at=sent_at,
                limit=self.limit,
                is_full=is_full,
                round_trip_s=self.baselines.round_trip_s or 0.0,
            )
            if result is not None:
                self._continue_trial(result, now)
        if self._trial.is_running:
            return
        is_settling = sent_at < self._round_at or self._settling > 0
        self.baselines.count(kind, round_trip_s, is_sent_in_round=not is_settling)
        if sent_at < self._round_at:
            return
        if self._settling:
            self._settling -= 1
            return
        self._answers += 1
        self._full_answers += is_full
        self._host_s += round_trip_s
        self._client_s += waited_s
        is_clear = self._answers >= MIN_ROUND and self.baselines.is_far_slower
        if self._answers >= self._round_size or is_clear:
            least_s = MIN_QUICK_ROUND_S if self._in_slow_start else MIN_ROUND_S
            if now - self._round_at >= least_s:
                self._end_round(now)

    def distressed(self, cause: Move, *, sent_at: float, now: float) -> None:
        """Halve the limit, unless it was since this request was sent."""
        if not self._refused.is_new(self.limit, cause, sent_at=sent_at, now=now):
            return
        self._in_slow_start = False
        self._probe = self._before_cut = None
        self._tried_limit = 0
        self.baselines.end_try(now, is_right=False)
        self._trial.restart(now, self.limit)
        self._move(self.limit // 2, cause, now)
        self._start_round(now)

    # -- rounds ----------------------------------------------------------------

    def _start_round(self, now: float) -> None:
        self._round_at = now
        self._answers = self._full_answers = 0
        self._host_s = self._client_s = 0.0
        self.baselines.start_round()
        # The first answers after a move show the queue that it leaves behind. Slow
        # start does not wait for that.
        has_moved = self.limit != self._round_limit
        self._settling = self.limit if has_moved and not self._in_slow_start else 0
        self._round_limit = self.limit
        if not self._follows_latency and self.limit == self.most:
            self._settling = 0
            self._round_size = MIN_QUICK_ROUND
        elif self._refused.is_halved or not self._follows_latency:
            self._settling = 0
            self._round_size = max(self.limit, MIN_SAMPLES)
        elif self._in_slow_start:
            fewest = MIN_QUICK_ROUND if not self._tried_limit else TRIED_ROUND
            rounds = 2 if SMALL <= self.limit < 2 * SMALL else 1
            self._round_size = max(rounds * self.limit, fewest)
        else:
            rounds = 1 if self._probe is not None else 2
            self._round_size = min(max(rounds * self.limit, MIN_ROUND), MAX_ROUND)

    def _end_round(self, now: float) -> None:
        is_full = self._full_answers >= FULL * self._answers
        if self.limit >= SMALL and self._client_s > CLIENT_BUSY * self._host_s:
            is_full = False  # the client is what holds requests back
        if self._refused.is_halved:
            self._calm_rounds = 0
            self._in_slow_start = False
            self._move(self._refused.recovered(self.limit, now), Move.RECOVERED, now)
        elif not self._follows_latency:
            self.baselines.measure(now, learn=True)
            if self._refused.may_grow(now):
                self._move(self.limit + 1, Move.RECOVERED, now)
        else:
            self._follow(now, is_full=is_full)
        self._refused.was_fine(self.limit, now)
        self._start_round(now)

    def _follow(self, now: float, *, is_full: bool) -> None:
        """Move the limit after a round without distress."""
        baselines = self.baselines
        before = baselines.slowdown
        baselines.measure(now, learn=self._probe is None and not self._tried_limit)
        if self._probe is not None:
            self._end_probe(self._probe, now)
            return
        is_settled = self._settled_limit == self.limit
        is_sudden = SUDDEN * before < baselines.slowdown < FAR_SLOWER
        if is_settled and is_sudden:
            # A queue that is growing: the next round shows how long it gets.
            self._settled_limit = 0
            return
        self._settled_limit = self.limit
        if self._is_try_wrong(now):
            return
        if self._has_slowed_down() and now >= self._next_try_at:
            self._try_baselines(self.limit, now)
            self._note(Move.CHANGED, now)
        elif not self._doubts_queue(now):
            self._seek_better(now, is_full=is_full)

    def _seek_better(self, now: float, *, is_full: bool) -> None:
        """Approach the limit that round trips show, or try half of it."""
        limit, trial = self.limit, self._trial
        # A queue in a part of the host only shows in a trial.
        is_urgent = (
            is_full
            and limit >= 2 * self.least
            and self.baselines.has_long_tail
            and trial.is_allowed(now, limit)
        )
        if not is_urgent:
            self._approach_target(now, is_full=is_full)
        if self.limit != limit or not is_full or self.baselines.has_queue:
            return
        if limit >= 2 * self.least and trial.is_due(now, limit, is_urgent=is_urgent):
            half = trial.begin(now, limit, is_urgent=is_urgent)
            self._move(half, Move.PROBE, now)

    def _doubts_queue(self, now: float) -> bool:
        """Whether another round has to show if there is a queue; begin a probe for it.

        Also ends slow start, or begins it again after rounds without a queue.
        """
        was_unsure, self._is_unsure = self._is_unsure, False
        baselines = self.baselines
        if self._in_slow_start and baselines.has_queue:
            self._in_slow_start = False
            self._is_unsure = True  # the next round is longer
            return True
        if not baselines.has_queue:
            self._calm_rounds += 1
            self._before_cut = None
            if was_unsure or self._calm_rounds >= CALM_ROUNDS:
                self._in_slow_start = self._refused.may_double(self.limit, now)
            return False
        self._calm_rounds = 0
        is_clear = baselines.slowdown > QUEUE_SEEN * baselines.tolerance
        if baselines.is_old(now) or (was_unsure and is_clear):
            return self._begin_probe(now)
        return False

    def _approach_target(self, now: float, *, is_full: bool) -> None:
        slowdown, limit = self.baselines.slowdown, self.limit
        target = self._target(limit, slowdown)
        if target <= limit - max(1, limit // 8):
            lowest = limit / (2 if slowdown < FAR_SLOWER else 4)
            lowered = max(self.least, round(max(target, lowest)))
            if lowered < limit:
                self._before_cut = self._before_cut or (limit, slowdown)
                self._move(lowered, Move.QUEUE, now)
        elif not is_full or not self._refused.may_grow(now):
            return
        elif not self._in_slow_start:
            raised = min(math.floor(target), limit + max(1, limit // 8))
            self._move(max(limit, raised), Move.FASTER, now)
        else:
            factor = SMALL_FACTOR if limit < SMALL else 2
            if self._was_probed:
                factor, self._was_probed = PROBED_FACTOR, False
            raised = math.ceil(factor * limit / max(1.0, slowdown))
            if self._tried_limit:
                raised = min(raised, self._most_tried)
                self._move(max(limit, raised), Move.FASTER, now)
            elif raised < self._remembered and not self.baselines.has_queue:
                self._move(self._remembered, Move.REMEMBERED, now)
            else:
                self._move(max(limit, raised), Move.FASTER, now)
            self._in_slow_start = self._refused.may_double(self.limit, now)

    def _target(self, limit: int, slowdown: float) -> float:
        """The requests that are of use, and some that keep the host busy."""
        useful = limit / max(1.0, slowdown / self.baselines.tolerance)
        return useful + max(1.0, QUEUE * math.sqrt(useful))

    def _has_slowed_down(self) -> bool:
        """Whether answers are slow for another reason than the queue of ours.

        Then the limit was lowered a lot, and they did not get faster.
        """
        if self._before_cut is None or not self.baselines.has_queue:
            return False
        before, was = self._before_cut
        return self.limit <= 0.6 * before and self.baselines.slowdown > 0.9 * was

    # -- probes ----------------------------------------------------------------

    def _begin_probe(self, now: float) -> bool:
        """Measure the baselines with half of the limit; false if nothing has changed.

        The least limit has no half. If answers are slow with it, higher baselines are
        tried in place of that, once these are old.
        """
        self._before_cut = None
        if self.limit <= self.least:
            is_old = self.baselines.is_old(now)
            if is_old:
                self._try_baselines(self.limit, now)
                self._note(Move.CHANGED, now)
            return is_old
        self._halve(QueueProbe.begin(self.limit, self.baselines.slowdown), now)
        return True

    def _halve(self, probe: QueueProbe, now: float) -> None:
        self._probe = probe
        self._move((self.limit + 1) // 2, Move.PROBE, now)

    def _end_probe(self, probe: QueueProbe, now: float) -> None:
        """Compare with the answers before the limit was halved."""
        self._probe = None
        slowdown, limit = self.baselines.slowdown, self.limit
        verdict = probe.verdict(limit, slowdown, self.least)
        if verdict is Verdict.QUEUE:
            self._halve(probe.next_step(limit, slowdown), now)
            return
        if verdict is Verdict.SAME and now >= self._next_try_at:
            self._try_baselines(probe.limit, now)
            self._was_probed = True
            self._move(probe.limit, Move.PROBE, now)
            return
        was = probe.slowdown
        if slowdown < 1.0:
            self.baselines.replace(now)
            was /= slowdown
        else:
            self.baselines.confirm(now)
        self._move(
            min(probe.limit, round(self._target(probe.limit, was))), Move.QUEUE, now
        )

    def _try_baselines(self, limit: int, now: float) -> None:
        """Take the answers of this round for the baselines, and try more requests."""
        self._tried_limit = limit
        self.baselines.try_round(now)
        self._in_slow_start = self._refused.may_double(self.limit, now)

    @property
    def _most_tried(self) -> int:
        """How many requests show whether baselines that are tried are right."""
        return min(max(2 * self._tried_limit, MIN_TRIED), self.most)

    def _is_try_wrong(self, now: float) -> bool:
        """Whether baselines that are tried are those of a queue, of others perhaps."""
        tried, baselines = self._tried_limit, self.baselines
        if not tried:
            return False
        is_over = self.limit >= self._most_tried
        doubt = TRY_TOLERANCE if is_over else 1.0
        is_wrong = baselines.slowdown > 1 + doubt * (baselines.tolerance - 1)
        if is_wrong or is_over:
            self._tried_limit = 0
            baselines.end_try(now, is_right=not is_wrong)
            wait_s = 2 * self._try_wait_s if is_wrong else TRY_WAIT_S
            self._try_wait_s = min(wait_s, MAX_TRY_WAIT_S)
        if is_wrong:
            self._next_try_at = now + self._try_wait_s
            self._in_slow_start = False
            self._move(min(self.limit, tried), Move.QUEUE, now)
        return is_wrong

    def _continue_trial(self, result: TrialResult, now: float) -> None:
        """Take the limit that a trial names."""
        limit = max(self.least, result.limit)
        if result.is_over and result.is_less:
            self._refused.hold(now)
            self._in_slow_start = False
            self._calm_rounds = 0
            self._move(limit + round(QUEUE * math.sqrt(limit)), Move.QUEUE, now)
        else:
            self._move(limit, Move.PROBE, now)
        if result.is_over:
            self.baselines.forget_tails()
            self._start_round(now)

    # -- moves -----------------------------------------------------------------

    def _move(self, limit: int, cause: Move, now: float) -> None:
        limit = min(max(limit, self.least), self.most)
        if limit != self.limit:
            if not self._trial.is_running:
                self._trial.restart(now, self.limit)
            self.limit = limit
            self._refused.moved(now)
            self.lowest = min(self.lowest, limit)
            self.highest = max(self.highest, limit)
            self._note(cause, now)

    def _note(self, cause: Move, now: float) -> None:
        self.last_move, self.moved_at = cause, now
        self.moves[cause] = self.moves.get(cause, 0) + 1
