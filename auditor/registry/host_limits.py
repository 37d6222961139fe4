"""How many requests one host gets at once, and how soon the next one.

The limit halves when the host shows distress and grows by one only while it is in
full use (additive increase, multiplicative decrease). A `Retry-After` holds back
everybody on the host and nobody elsewhere.
"""

from __future__ import annotations

import logging

from auditor.config import RateLimitPolicy
from auditor.errors import Failure, FailureKind
from auditor.util.clock import Clock
from auditor.util.resizable_semaphore import ResizableSemaphore
from auditor.util.text import counted, duration_words
from auditor.wire.rate_limit import Allowance, CountedBy, allowance_of
from auditor.wire.response import Response
from auditor.wire.retry_policy import RETRY_AFTER_CAP_S


class ConcurrencyLimiter:
    """The slots of one host."""

    def __init__(self, *, most_at_once: int, clock: Clock) -> None:
        self._most = most_at_once
        self._clock = clock
        self._slots = ResizableSemaphore(most_at_once)
        self._not_before = 0.0
        self._halved_at = float("-inf")
        self._successes = 0
        self.release = self._slots.release

    @property
    def limit(self) -> int:
        """Requests at once, as learned so far."""
        return self._slots.limit

    @property
    def is_easy(self) -> bool:
        """Whether the limit is what it was at first: nothing has to ease it."""
        return self._slots.limit >= self._most

    def take(self) -> float | None:
        """A slot that is to be had at once: the monotonic time; else null."""
        now = self._clock.monotonic()
        return now if now >= self._not_before and self._slots.take() else None

    async def acquire(self) -> float:
        """Wait for a slot; the monotonic time at which it was had."""
        while True:
            wait_s = self._not_before - self._clock.monotonic()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
                continue
            await self._slots.acquire()
            now = self._clock.monotonic()
            if now >= self._not_before:
                return now
            self._slots.release()

    def hold_back(self, seconds: float) -> None:
        """Nobody asks this host for so long."""
        self._not_before = max(self._not_before, self._clock.monotonic() + seconds)

    def distress(self, sent_at: float) -> None:
        """A request sent at `sent_at` met a throttled, failing or mute host.

        Requests that were under way together are one sign of distress, not many.
        """
        if sent_at > self._halved_at:
            self._halved_at = self._clock.monotonic()
            self._slots.limit = max(1, self.limit // 2)
            self._successes = 0

    def ease(self) -> None:
        """A request went well."""
        if self.is_easy:
            return
        if self._slots.free > 1:
            return  # the limit is not what holds us back
        self._successes += 1
        if self._successes >= self.limit:
            self._successes = 0
            self._slots.limit = self.limit + 1


# -- pace --
# So many requests a second and no more, where the user says so.


class Pace:
    """Turns, evenly spaced. What was not used is not saved up: there are no bursts.

    The spacing is that of the turns. Who had its turn may still wait for a slot, so
    after a pause as many requests go out together as there are slots.
    """

    __slots__ = ("_clock", "_gap_s", "_next")

    def __init__(self, *, per_second: float, clock: Clock) -> None:
        self._gap_s = 1 / per_second
        self._clock = clock
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = self._clock.monotonic()
        at = max(self._next, now)
        self._next = at + self._gap_s
        if at > now:
            await self._clock.sleep(at - now)


# -- quota --
# The most requests that a run, or a registry within it, may be sent.


class Quota:
    """A number of requests; those of a registry are those of the run as well.

    Every try of every request counts, tokens and pings included. A hop of a redirect
    does not, nor what is sent once more because a kept connection was just closed.
    """

    __slots__ = ("_most", "_run", "_whose", "sent")

    def __init__(self, most: int, *, whose: str, run: Quota | None = None) -> None:
        self._most = most
        self._whose = whose
        self._run = run
        self.sent = 0

    def refusal(self) -> Failure | None:
        """Why no other request may be sent; None while there is one left."""
        if self._run is not None and (refused := self._run.refusal()) is not None:
            return refused
        if self.sent < self._most:
            return None
        return Failure(
            kind=FailureKind.INTERRUPTED,
            detail=f"not asked for: {self._whose} may take"
            f" {counted(self._most, 'request')} (max_requests), and has taken"
            f" {'it' if self._most == 1 else 'them'}",
            attempts=0,
        )

    def take(self) -> Failure | None:
        """Count one request, or say why it may not be sent."""
        refused = self.refusal()
        if refused is None:
            self.sent += 1
            if self._run is not None:
                self._run.sent += 1
        return refused


# -- ration --
# What becomes of requests as the allowance that a registry grants comes to its end.
#
# Only manifests that are fetched count, as on Docker Hub: HEAD is free there, and so
# are tokens, lists and blobs.

log = logging.getLogger("auditor.registry")

# The part of the allowance that is used at full speed before the rest is spread: a
# run that takes less than half of it is not slowed down.
SPREAD_BELOW = 0.5


class Ration:
    """The allowance at one registry, as its answers tell it.

    `seen` is what the last answer said. When the window began is not told; it was
    before the first answer of it, so by a window later it is over.
    """

    def __init__(
        self, *, host: str, use: RateLimitPolicy, most_at_once: int, clock: Clock
    ) -> None:
        self._host = host
        self._use = use
        # Answers come out of order by so many.
        self._slack = most_at_once
        self._clock = clock
        self._left: int | None = None
        self._over_at = 0.0
        self._next = 0.0
        self._told = False
        self.seen: Allowance | None = None

    def learn(self, seen: Allowance) -> None:
        """Take over what an answer says."""
        self.seen = seen
        if seen.window_s is None or self._use is RateLimitPolicy.IGNORE:
            return
        now = self._clock.monotonic()
        begun = self._left is None or seen.remaining > self._left + self._slack
        if begun:
            self._over_at = now + seen.window_s
            self._told = False
        if begun or self._left is None or seen.remaining < self._left:
            self._left = seen.remaining

    async def leave(self) -> Failure | None:
        """Wait until one more manifest may be fetched, or say why it may not."""
        while True:
            if (left := self._known_left()) is None:
                return None
            if left <= 0:
                if (refusal := self._refusal()) is not None:
                    self._tell("it is used up")
                    return refusal
                wait_s = self._over_at - self._clock.monotonic()
                self._tell(f"it is used up; {wait_s:.0f} s until there is more")
                await self._clock.sleep(wait_s)
                continue
            if self._use is RateLimitPolicy.SPREAD and self._is_low(left):
                now = self._clock.monotonic()
                gap_s = (self._over_at - now) / left
                at = max(self._next, now)
                self._next = at + gap_s
                are = "is" if left == 1 else "are"
                self._tell(
                    f"{counted(left, 'request')} {are} left, one in {gap_s:.0f} s"
                )
                if at > now:
                    await self._clock.sleep(at - now)
            return None

    def take(self) -> Failure | None:
        """Count one manifest that is fetched, or say why it may not be."""
        left = self._known_left()
        if left is None:
            return None
        if left <= 0 and (refusal := self._refusal()) is not None:
            return refusal
        self._left = left - 1
        return None

    def _tell(self, words: str) -> None:
        """Say once in a window what has become of the allowance."""
        if not self._told:
            self._told = True
            log.warning("%s: the allowance: %s", self._host, words)

    def _known_left(self) -> int | None:
        """How much is left; null where that is not known, or not any more."""
        if self._left is not None and self._clock.monotonic() >= self._over_at:
            self._left = None
        return self._left

    def _is_low(self, left: int) -> bool:
        limit = self.seen.limit if self.seen is not None else None
        return limit is None or left < SPREAD_BELOW * limit

    def _refusal(self) -> Failure | None:
        """Why nothing is left to wait for; None where waiting is worth it.

        A window that is no longer than a Retry-After that is waited for is waited
        for, too.
        """
        seen = self.seen
        if seen is None or seen.window_s is None:
            return None
        if self._use is RateLimitPolicy.SPREAD or seen.window_s <= RETRY_AFTER_CAP_S:
            return None
        limit = "" if seen.limit is None else f" of {seen.limit}"
        return Failure(
            kind=FailureKind.RATE_LIMITED,
            detail=f"not asked for: the allowance{limit} in"
            f" {duration_words(seen.window_s)}{_whose(seen)} at {self._host} is used up"
            " (allowance = spread waits for the next one)",
            attempts=0,
        )


def _whose(seen: Allowance) -> str:
    if seen.counted_by is None:
        return ""
    who = {CountedBy.ADDRESS: "for this address", CountedBy.ACCOUNT: "for this account"}
    return " " + who[seen.counted_by]


# -- limits --
# What one host's requests have to keep to beside its slots.


class Limits:
    """The pace, the registry's allowance and the quota of one host, where it has them.

    `active`: a request needs leave. Without, there is nothing to ask for.
    """

    __slots__ = ("_pace", "_quota", "active", "ration")

    def __init__(
        self,
        *,
        pace: Pace | None = None,
        quota: Quota | None = None,
        ration: Ration | None = None,
    ) -> None:
        self._pace = pace
        self._quota = quota
        self.ration = ration
        self.active = pace is not None or quota is not None

    async def leave(self, *, manifest: bool) -> Failure | None:
        """Wait until one more request may be sent, or say why it may not.

        `manifest`: it fetches one. No slot may be held meanwhile.
        """
        if self._quota is not None and (refused := self._quota.refusal()) is not None:
            return refused
        if manifest and self.ration is not None:
            refusal = await self.ration.leave()
            if refusal is not None:
                return refusal
        if self._pace is not None:
            await self._pace.turn()
        return None

    def take(self, *, manifest: bool) -> Failure | None:
        """Count the request that is about to be sent, or say why it may not be."""
        if manifest and self.ration is not None:
            refusal = self.ration.take()
            if refusal is not None:
                return refusal
        return None if self._quota is None else self._quota.take()

    def learn(self, outcome: Response | Failure) -> None:
        """Take over what an answer says of the allowance."""
        if self.ration is None or isinstance(outcome, Failure):
            return
        seen = allowance_of(outcome.headers)
        if seen is not None:
            self.ration.learn(seen)
            self.active = True
