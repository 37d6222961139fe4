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
- The client. Its own delay is no part of round trips (loop_turns.py). While answers
  wait for it longer than they took, more requests bring nothing: the limit stays.
- Tails. A queue in a part of the host, behind a proxy for example, makes only some
  answers slow, and hides: the fast answers come first. By the clock, requests take
  longer then than answers do, and count as slowed down by that.
- Trials. The baselines of a host that has become slower, or at which others queue, are
  not known. Half of the limit is tried, and half of that, until it brings fewer answers
  (half_limit_trial.py): then the queue is gone, and round trips are baselines.
- Slots. Several audits of a host, which do not know of each other, see one queue. If
  only one of them left it, it would take the queue of the others for a slow host. So
  they leave it together, in the same seconds (trial_slots.py). Only a sudden change
  of a host is examined at once, as all see that at the same time.
- Distress (429, 5xx, timeouts, lost connections). The limit is halved, once for all
  requests that were in flight together, and returns to what the host accepted after a
  round without distress (refused_limits.py).

The ideas are those of TCP Vegas (Brakmo and Peterson, 1995: the queue from the lowest
round trip), BBR (Cardwell et al., 2016: ProbeRTT), LEDBAT++ (Internet-Draft
irtf-iccrg-ledbat-plus-plus: late-comers), Netflix's concurrency-limits
(VegasLimit.java, Gradient2Limit.java: a queue that grows with the root of the limit, no
growth while it is not used up), Envoy (adaptive concurrency filter: baselines measured
with few requests) and brpc (auto_concurrency_limiter.md: errors in a small part of the
requests do not count).
"""

from __future__ import annotations

import math

from auditor.registry.half_limit_trial import HalfLimitTrial
from auditor.registry.refused_limits import RefusedLimits
from auditor.registry.round_trip_baselines import (
    FAR_SLOWER,
    MIN_SAMPLES,
    RoundTripBaselines,
)
from auditor.registry.trial_slots import OFTEN, RAREST, TrialSlots
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
# The limit grows only if requests waited for it at this share of the answers.
FULL = 0.75
# And not if its answers wait longer for the client than they took.
CLIENT_BUSY = 1.0
# With a fixed limit, one answer in this many is measured.
MEASURED_ONE_IN = 8
# Rounds in a row with a queue that are a sign of one.
BUSY_ROUNDS = 2
# Until a trial has measured the baselines, this number of answers is enough for one.
FIRST_ANSWERS = 96
# A host that a trial finds slower by less has not changed. Unless few requests were in
# flight, others may queue at it: baselines rise by the second one at most.
SLOWER, MAX_RISE = 1.3, 2.0
# After a trial has found a queue that round trips do not show, the limit does not grow
# until this number of trials has found none. The second number is the lowest limit
# with enough answers to tell.
HIDDEN_TRIALS, MIN_HIDDEN = 2, 16
# In slow start, answers are too few to see a shorter tail.
CLEAR_TAIL = 3.0
# Rounds in a row without a queue after which the limit doubles again.
CALM_ROUNDS = 3
# The queue that keeps a host busy, in square roots of the requests it works on.
QUEUE = 0.75
# With an unchanged limit, a slowdown that has grown by this factor since the last
# round comes from the host or from others; from the host, if `LONG_CALM` rounds before
# had no queue.
SUDDEN, LONG_CALM = 1.5, 6


class ConcurrencyControl:
    """The limit of one host, between `least` and `most`.

    `follows_latency` is false for a fixed limit, which only distress lowers. `lowest`
    and `highest` are those of the limit so far, `moves` counts its moves by cause,
    `last_move` is the last one's, at `moved_at`. `remembered` is the limit that the
    host stood in an earlier run. Slots begin at `slots_from`, the same moment for all
    audits of the host.

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
        slots_from: float = 0.0,
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
        self._trial: HalfLimitTrial | None = None
        self._follows_latency = follows_latency
        self._in_slow_start = follows_latency
        # Rounds in a row without a queue, and with one.
        self._calm_rounds = self._busy_rounds = 0
        # Whether there was no queue for long before this one.
        self._was_calm = False
        # Whether there was a sign of a queue since the last trial.
        self._is_busy = False
        # Whether requests waited for the limit in the last round.
        self._was_full = False
        # Trials: whether one has measured the baselines, and those that
        # `HIDDEN_TRIALS` counts.
        self._is_certain = False
        self._slots = TrialSlots(slots_from, now)
        # Whether the last one has raised them: the next slot shows if enough.
        self._has_slowed_down = False
        self._before_cuts = 0  # the limit before a queue lowered it, since the last one
        self._hidden_trials = 0
        self._is_queue_visible = False
        # The round.
        self._round_at = -math.inf
        self._round_limit = self.limit
        self._settling = 0
        self._round_size = MIN_QUICK_ROUND
        self._answers = self._full_answers = 0
        self._unmeasured = 0  # answers of a fixed limit
        # All answers since the round has settled.
        self._seen, self._seen_since, self._last_at = 0, now, now
        # How long its answers took, and then waited for the client.
        self._host_s = self._client_s = 0.0
        self._settled_limit = 0  # that of the last round
        self._refused = RefusedLimits(now)
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
        trial = self._trial
        limit = min(self.limit if trial is None else trial.full_limit, self.most)
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
        elif now >= self._slots.next_at:
            self._begin_slot(now)
        if self._trial is not None:
            self._count_in_trial(
                self._trial,
                kind,
                round_trip_s,
                sent_at=sent_at,
                now=now,
                is_full=is_full,
            )
            return
        is_settling = sent_at < self._round_at or self._settling > 0
        self._seen += 1
        if sent_at > self._last_at:
            self._seen_since += sent_at - self._last_at  # nothing was in flight
        self._last_at = now
        self.baselines.count(kind, round_trip_s, is_sent_in_round=not is_settling)
        if sent_at < self._round_at:
            return
        if self._settling:
            self._settling -= 1
            if not self._settling:
                self._seen, self._seen_since = 0, now
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
        self._remembered = 0  # the host does not stand as much as it did
        self._trial = None
        self._move(self.limit // 2, cause, now)
        self._start_round(now)

    # -- rounds ----------------------------------------------------------------

    def _start_round(self, now: float) -> None:
        self._round_at = now
        self._answers = self._full_answers = 0
        self._host_s = self._client_s = 0.0
        self._seen, self._seen_since, self._last_at = 0, now, now
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
            rounds = 2 if SMALL <= self.limit < 2 * SMALL else 1
            self._round_size = max(rounds * self.limit, MIN_QUICK_ROUND)
        else:
            self._round_size = min(max(2 * self.limit, MIN_ROUND), MAX_ROUND)

    def _end_round(self, now: float) -> None:
        is_full = self._full_answers >= FULL * self._answers
        if self.limit >= SMALL and self._client_s > CLIENT_BUSY * self._host_s:
            is_full = False  # the client is what holds requests back
        self._was_full = is_full
        if self._refused.is_halved:
            self._calm_rounds = 0
            self._in_slow_start = False
            self._move(self._refused.recovered(self.limit, now), Move.RECOVERED, now)
        elif not self._follows_latency:
            self.baselines.measure(learn=True)
            if self._refused.may_grow(now):
                self._move(self.limit + 1, Move.RECOVERED, now)
        else:
            self._follow(now, is_full=is_full)
        self._refused.was_fine(self.limit, now)
        self._start_round(now)

    def _follow(self, now: float, *, is_full: bool) -> None:
        """Move the limit after a round without distress."""
        baselines = self.baselines
        before, was_calm = baselines.slowdown, self._calm_rounds >= LONG_CALM
        clock_s = None
        if is_full and self._seen:
            per_answer_s = (now - self._seen_since) / self._seen
            clock_s = self.limit * per_answer_s - self._client_s / self._answers
        baselines.measure(learn=not self._in_slow_start, clock_s=clock_s)
        is_settled = self._settled_limit == self.limit
        if is_settled and baselines.slowdown > SUDDEN * before:
            if was_calm:
                self._is_certain = False
                self._busy_rounds = 0
            if baselines.slowdown < FAR_SLOWER:
                # The next round shows how long the queue gets.
                self._settled_limit = 0
                self._busy_rounds = 1
                return
        if baselines.has_queue and was_calm:
            self._was_calm = True  # it can have changed in the middle of this round
        self._settled_limit = self.limit
        if not self._is_examined(now):
            may_grow = is_full and not self._has_long_tail and not self._hidden_trials
            self._approach_target(now, may_grow=may_grow)

    @property
    def _has_long_tail(self) -> bool:
        least = CLEAR_TAIL if self._in_slow_start else 0.0
        return self.baselines.has_long_tail and self.baselines.tail > least

    def _is_examined(self, now: float) -> bool:
        """Whether another round or a trial has to show if there is a queue.

        Also ends slow start, or begins it again after rounds without a queue.
        """
        if not self.baselines.has_queue and not self._has_long_tail:
            self._calm_rounds += 1
            self._busy_rounds = 0
            self._was_calm = False
            if self._calm_rounds >= CALM_ROUNDS:
                self._in_slow_start = self._may_double(now)
            return False
        self._calm_rounds = 0
        self._busy_rounds += 1
        if self._in_slow_start:
            self._in_slow_start = False  # the next round is longer
            return True
        self._is_busy |= self._busy_rounds >= BUSY_ROUNDS
        is_new = self._busy_rounds == BUSY_ROUNDS and self.baselines.has_queue
        is_sudden = self._was_calm and self.baselines.slowdown > SUDDEN
        if not is_new or (self._is_certain and not is_sudden):
            return False
        self._begin_trial(now)
        return True

    def _approach_target(self, now: float, *, may_grow: bool) -> None:
        baselines = self.baselines
        slowdown, limit = baselines.slowdown, self.limit
        if self._has_long_tail:
            tail = baselines.tail / baselines.tail_tolerance
            slowdown = max(slowdown, tail * baselines.tolerance)
        target = self._target(limit, slowdown)
        if target <= limit - max(1, limit // 8):
            lowest = limit / (2 if slowdown < FAR_SLOWER else 4)
            lowered = max(self.least, round(max(target, lowest)))
            if lowered < limit:
                self._before_cuts = max(self._before_cuts, limit)
                self._move(lowered, Move.QUEUE, now)
        elif not may_grow or not self._refused.may_grow(now):
            return
        elif not self._in_slow_start:
            raised = min(math.floor(target), limit + max(1, limit // 8))
            self._move(max(limit, raised), Move.FASTER, now)
        else:
            factor = SMALL_FACTOR if limit < SMALL else 2
            raised = math.ceil(factor * limit / max(1.0, slowdown))
            if raised < self._remembered and not self.baselines.has_queue:
                self._move(self._remembered, Move.REMEMBERED, now)
            else:
                self._move(max(limit, raised), Move.FASTER, now)
            self._in_slow_start = self._may_double(now)

    def _may_double(self, now: float) -> bool:
        may_grow = self.limit < self.most and not self._hidden_trials
        return may_grow and self._refused.may_double(self.limit, now)

    def _target(self, limit: int, slowdown: float) -> float:
        """The requests that are of use, and some that keep the host busy."""
        useful = limit / max(1.0, slowdown / self.baselines.tolerance)
        return useful + max(1.0, QUEUE * math.sqrt(useful))

    # -- trials ----------------------------------------------------------------

    def _begin_slot(self, now: float) -> None:
        """Begin a trial, if it is time for one."""
        self._slots.begin(now)
        if (
            self._trial is not None
            or self._in_slow_start
            or self._refused.is_halved
            or not self._was_full
        ):
            return
        most = RAREST
        if self._has_slowed_down:
            most = 0
        elif self.limit <= self._before_cuts // 2:
            most = OFTEN
        usual_s = self.baselines.usual_s or 0.0
        if self._slots.has_trial(usual_s, is_busy=self._is_busy, most=most):
            self._begin_trial(now)

    def _begin_trial(self, now: float) -> None:
        answers = self.baselines.answers_wanted
        if not self._is_certain:
            answers = min(answers, FIRST_ANSWERS)
        self._is_busy = self._was_calm = False
        self._is_queue_visible = self.baselines.has_queue
        self._trial = HalfLimitTrial(now, self.limit, least=self.least, answers=answers)

    def _count_in_trial(
        self,
        trial: HalfLimitTrial,
        kind: object,
        round_trip_s: float,
        *,
        sent_at: float,
        now: float,
        is_full: bool,
    ) -> None:
        was_settling = trial.is_settling
        is_over = trial.count(now, sent_at=sent_at, is_full=is_full)
        if not was_settling:
            is_sent_in_step = sent_at >= trial.since
            self.baselines.count(kind, round_trip_s, is_sent_in_round=is_sent_in_step)
        elif not trial.is_settling:
            self.baselines.start_round()
        if is_over:
            limit = trial.next_limit(now)
            if limit is None:
                self._end_trial(trial, now)
            else:
                self._move(limit, Move.PROBE, now)

    def _end_trial(self, trial: HalfLimitTrial, now: float) -> None:
        """Take the limit that a trial names, and its round trips for the baselines."""
        self._trial = None
        if trial.is_aborted:
            self._move(trial.full_limit, Move.PROBE, now)
            self._start_round(now)
            return
        baselines = self.baselines
        baselines.measure(learn=False)
        is_slower = baselines.slowdown > max(SLOWER, baselines.tolerance)
        if trial.limit == self.least > START:
            is_slower = False  # the queue may be our own
        most_rise = (
            (math.inf if trial.limit <= START else MAX_RISE) if is_slower else 1.0
        )
        baselines.learn_from_trial(most_rise=most_rise)
        self._is_certain = True
        self._busy_rounds = 0
        if trial.is_less or is_slower:
            self._calm_rounds = 0
        if trial.is_less:
            self._calm_rounds = -LONG_CALM  # do not double soon what had a queue
            self._in_slow_start = False
            if not self._is_queue_visible and trial.full_limit >= MIN_HIDDEN:
                self._hidden_trials = HIDDEN_TRIALS
            useful = trial.useful
            self._move(useful + round(QUEUE * math.sqrt(useful)), Move.QUEUE, now)
        else:
            self._hidden_trials = max(0, self._hidden_trials - 1)
            self._move(trial.full_limit, Move.PROBE, now)
            if is_slower:
                self._in_slow_start = self._may_double(now)
        self._has_slowed_down = is_slower
        self._before_cuts = 0
        if is_slower:
            self._note(Move.CHANGED, now)
        self._start_round(now)

    # -- moves -----------------------------------------------------------------

    def _move(self, limit: int, cause: Move, now: float) -> None:
        limit = min(max(limit, self.least), self.most)
        if limit != self.limit:
            self.limit = limit
            self._refused.moved(now)
            self.lowest = min(self.lowest, limit)
            self.highest = max(self.highest, limit)
            self._note(cause, now)

    def _note(self, cause: Move, now: float) -> None:
        self.last_move, self.moved_at = cause, now
        self.moves[cause] = self.moves.get(cause, 0) + 1
