"""At most so many at once, first come, first served; the number may change.

`anyio.CapacityLimiter` does the same and remembers who holds what: that costs as much
as the rest of a request's bookkeeping together (docs/development/performance.md).
"""

from __future__ import annotations

import asyncio
from collections import deque


class ResizableSemaphore:
    """Slots to be acquired and released. Needs asyncio, as the transport does."""

    __slots__ = ("_limit", "_taken", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many may be taken. A lower limit takes effect as they come back."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._admit()

    @property
    def free(self) -> int:
        """How many could be taken at once; negative after the limit was lowered."""
        return self._limit - self._taken

    def take(self) -> bool:
        """Take one if one is free."""
        if self._taken < self._limit:  # then nobody waits, but who was cancelled
            self._taken += 1
            return True
        return False

    async def acquire(self) -> None:
        """Take one, after all who asked before."""
        if self.take():
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.release()  # it was given just now
            raise

    def release(self) -> None:
        """Give one back, to who waits longest if somebody does."""
        while self._waiting and self._taken <= self._limit:
            turn = self._waiting.popleft()
            if not turn.done():  # or whoever waited was cancelled
                turn.set_result(None)
                return
        self._taken -= 1

    def _admit(self) -> None:
        while self._waiting and self._taken < self._limit:
            turn = self._waiting.popleft()
            if not turn.done():  # or whoever waited was cancelled
                self._taken += 1
                turn.set_result(None)
