"""One flight for everybody who asks for the same thing at the same time.

A flight ends in a value that all who wait for it get. When its leader is cancelled,
one of those who wait takes over, so cancellation costs at most one more flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SingleFlight(Generic[Key, Value]):
    """Flights under way, by key. Nothing is remembered after the landing."""

    def __init__(self) -> None:
        # Who waits for each: told the value, in a tuple; null if the leader was lost.
        self._flights: dict[Key, list[asyncio.Future[tuple[Value] | None]]] = {}
        self.shared = 0

    def under_way(self, key: Key) -> bool:
        """Whether somebody is fetching it right now."""
        return key in self._flights

    async def run(self, key: Key, fetch: Callable[[], Awaitable[Value]]) -> Value:
        """What `fetch` gives, called by one of all that ask at the same time."""
        landed: asyncio.Future[tuple[Value] | None]
        while (waiting := self._flights.get(key)) is not None:
            landed = asyncio.get_running_loop().create_future()
            waiting.append(landed)
            if (found := await landed) is not None:
                self.shared += 1
                return found[0]
        waiting = self._flights[key] = []
        result = None
        try:
            result = (await fetch(),)
            return result[0]
        finally:
            del self._flights[key]
            for landed in waiting:
                if not landed.done():  # or who waited was cancelled
                    landed.set_result(result)


# -- concurrently --
# Do several things at once, in their order.
#
# Tasks of asyncio itself: those of an anyio task group cost several times as much, and
# there is one for each child of each index. A cancellation of whoever waits ends them.

Item = TypeVar("Item")
Result = TypeVar("Result")


async def bounded_gather(
    work: Callable[[Item], Awaitable[Result]],
    items: Sequence[Item],
    *,
    at_once: int,
) -> list[Result]:
    """The results of `work` on each item, in the items' order."""
    if len(items) == 1:
        return [await work(items[0])]
    results: dict[int, Result] = {}
    todo = iter(enumerate(items))

    async def worker() -> None:
        for number, item in todo:
            results[number] = await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(items)) - 1):
            group.create_task(worker())
        await worker()  # whoever waits would do nothing else
    return [results[number] for number in range(len(items))]
