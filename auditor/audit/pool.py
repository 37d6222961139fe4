"""The worker pool: one reader, workers for each lane, one writer.

    reader --> lanes (jobs, workers) --> finished --> waiting --> writer

A lane has the jobs of one host and its own workers, so that a slow host delays no
other: the reader does not wait for workers, and workers do not wait for the jobs before
theirs. What this piles up is in a temporary file, not in memory: jobs that wait for
their lane, and results that wait for their position behind a job that is not finished
(spill_file.py). Only the reader of the output holds up everything: while it takes no
result, at most a window of finished ones is kept.

The result of every job that a worker has finished reaches the writer, even if the pool
is stopped.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from dataclasses import field
from pathlib import Path
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from auditor.audit.spill_file import LaneQueue, SpillFile, WaitingResults
from auditor.fast_dataclass import dataclass

Job = TypeVar("Job")
Result = TypeVar("Result")

# Seconds without a finished job after which a lane counts as stalled: more than a
# healthy registry needs for a manifest.
STALLED_S = 5.0


@dataclass(slots=True, eq=False)
class _Lane(Generic[Job]):
    """The jobs that wait for one host.

    `workers` are running; how many may run (`max_workers`) is asked again with each
    job. The first `prepare_ahead` jobs are prepared before a worker takes them. Their
    tokens are fetched then, so they are few: a token must not expire before its job's
    turn.
    `progress` is set when a job is finished; `is_stalled` while none was for
    `STALLED_S`.
    """

    name: Hashable
    prepare_ahead: int
    jobs: LaneQueue[Job]
    max_workers: int
    workers: int = 0
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    is_stalled: bool = False


class Pool(Generic[Job, Result]):
    """Calls `work` for every job and `write` for every result, once.

    `workers` gives the number of workers of a lane by its name, which may change with
    every call. `window`: maximum
    finished results in memory, besides one for each worker. `in_order`: results are
    written in the order of the jobs. `lane` gives the name of a job's lane.
    `is_listed`: whether a job comes from a listing, which is read at most a window
    ahead of the lane, so that it is still true when its jobs are done. `prepare` is
    called when a job is one of the next in its lane; it may start tasks in the task
    group that it gets. `size_of` gives the bytes of a result, of which `max_bytes` may
    be in memory, as the window. `spill_folder` is for the temporary file. `stopped`:
    whether `stop` was called.
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
        is_listed: Callable[[Job], bool] | None = None,
        prepare: Callable[[Job, TaskGroup], None] | None = None,
        size_of: Callable[[Result], int] = lambda _: 0,
        max_bytes: float = math.inf,
        spill_folder: Path | None = None,
    ) -> None:
        self._workers = workers
        self._window = window
        self._in_order = in_order
        self._work = work
        self._write = write
        self._lane = lane
        self._is_listed = is_listed
        self._prepare = prepare
        self._size_of = size_of
        self._max_bytes = max_bytes
        self.spill_file = SpillFile(spill_folder)
        # With the number of the job and the bytes of the result.
        self._finished: deque[tuple[int, Result, int]] = deque()
        self._ended = False
        self._finished_bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._reading = anyio.CancelScope()
        self._working = anyio.CancelScope()
        self.stopped = False
        # Finished results by job number, until those before them are written.
        self._waiting: WaitingResults[Result] = WaitingResults(self.spill_file)

    def stop(self, grace_s: float) -> None:
        """Start no more jobs; those in progress have `grace_s` seconds to finish."""
        self.stopped = True
        self._reading.cancel()
        self._working.deadline = anyio.current_time() + grace_s
        self._room.set()

    @property
    def has_waiting(self) -> bool:
        """Whether a finished result waits for its turn."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """The number of finished results that wait for their turn."""
        return self._waiting.count

    @property
    def results_in_memory(self) -> int:
        """Number of finished results in memory."""
        return len(self._finished) + len(self._waiting)

    @property
    def bytes_in_memory(self) -> int:
        """The bytes of the finished results in memory."""
        return self._finished_bytes + self._waiting.bytes

    def _is_full(self, results: int, size: int) -> bool:
        return results >= self._window or size >= self._max_bytes

    def early_results(self, *, last: bool = False) -> Iterator[Result]:
        """Finished results that wait for their turn, each returned once.

        `last`: include those on their way to the writer, in any order; the program
        must end then.
        """
        if last:
            while self._finished:
                self._waiting.put(*self._finished.popleft())
            self._finished_bytes = 0
        return self._waiting.new_results()

    async def run(self, jobs: Callable[[TaskGroup], AsyncIterator[Job]]) -> None:
        """Read all jobs, work on them, write their results.

        `jobs` gets a task group for tasks of its own. Exceptions of `jobs`, `work` and
        `write` end the run and are raised unchanged.
        """
        try:
            async with anyio.create_task_group() as writing:
                writing.start_soon(self._writer)
                with self._working:
                    async with anyio.create_task_group() as working:
                        await self._reader(jobs, working)
                self._ended = True
                self._news.set()
        finally:
            self.spill_file.close()

    async def _reader(
        self, jobs: Callable[[TaskGroup], AsyncIterator[Job]], working: TaskGroup
    ) -> None:
        lanes: dict[Hashable, _Lane[Job]] = {}
        with self._reading:
            async with anyio.create_task_group() as listing:
                number = 0
                async for job in jobs(listing):
                    name = self._lane(job)
                    lane = lanes.get(name)
                    if lane is None:
                        lane = lanes[name] = self._new_lane(name)
                    if self._is_listed and self._is_listed(job):
                        await self._lane_has_room(lane)
                    if self.stopped:
                        await anyio.lowlevel.checkpoint()  # raises the cancellation
                    lane.jobs.put(number, job)
                    number += 1
                    if self._prepare and len(lane.jobs) <= lane.prepare_ahead:
                        self._prepare(job, working)
                    if lane.workers < lane.max_workers:
                        lane.workers += 1
                        working.start_soon(self._worker, lane, working)

    def _new_lane(self, name: Hashable) -> _Lane[Job]:
        workers = self._workers(name)
        ahead = 2 * workers
        jobs: LaneQueue[Job] = LaneQueue(self.spill_file, in_memory=ahead)
        return _Lane(name, ahead, jobs, workers)

    async def _lane_has_room(self, lane: _Lane[Job]) -> None:
        """Wait until the lane has less than a window of jobs, or is stalled."""
        while len(lane.jobs) >= self._window and not lane.is_stalled:
            lane.progress.clear()
            with anyio.move_on_after(STALLED_S):
                await lane.progress.wait()
                continue
            # A reader of the output that takes nothing stalls no lane.
            lane.is_stalled = not self._is_full(
                self.results_in_memory, self.bytes_in_memory
            )

    async def _worker(self, lane: _Lane[Job], working: TaskGroup) -> None:
        while lane.jobs and not self.stopped:
            lane.max_workers = self._workers(lane.name)
            if lane.workers != lane.max_workers:
                more = lane.max_workers - lane.workers
                if more < 0:
                    break
                for _ in range(min(more, len(lane.jobs) - 1)):
                    lane.workers += 1
                    working.start_soon(self._worker, lane, working)
            number, job = lane.jobs.get()
            if self._prepare and len(lane.jobs) >= lane.prepare_ahead:
                following = lane.jobs.peek(lane.prepare_ahead - 1)
                if following is not None:
                    self._prepare(following, working)
            # No await between the work and the append: a cancellation loses no result.
            result = await self._work(job)
            size = self._size_of(result)
            self._finished.append((number, result, size))
            self._finished_bytes += size
            self._news.set()
            lane.is_stalled = False
            lane.progress.set()
            while not self.stopped and self._is_full(
                self.results_in_memory, self.bytes_in_memory
            ):
                self._room.clear()
                await self._room.wait()
        lane.workers -= 1

    async def _writer(self) -> None:
        waiting = self._waiting
        next_number = 0
        while self._finished or not self._ended:
            if not self._finished:
                await self._news.wait()
                self._news.clear()
                continue
            number, result, size = self._finished.popleft()
            self._finished_bytes -= size
            if not self._in_order:
                await self._put(result)
                continue
            waiting.put(number, result, size)
            while waiting.has(next_number):
                await self._put(waiting.take(next_number))
                next_number += 1
            # These wait for a job that is not finished, and so for its host.
            if (
                self._is_full(len(waiting), waiting.bytes)
                and not waiting.move_to_file()
            ):
                self._window, self._max_bytes = 1 + len(waiting), math.inf
            self._room.set()
        # Only after a stop: results behind a job that was not finished.
        for result in waiting.take_all():
            await self._put(result)

    async def _put(self, result: Result) -> None:
        await self._write(result)
        self._room.set()
