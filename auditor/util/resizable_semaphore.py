"""A first-come, first-served semaphore with a limit that can change while it is used.

`anyio.CapacityLimiter` does the same and also records the owner of each slot, which
costs as much as the rest of a request's bookkeeping together
(docs/development/performance.md).
"""

from __future__ import annotations

import asyncio
from collections import deque


class ResizableSemaphore:
    """At most `limit` slots are held at a time. Needs asyncio, like the transport."""

    __slots__ = ("_held", "_limit", "_waiters")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """Maximum number of slots. A lower limit takes effect as slots are released."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        while self._waiters and self._held < self._limit:
            if _wake(self._waiters.popleft()):
                self._held += 1

    @property
    def free(self) -> int:
        """Number of free slots; negative while more are held than the limit."""
        return self._limit - self._held

    def take(self) -> bool:
        """Take a slot if one is free, without waiting."""
        if self._held < self._limit:  # then only cancelled tasks can be in the queue
            self._held += 1
            return True
        return False

    def retake(self) -> None:
        """Take a slot without waiting, beyond the limit if need be."""
        self._held += 1

    async def acquire(self) -> None:
        """Take a slot, after all callers that came before."""
        if self.take():
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.release()  # the slot was passed on before the cancellation
            raise

    def release(self) -> None:
        """Release a slot, or pass it to the caller that has waited longest."""
        while self._waiters and self._held <= self._limit:
            if _wake(self._waiters.popleft()):
                return
        self._held -= 1


def _wake(waiter: asyncio.Future[None]) -> bool:
    """Give the waiter a slot; false if it was cancelled."""
    if waiter.done():
        return False
    waiter.set_result(None)
    return True
