"""The pool: one reader, workers for each lane, one writer. It owns the task groups.

    reader --> lanes: jobs, workers --> finished --> writer

A lane holds the jobs of one host and has workers of its own, so that a host that is
slow holds up no other. A window bounds how far the reader may be ahead of the writer,
and so everything that waits: jobs in lanes, and records for their turn. What a worker
has finished always reaches the writer, even when the run is stopped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from auditor.fast_dataclass import dataclass
from auditor.util.resizable_semaphore import ResizableSemaphore

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSize:
    """How much goes on at once.

    `workers`: jobs of one lane at once, the same for all or as its name tells.
    `window`: jobs that were read and whose results are not written yet.
    """

    workers: int | Callable[[Hashable], int]
    window: int

    def workers_of(self, lane: Hashable) -> int:
        """The workers of the lane of that name."""
        return self.workers if isinstance(self.workers, int) else self.workers(lane)


class _Lane(Generic[Job]):
    """Jobs that wait for the same host, how many workers it has, and may have.

    `ahead`: jobs that are prepared before a worker takes them. Tokens are fetched for
    these, so they are few: a token must not expire before its job has its turn.
    """

    __slots__ = ("ahead", "jobs", "most", "workers")

    def __init__(self, most: int) -> None:
        self.jobs: deque[tuple[int, Job]] = deque()
        self.workers = 0
        self.most = most
        self.ahead = 2 * most


class Pool(Generic[Job, Result]):
    """Runs `work` on every job and gives every result to `write`, once.

    `lane` names what a job may have to wait for, such as its host. `prepare` is
    called for a job when only a few others of its lane are before it; it may start
    tasks in the group that it is given.
    """

    def __init__(
        self,
        *,
        size: PoolSize,
        in_order: bool,
        work: Callable[[Job], Awaitable[Result]],
        write: Callable[[Result], Awaitable[None]],
        lane: Callable[[Job], Hashable] | None = None,
        prepare: Callable[[Job, TaskGroup], None] | None = None,
    ) -> None:
        self._size = size
        self._in_order = in_order
        self._work = work
        self._write = write
        self._lane = lane
        self._prepare = prepare
        self._window = ResizableSemaphore(size.window)
        self._finished: deque[tuple[int, Result]] = deque()
        self._ended = False
        self._reading = anyio.CancelScope()
        self._working = anyio.CancelScope()
        self._stopped = False
        self._waiting: dict[int, Result] = {}
        self._told: frozenset[int] = frozenset()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def stop(self, grace_s: float) -> None:
        """Take no more work; what is under way has `grace_s` seconds to finish."""
        self._stopped = True
        self._reading.cancel()
        self._working.deadline = anyio.current_time() + grace_s

    @property
    def waits(self) -> bool:
        """Whether a finished result waits for its turn."""
        return bool(self._waiting)

    def early(self, *, last: bool = False) -> list[Result]:
        """Results that are finished and wait for their turn, each given once.

        At the `last` call those are among them that are on their way to the writer,
        in any order: it must be the end of the program.
        """
        if last:
            self._waiting.update(self._finished)
            self._finished.clear()
        new = [self._waiting[n] for n in sorted(self._waiting.keys() - self._told)]
        self._told = frozenset(self._waiting)
        return new

    async def run(self, jobs: Callable[[TaskGroup], AsyncIterator[Job]]) -> None:
        """Take all jobs, do them, write their results.

        `jobs` is given the task group in which it may run what it needs. Exceptions
        of `jobs`, `work` and `write` end the run and come out as they are.
        """
        news = asyncio.Event()
        async with anyio.create_task_group() as writing:
            writing.start_soon(self._writer, news)
            with self._working:
                async with anyio.create_task_group() as working:
                    await self._reader(jobs, working, news)
            self._ended = True
            news.set()

    async def _reader(
        self,
        jobs: Callable[[TaskGroup], AsyncIterator[Job]],
        working: TaskGroup,
        news: asyncio.Event,
    ) -> None:
        lanes: dict[Hashable, _Lane[Job]] = {}
        with self._reading:
            async with anyio.create_task_group() as listing:
                number = 0
                async for job in jobs(listing):
                    if not self._window.take():
                        await self._window.acquire()
                    if self._stopped:
                        await anyio.lowlevel.checkpoint()  # the end
                    name = self._lane(job) if self._lane else None
                    lane = lanes.get(name)
                    if lane is None:
                        lane = lanes[name] = _Lane(self._size.workers_of(name))
                    lane.jobs.append((number, job))
                    number += 1
                    if self._prepare and len(lane.jobs) <= lane.ahead:
                        self._prepare(job, working)
                    if lane.workers < lane.most:
                        lane.workers += 1
                        working.start_soon(self._worker, lane, working, news)

    async def _worker(
        self,
        lane: _Lane[Job],
        working: TaskGroup,
        news: asyncio.Event,
    ) -> None:
        while lane.jobs and not self._stopped:
            number, job = lane.jobs.popleft()
            if self._prepare and len(lane.jobs) >= lane.ahead:
                self._prepare(lane.jobs[lane.ahead - 1][1], working)
            # Nothing is awaited between the work and this line: what is finished
            # is never lost to a cancellation. The window bounds how much there is.
            self._finished.append((number, await self._work(job)))
            news.set()
        lane.workers -= 1

    async def _writer(self, news: asyncio.Event) -> None:
        waiting = self._waiting
        turn = 0
        while self._finished or not self._ended:
            if not self._finished:
                await news.wait()
                news.clear()
                continue
            number, result = self._finished.popleft()
            if not self._in_order:
                await self._put(result)
                continue
            waiting[number] = result
            while turn in waiting:
                await self._put(waiting.pop(turn))
                turn += 1
        # Only after a stop: what lies behind a job that was not finished.
        for number in sorted(waiting):
            await self._put(waiting.pop(number))

    async def _put(self, result: Result) -> None:
        await self._write(result)
        self._window.release()
