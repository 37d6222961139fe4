"""Time and chance, handed in so that tests can own them."""

from __future__ import annotations

import random
import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """What the network code needs of time."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def epoch(self) -> float:
        """Seconds since 1970-01-01 UTC, as the wall clock has them."""

    def random(self) -> float:
        """A number in [0, 1)."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


class SystemClock:
    """The machine's own time."""

    monotonic = staticmethod(time.monotonic)
    epoch = staticmethod(time.time)
    random = staticmethod(random.random)

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await anyio.sleep(seconds)
