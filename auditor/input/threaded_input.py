"""Reads an iterable that may block, such as a list on standard input, in a thread.

A slow producer does not hold up the event loop. The thread is a daemon, so a read that
never returns does not keep the program from exiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Generic, TypeVar

# Items that may wait for the consumer: some 100 KB, and few switches between threads.
MAX_WAITING_ITEMS = 1024

Item = TypeVar("Item")


async def read_in_thread(items: Iterable[Item]) -> AsyncIterator[list[Item]]:
    """The items, in batches of those that are available.

    An exception of the iterable is raised here after its items.
    """
    source = _ThreadedSource(items)
    threading.Thread(target=source.run, name="auditor-list", daemon=True).start()
    async for batch in source.batches():
        yield batch


class _ThreadedSource(Generic[Item]):
    def __init__(self, items: Iterable[Item]) -> None:
        self._items = items
        self._ready: list[Item] = []
        self._changed = threading.Condition()
        self._loop = asyncio.get_running_loop()
        self._wakeup = asyncio.Event()
        self._ended = False
        self._abandoned = False
        self._error: BaseException | None = None

    def run(self) -> None:
        """Read the items; runs in the thread."""
        try:
            for item in self._items:
                with self._changed:
                    while len(self._ready) >= MAX_WAITING_ITEMS and not self._abandoned:
                        self._changed.wait()
                    if self._abandoned:
                        return
                    was_empty = not self._ready
                    self._ready.append(item)
                if was_empty:
                    self._wake()
        except BaseException as error:  # noqa: BLE001  (raised in the consumer)
            self._error = error
        finally:
            self._ended = True
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: no consumer
            self._loop.call_soon_threadsafe(self._wakeup.set)

    async def batches(self) -> AsyncIterator[list[Item]]:
        try:
            while True:
                ended = self._ended  # read before the items, so that none is missed
                with self._changed:
                    batch, self._ready = self._ready, []
                    self._changed.notify()
                if batch:
                    yield batch
                elif ended:
                    break
                else:
                    await self._wakeup.wait()
                    self._wakeup.clear()
            if self._error is not None:
                raise self._error
        finally:
            with self._changed:
                self._abandoned = True
                self._changed.notify()
