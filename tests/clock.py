"""A clock that only moves when a test says so."""

from __future__ import annotations

import anyio

# Each round lets every task run up to where it waits again; what one event sets off
# takes a handful of rounds.
_ROUNDS = 50


async def settle() -> None:
    """Let everybody run until they wait for something the test has to do."""
    for _ in range(_ROUNDS):
        await anyio.lowlevel.checkpoint()


class ManualClock:
    """`auditor.registry.clock.Clock` without time. `slept` lists what was asked for."""

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
        """Move on, wake who is due, and let everybody run until they wait again."""
        self.now += seconds
        due = [woken for until, woken in self._sleepers if until <= self.now]
        self._sleepers = [
            sleeper for sleeper in self._sleepers if sleeper[0] > self.now
        ]
        for woken in due:
            woken.set()
        await settle()
