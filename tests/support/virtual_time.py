"""An event loop whose time moves on at once to the next timer.

For what neither uses threads nor sockets: seconds of sleeping take none, tasks that
sleep together wake in their order, and the outcome is the same in each run.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

Result = TypeVar("Result")
# 2026-11-23T02:00:00Z
_EPOCH = 1_795_399_200.0


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Never waits: where it would, its time moves on instead."""

    def __init__(self) -> None:
        self._now = 1000.0
        loop = self

        class _Selector(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> Any:
                assert timeout is not None, "all tasks wait, and none for the time"
                loop._now += max(0.0, timeout)
                return super().select(0)

        super().__init__(_Selector())

    def time(self) -> float:
        return self._now


class VirtualClock:
    """The `Clock` of such a loop."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def epoch(self) -> float:
        return _EPOCH + self.monotonic()

    def random(self) -> float:
        return self._random.random()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def run_in_virtual_time(work: Callable[[], Awaitable[Result]]) -> Result:
    """The result of a coroutine that is run with a loop of its own."""
    return anyio.run(work, backend_options={"loop_factory": VirtualTimeLoop})
