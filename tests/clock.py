"""Clocks without real time."""

from __future__ import annotations

import asyncio
import random

import anyio

# Each round lets every task run until it waits again; what one event sets off takes a
# handful of rounds.
_ROUNDS = 50
# 2026-11-23T02:00:00Z
STARTED_AT_EPOCH = 1_795_399_200.0
STARTED_AT = "2026-11-23T02:00:00Z"
# A deadline that `FakeClock` never reaches by itself.
LATE_S = 1_000_000.0


async def settle() -> None:
    """Let all tasks run until they wait for something the test has to do."""
    for _ in range(_ROUNDS):
        await anyio.lowlevel.checkpoint()


def advance_loop(seconds: float) -> None:
    """Move the clock of the running event loop on: its timers that are due run."""
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + seconds  # type: ignore[method-assign]


class ManualClock:
    """A clock that only moves when a test says so. `slept` lists the sleeps."""

    def __init__(self, *, random: float = 0.5, epoch: float = 1_795_479_600.0) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._epoch = epoch - self.now
        self._random = random
        self._sleepers: list[tuple[float, anyio.Event]] = []

    def monotonic(self) -> float:
        return self.now

    def epoch(self) -> float:
        return self._epoch + self.now

    def random(self) -> float:
        return self._random

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        woken = anyio.Event()
        self._sleepers.append((self.now + seconds, woken))
        await woken.wait()

    async def advance(self, seconds: float) -> None:
        """Move on, wake the sleepers that are due, and let all tasks run."""
        self.now += seconds
        due = [woken for until, woken in self._sleepers if until <= self.now]
        self._sleepers = [
            sleeper for sleeper in self._sleepers if sleeper[0] > self.now
        ]
        for woken in due:
            woken.set()
        await settle()


class FakeClock:
    """A clock that moves on with each sleep, and when a test says so."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._began = self.now
        self._random = random.Random(seed)

    def monotonic(self) -> float:
        return self.now

    def epoch(self) -> float:
        return STARTED_AT_EPOCH + self.now - self._began

    def random(self) -> float:
        return self._random.random()

    async def sleep(self, seconds: float) -> None:
        if seconds == LATE_S:
            await anyio.sleep_forever()
        self.slept.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()
