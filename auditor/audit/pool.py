"""The worker pool: one reader, workers for each lane, one writer.

    reader --> lanes (jobs, workers) --> finished --> writer

A lane has the jobs of one host and its own workers, so that a slow host delays no
other. The window limits how far the reader is ahead of the writer, and so the jobs that
wait in lanes and the results that wait for their turn. The result of every job that a
worker has finished reaches the writer, even if the pool is stopped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import field
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from auditor.fast_dataclass import dataclass
from auditor.util.resizable_semaphore import ResizableSemaphore

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Lane(Generic[Job]):
    """The jobs that wait for one host.

    `workers` are running, `max_workers` may run. The first `prepare_ahead` jobs are
    prepared before a worker takes them. Their tokens are fetched then, so they are
    few: a token must not expire before its job's turn.
    """

    max_workers: int
    prepare_ahead: int
    workers: int = 0
    jobs: deque[tuple[int, Job]] = field(default_factory=deque)


class Pool(Generic[Job, Result]):
    """Calls `work` for every job and `write` for every result, once.

    `workers` gives the number of workers of a lane by its name. `window`: maximum jobs
    that were read but not yet written. `in_order`: results are written in the order of
    the jobs. `lane` gives the name of a job's lane. `prepare` is called when a job is
    one of the next in its lane; it may start tasks in the task group that it gets.
    `stopped`: whether `stop` was called.
    """

    def __init__(
        self,
        *,
        workers: Callable[[Hashable], int],
        window: int,
        in_order: bool,
        work: Callable[[Job], Awaitable[Result]],
        write: Callable[[Result], Awaitable[None]],
        lane: Callable[[Job], Hashable],
        prepare: Callable[[Job, TaskGroup], None] | None = None,
    ) -> None:
        self._workers = workers
        self._in_order = in_order
        self._work = work
        self._write = write
        self._lane = lane
        self._prepare = prepare
        self._window = ResizableSemaphore(window)
        self._finished: deque[tuple[int, Result]] = deque()
        self._ended = False
        self._news = asyncio.Event()
        self._reading = anyio.CancelScope()
        self._working = anyio.CancelScope()
        self.stopped = False
        # Finished results by job number, until those before them are written.
        self._waiting: dict[int, Result] = {}
        self._returned_early: frozenset[int] = frozenset()

    def stop(self, grace_s: float) -> None:
        """Start no more jobs; those in progress have `grace_s` seconds to finish."""
        self.stopped = True
        self._reading.cancel()
        self._working.deadline = anyio.current_time() + grace_s

    @property
    def has_waiting(self) -> bool:
        """Whether a finished result waits for its turn."""
        return bool(self._waiting)

    def early_results(self, *, last: bool = False) -> list[Result]:
        """Finished results that wait for their turn, each returned once.

        `last`: include those on their way to the writer, in any order; the program
        must end then.
        """
        if last:
            self._waiting.update(self._finished)
            self._finished.clear()
        new = self._waiting.keys() - self._returned_early
        self._returned_early = frozenset(self._waiting)
        return [self._waiting[number] for number in sorted(new)]

    async def run(self, jobs: Callable[[TaskGroup], AsyncIterator[Job]]) -> None:
        """Read all jobs, work on them, write their results.

        `jobs` gets a task group for tasks of its own. Exceptions of `jobs`, `work` and
        `write` end the run and are raised unchanged.
        """
        async with anyio.create_task_group() as writing:
            writing.start_soon(self._writer)
            with self._working:
                async with anyio.create_task_group() as working:
                    await self._reader(jobs, working)
            self._ended = True
            self._news.set()

    async def _reader(
        self, jobs: Callable[[TaskGroup], AsyncIterator[Job]], working: TaskGroup
    ) -> None:
        lanes: dict[Hashable, _Lane[Job]] = {}
        with self._reading:
            async with anyio.create_task_group() as listing:
                number = 0
                async for job in jobs(listing):
                    if not self._window.take():
                        await self._window.acquire()
                    if self.stopped:
                        await anyio.lowlevel.checkpoint()  # raises the cancellation
                    name = self._lane(job)
                    lane = lanes.get(name)
                    if lane is None:
                        workers = self._workers(name)
                        lane = lanes[name] = _Lane(workers, prepare_ahead=2 * workers)
                    lane.jobs.append((number, job))
                    number += 1
                    if self._prepare and len(lane.jobs) <= lane.prepare_ahead:
                        self._prepare(job, working)
                    if lane.workers < lane.max_workers:
                        lane.workers += 1
                        working.start_soon(self._worker, lane, working)

    async def _worker(self, lane: _Lane[Job], working: TaskGroup) -> None:
        while lane.jobs and not self.stopped:
            number, job = lane.jobs.popleft()
            if self._prepare and len(lane.jobs) >= lane.prepare_ahead:
                self._prepare(lane.jobs[lane.prepare_ahead - 1][1], working)
            # No await between the work and the append: a cancellation loses no result.
            # The window limits the length of `_finished`.
            self._finished.append((number, await self._work(job)))
            self._news.set()
        lane.workers -= 1

    async def _writer(self) -> None:
        waiting = self._waiting
        next_number = 0
        while self._finished or not self._ended:
            if not self._finished:
                await self._news.wait()
                self._news.clear()
                continue
            number, result = self._finished.popleft()
            if not self._in_order:
                await self._put(result)
                continue
            waiting[number] = result
            while next_number in waiting:
                await self._put(waiting.pop(next_number))
                next_number += 1
        # Only after a stop: results behind a job that was not finished.
        for number in sorted(waiting):
            await self._put(waiting.pop(number))

    async def _put(self, result: Result) -> None:
        await self._write(result)
        self._window.release()
