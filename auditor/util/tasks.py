"""Tasks that share a call, wait for a slot, or wait for a blocking function.

`SingleFlight` makes one call for all tasks that ask for the same thing at the same
time. The task that asks first leads: it makes the call, and the others get its result.
If the leader is cancelled or fails, one of the waiting tasks leads the next call, so a
cancellation costs at most one more call. Results are not kept afterwards. A result that
may hold for its leader only, such as a failure, is shared once a second call has given
one, too.

`ResizableSemaphore` is first-come, first-served, with a limit that can change while it
is used. `anyio.CapacityLimiter` does the same and also records the owner of each slot,
which costs as much as the rest of a request's bookkeeping together
(docs/development/performance.md).

`call_in_thread` calls blocking functions of libraries in threads that the program need
not wait for. A library that waits for a network without an answer cannot be cancelled.
Its thread is a daemon: the program goes on after the time limit, and ends without it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import anyio

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


async def call_in_thread(
    function: Callable[[], Result], *, timeout_s: float | None = None
) -> Result:
    """The result of a blocking function, or its exception.

    Raises `TimeoutError` after `timeout_s`, if it is given. The function then goes on,
    as after a cancellation, and its result is dropped.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_Outcome[Result]] = loop.create_future()

    def finish(outcome: _Outcome[Result]) -> None:
        if not done.done():
            done.set_result(outcome)

    def run() -> None:
        outcome: _Outcome[Result] = _Outcome()
        try:
            outcome.results.append(function())
        except BaseException as error:  # noqa: BLE001  (raised again by the caller)
            outcome.error = error
        with suppress(RuntimeError):  # the loop is closed: the run has ended
            loop.call_soon_threadsafe(finish, outcome)

    threading.Thread(target=run, name="blocking-call", daemon=True).start()
    with anyio.fail_after(timeout_s):
        outcome = await done
    if outcome.error is not None:
        raise outcome.error
    return outcome.results[0]


class _Outcome(Generic[Result]):
    """One result, or an error."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.error: BaseException | None = None
