"""Items from an iterable that may block, such as a list on standard input.

The iterable is read in a thread of its own, so that a slow producer holds up nothing
that is under way. The thread is a daemon: a read that never returns does not keep the
program from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Items that may wait for the consumer: some 100 KB, and few enough switches.
BUFFER = 1024


class _Feed(Generic[Item]):
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
        try:
            for item in self._items:
                with self._changed:
                    while len(self._ready) >= BUFFER and not self._abandoned:
                        self._changed.wait()
                    if self._abandoned:
                        return
                    was_empty = not self._ready
                    self._ready.append(item)
                if was_empty:
                    self._wake()
        except BaseException as error:  # noqa: BLE001  (raised again where it is awaited)
            self._error = error
        finally:
            self._ended = True
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # nobody waits: the loop is closed
            self._loop.call_soon_threadsafe(self._wakeup.set)

    async def batches(self) -> AsyncIterator[list[Item]]:
        try:
            while True:
                ended = self._ended  # before looking: what came last is seen
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


async def feed(items: Iterable[Item]) -> AsyncIterator[list[Item]]:
    """The items, in batches of what is there; exceptions of the iterable come out."""
    source = _Feed(items)
    threading.Thread(target=source.run, name="auditor-list", daemon=True).start()
    async for batch in source.batches():
        yield batch
