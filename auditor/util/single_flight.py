"""One call for all tasks that ask for the same thing at the same time.

The task that asks first leads: it makes the call, and the others get its result. If
the leader is cancelled or fails, one of the waiting tasks leads the next call, so a
cancellation costs at most one more call. Results are not kept afterwards.

A result that may hold for its leader only, such as a failure, is shared once a second
call has given one, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Item = TypeVar("Item")
Result = TypeVar("Result")


class SingleFlight(Generic[Key, Value]):
    """Calls in flight by key. `shared` counts results that were reused."""

    def __init__(self) -> None:
        # Waiting tasks get the value in a tuple, or None if the leader has none.
        self._flights: dict[Key, list[asyncio.Future[tuple[Value] | None]]] = {}
        self.shared = 0

    def in_flight(self, key: Key) -> bool:
        """Whether a call for this key is in flight."""
        return key in self._flights

    async def run(
        self,
        key: Key,
        fetch: Callable[[], Awaitable[Value]],
        *,
        is_certain: Callable[[Value], bool] | None = None,
    ) -> Value:
        """The result of `fetch`, which is called once for all concurrent callers.

        With `is_certain` a waiting caller does not take another caller's result for
        which it returns False, unless that is the second one in a row.
        """
        future: asyncio.Future[tuple[Value] | None]
        is_second = False
        while (waiters := self._flights.get(key)) is not None:
            future = asyncio.get_running_loop().create_future()
            waiters.append(future)
            if (shared := await future) is None:
                continue
            if is_second or is_certain is None or is_certain(shared[0]):
                self.shared += 1
                return shared[0]
            is_second = True
        waiters = self._flights[key] = []
        result = None
        try:
            result = (await fetch(),)
            return result[0]
        finally:
            del self._flights[key]
            for future in waiters:
                if not future.done():  # its task was cancelled
                    future.set_result(result)


async def bounded_gather(
    work: Callable[[Item], Awaitable[Result]], items: Sequence[Item], *, limit: int
) -> list[Result]:
    """The results of `work` for each item, in order, with at most `limit` running.

    Uses asyncio's own tasks: an index has one task per child, and tasks of an anyio
    task group cost several times as much. Cancelling the caller cancels them.
    """
    if len(items) == 1:
        return [await work(items[0])]
    results: dict[int, Result] = {}
    queue = iter(enumerate(items))

    async def worker() -> None:
        for index, item in queue:
            results[index] = await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(limit, len(items)) - 1):
            group.create_task(worker())
        await worker()  # the calling task would only wait
    return [results[index] for index in range(len(items))]
