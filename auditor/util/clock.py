"""Time and randomness as an object, so that tests control them."""

from __future__ import annotations

import functools
import math
import random
import time
from datetime import UTC, datetime
from typing import Protocol

import anyio


class Clock(Protocol):
    """Time and randomness for code that talks to the network."""

    def monotonic(self) -> float:
        """Monotonic time in seconds."""

    def epoch(self) -> float:
        """Seconds since 1970-01-01 UTC by the wall clock."""

    def random(self) -> float:
        """A random number in [0, 1)."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


class SystemClock:
    """The operating system's time."""

    monotonic = staticmethod(time.monotonic)
    epoch = staticmethod(time.time)
    random = staticmethod(random.random)

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await anyio.sleep(seconds)


def rfc3339(epoch_s: float) -> str:
    """A time as written to reports: `2026-11-23T02:00:00Z`, UTC, whole seconds."""
    return _rfc3339(math.floor(epoch_s))


@functools.lru_cache(maxsize=4)  # all records of one second have the same time
def _rfc3339(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
