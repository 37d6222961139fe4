"""What becomes of requests as the allowance that a registry grants comes to its end.

Only manifests that are fetched count, as on Docker Hub: HEAD is free there, and so
are tokens, lists and blobs.
"""

from __future__ import annotations

import logging

from auditor.config import AllowanceUse
from auditor.errors import Failure, FailureKind
from auditor.util.clock import Clock
from auditor.util.text import counted, duration_words
from auditor.wire.rate_limit import Allowance, CountedBy
from auditor.wire.retry_policy import RETRY_AFTER_CAP_S

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
        self, *, host: str, use: AllowanceUse, most_at_once: int, clock: Clock
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
        if seen.window_s is None or self._use is AllowanceUse.IGNORE:
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
            if self._use is AllowanceUse.SPREAD and self._is_low(left):
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
        if self._use is AllowanceUse.SPREAD or seen.window_s <= RETRY_AFTER_CAP_S:
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
