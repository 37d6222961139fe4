"""How many requests one host gets at once, and how soon the next one.

The limit halves when the host shows distress and grows by one only while it is in
full use (additive increase, multiplicative decrease). A `Retry-After` holds back
everybody on the host and nobody elsewhere.
"""

from __future__ import annotations

from auditor.util.clock import Clock
from auditor.util.resizable_semaphore import Slots


class Politeness:
    """The slots of one host."""

    def __init__(self, *, most_at_once: int, clock: Clock) -> None:
        self._most = most_at_once
        self._clock = clock
        self._slots = Slots(most_at_once)
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
