"""The pool: one reader, workers, one writer. It owns the task groups.

    reader --(bounded)--> workers --(bounded)--> writer

A window bounds how far the reader may be ahead of the writer, so that putting the
records in order never holds more than the window. What a worker has finished always
reaches the writer, even when the run is stopped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSize:
    """How much goes on at once. `window`: results that may wait for their turn."""

    workers: int
    window: int

    @property
    def ahead(self) -> int:
        """Jobs between the reader and the workers. Tokens are fetched for these, so
        it is short: a token must not expire before its job has its turn."""
        return 2 * self.workers


class Pool(Generic[Job, Result]):
    """Runs `work` on every job and gives every result to `write`, once."""

    def __init__(
        self,
        *,
        size: PoolSize,
        in_order: bool,
        work: Callable[[Job], Awaitable[Result]],
        write: Callable[[Result], Awaitable[None]],
        prepare: Callable[[Job, TaskGroup], Awaitable[None]] | None = None,
    ) -> None:
        self._size = size
        self._in_order = in_order
        self._work = work
        self._write = write
        self._prepare = prepare
        self._window = anyio.Semaphore(size.window)
        self._reading = anyio.CancelScope()
        self._working = anyio.CancelScope()
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def stop(self, grace_s: float) -> None:
        """Take no more work; what is under way has `grace_s` seconds to finish."""
        self._stopped = True
        self._reading.cancel()
        self._working.deadline = anyio.current_time() + grace_s

    async def run(self, jobs: Callable[[TaskGroup], AsyncIterator[Job]]) -> None:
        """Take all jobs, do them, write their results.

        `jobs` is given the task group in which it may run what it needs. Exceptions
        of `jobs`, `work` and `write` end the run and come out as they are.
        """
        todo, take = anyio.create_memory_object_stream[tuple[int, Job]](
            self._size.ahead
        )
        done, collect = anyio.create_memory_object_stream[tuple[int, Result]](
            self._size.workers
        )
        async with anyio.create_task_group() as writing:
            writing.start_soon(self._writer, collect)
            async with done:
                with self._working:
                    async with anyio.create_task_group() as working:
                        for _ in range(self._size.workers):
                            working.start_soon(self._worker, take.clone(), done.clone())
                        take.close()
                        await self._reader(jobs, todo)

    async def _reader(
        self,
        jobs: Callable[[TaskGroup], AsyncIterator[Job]],
        todo: MemoryObjectSendStream[tuple[int, Job]],
    ) -> None:
        async with todo:
            with self._reading:
                async with anyio.create_task_group() as group:
                    number = 0
                    async for job in jobs(group):
                        await self._window.acquire()
                        if self._prepare is not None:
                            await self._prepare(job, group)
                        await todo.send((number, job))
                        number += 1

    async def _worker(
        self,
        take: MemoryObjectReceiveStream[tuple[int, Job]],
        done: MemoryObjectSendStream[tuple[int, Result]],
    ) -> None:
        async with take, done:
            async for number, job in take:
                if self._stopped:
                    return
                result = await self._work(job)
                # A finished result is never lost to a cancellation.
                with anyio.CancelScope(shield=True):
                    await done.send((number, result))

    async def _writer(
        self, collect: MemoryObjectReceiveStream[tuple[int, Result]]
    ) -> None:
        waiting: dict[int, Result] = {}
        turn = 0
        async with collect:
            async for number, result in collect:
                if not self._in_order:
                    await self._put(result)
                    continue
                waiting[number] = result
                while turn in waiting:
                    await self._put(waiting.pop(turn))
                    turn += 1
        # Only after a stop: what lies behind a job that was not finished.
        for number in sorted(waiting):
            await self._put(waiting[number])

    async def _put(self, result: Result) -> None:
        await self._write(result)
        self._window.release()
