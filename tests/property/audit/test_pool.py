"""N jobs give N results, each once and in order, whatever the timing."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.abc import TaskGroup
from hypothesis import given
from hypothesis import strategies as st

from auditor.audit.pool import Pool
from auditor.audit.spill_file import CHUNK_JOBS, LaneQueue
from tests.clock import settle
from tests.examples import examples
from tests.patience import HANG_S
from tests.support.spilled_values import note_spilled

Size = tuple[int, int]  # workers, window
sizes = st.tuples(st.integers(1, 9), st.integers(1, 12))


async def _pause(chance: random.Random) -> None:
    for _ in range(chance.randrange(4)):
        await anyio.lowlevel.checkpoint()


class _Harness:
    """A pool over the numbers 0..count-1, with pauses drawn from a seed."""

    def __init__(
        self, count: int, size: Size, *, seed: int, in_order: bool = True
    ) -> None:
        self.count = count
        self.chance = random.Random(seed)
        self.started: list[int] = []
        self.finished: list[int] = []
        self.written: list[int] = []
        self.most_in_memory = 0
        self.pool: Pool[int, int] = Pool(
            workers=lambda _: size[0],
            window=size[1],
            in_order=in_order,
            work=self.work,
            write=self.write,
            lane=lambda _: None,
        )

    async def jobs(self, group: TaskGroup) -> AsyncIterator[int]:
        for number in range(self.count):
            await _pause(self.chance)
            yield number

    async def work(self, job: int) -> int:
        self.started.append(job)
        self.most_in_memory = max(self.most_in_memory, self.pool.results_in_memory)
        await _pause(self.chance)
        self.finished.append(job)
        return job

    async def write(self, result: int) -> None:
        await _pause(self.chance)
        self.written.append(result)


@examples(150)
@given(count=st.integers(0, 60), size=sizes, seed=st.integers(0, 2**32))
def test_every_result_is_written_once_in_input_order(
    count: int, size: Size, seed: int
) -> None:
    async def main() -> _Harness:
        harness = _Harness(count, size, seed=seed)
        await harness.pool.run(harness.jobs)
        return harness

    harness = anyio.run(main)
    assert harness.written == list(range(count))
    workers, window = size
    assert harness.most_in_memory < window + workers


@examples(80)
@given(count=st.integers(0, 60), size=sizes, seed=st.integers(0, 2**32))
def test_in_completion_order_every_result_is_written_once(
    count: int, size: Size, seed: int
) -> None:
    async def main() -> _Harness:
        harness = _Harness(count, size, seed=seed, in_order=False)
        await harness.pool.run(harness.jobs)
        return harness

    assert sorted(anyio.run(main).written) == list(range(count))


@examples(150)
@given(
    count=st.integers(1, 60),
    size=sizes,
    seed=st.integers(0, 2**32),
    stop_after=st.integers(0, 60),
    grace_s=st.sampled_from([0.0, 60.0]),
)
def test_a_stopped_pool_writes_every_finished_result_once(
    count: int, size: Size, seed: int, stop_after: int, grace_s: float
) -> None:
    async def main() -> _Harness:
        harness = _Harness(count, size, seed=seed)

        async def stopper() -> None:
            while len(harness.finished) < min(stop_after, count):
                await anyio.lowlevel.checkpoint()
            harness.pool.stop(grace_s)

        async with anyio.create_task_group() as group:
            group.start_soon(stopper)
            await harness.pool.run(harness.jobs)
        return harness

    harness = anyio.run(main)
    assert sorted(harness.written) == sorted(harness.finished)
    assert len(set(harness.written)) == len(harness.written)
    assert harness.written == sorted(harness.written)
    if grace_s:
        assert sorted(harness.started) == sorted(harness.written)


# -- several lanes --------------------------------------------------------------------


class _Lanes:
    """A pool over jobs `(number, lane)`; the jobs of the lanes in `held` hang."""

    def __init__(
        self,
        lanes: list[str],
        held: set[str],
        size: Size,
        *,
        in_order: bool = True,
        listed: bool = False,
    ) -> None:
        self.jobs_to_do = list(enumerate(lanes))
        self.held = held
        self.released = anyio.Event()
        self.finished: list[tuple[int, str]] = []
        self.written: list[tuple[int, str]] = []
        self.early: list[tuple[int, str]] = []
        self.most_results = 0
        self.pool: Pool[tuple[int, str], tuple[int, str]] = Pool(
            workers=lambda _: size[0],
            window=size[1],
            in_order=in_order,
            work=self.work,
            write=self.write,
            lane=lambda job: job[1],
            is_listed=lambda _: listed,
        )

    async def jobs(self, group: TaskGroup) -> AsyncIterator[tuple[int, str]]:
        for job in self.jobs_to_do:
            await anyio.lowlevel.checkpoint()
            yield job

    async def work(self, job: tuple[int, str]) -> tuple[int, str]:
        await anyio.lowlevel.checkpoint()
        if job[1] in self.held:
            await self.released.wait()
        self.finished.append(job)
        self.most_results = max(self.most_results, self.pool.results_in_memory)
        return job

    async def write(self, result: tuple[int, str]) -> None:
        await anyio.lowlevel.checkpoint()
        self.written.append(result)


@examples(100)
@given(
    lanes=st.one_of(
        st.lists(st.sampled_from("abcd"), max_size=120),
        # A block of one host, longer than everything that is in memory for it.
        st.builds(
            lambda count, rest: ["a"] * count + rest,
            st.integers(0, 400),
            st.lists(st.sampled_from("bcd"), max_size=40),
        ),
    ),
    held=st.sets(st.sampled_from("abcd")),
    size=sizes,
    in_order=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_silent_hosts_hold_up_no_other_host(
    lanes: list[str], held: set[str], size: Size, in_order: bool, seed: int
) -> None:
    """All jobs of the others are finished, and in the journal, while some hang."""
    chance = random.Random(seed)

    async def main() -> _Lanes:
        harness = _Lanes(lanes, held, size, in_order=in_order)
        pool = harness.pool
        healthy = [job for job in harness.jobs_to_do if job[1] not in held]

        async def watch() -> None:
            while len(harness.finished) < len(healthy):
                await anyio.lowlevel.checkpoint()
                if chance.random() < 0.1:
                    harness.early += pool.early_results()
            assert sorted(harness.finished) == healthy
            await settle()  # the writer writes what it can
            assert len(harness.written) + pool.waiting == len(healthy)
            harness.early += pool.early_results()
            saved = {*harness.written, *harness.early}
            assert saved >= set(healthy)
            harness.released.set()

        with anyio.fail_after(HANG_S):
            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                await pool.run(harness.jobs)
        assert pool.waiting == 0
        return harness

    harness = anyio.run(main)
    if in_order:
        assert harness.written == harness.jobs_to_do
    assert sorted(harness.written) == harness.jobs_to_do
    assert len(set(harness.early)) == len(harness.early)
    workers, window = size
    assert harness.most_results < window + workers * len(set(lanes) | {""})


def test_the_jobs_of_a_silent_host_are_not_kept_in_memory() -> None:
    count, workers = 20_000, 4

    async def main() -> tuple[int, int]:
        harness = _Lanes(["silent"] * count + ["b"], {"silent"}, (workers, 8))
        lanes: list[LaneQueue[tuple[int, str]]] = []
        new_lane = harness.pool._new_lane

        def noted(name: object) -> object:
            lane = new_lane(name)
            lanes.append(lane.jobs)
            return lane

        harness.pool._new_lane = noted  # type: ignore[assignment]
        spilled = note_spilled(harness.pool.spill_file)
        most = 0

        async def watch() -> None:
            nonlocal most
            while not harness.finished:
                await anyio.lowlevel.checkpoint()
                most = max(
                    [most, *(len(lane._head) + len(lane._tail) for lane in lanes)]
                )
            assert len(lanes[0]) == count - workers
            harness.released.set()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await harness.pool.run(harness.jobs)
        assert harness.written == harness.jobs_to_do
        return most, sum(spilled)

    most, spilled = anyio.run(main)
    assert most <= 2 * workers + 2 * CHUNK_JOBS
    assert spilled > 10 * count


def test_a_listing_is_read_a_window_ahead_of_a_host_that_answers() -> None:
    """What was listed may be gone when its turn comes."""
    most = 0

    async def main() -> None:
        harness = _Lanes(["a"] * 300, set(), (2, 5), listed=True)

        async def jobs(group: TaskGroup) -> AsyncIterator[tuple[int, str]]:
            nonlocal most
            async for job in harness.jobs(group):
                most = max(most, job[0] - len(harness.finished))
                yield job

        await harness.pool.run(jobs)
        assert harness.written == harness.jobs_to_do

    anyio.run(main)
    assert most <= 5 + 2 * 2


def test_a_listing_of_a_silent_host_is_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.audit.pool.STALLED_S", 0.0)

    async def main() -> None:
        lanes = ["silent"] * 50 + ["b"] * 50
        harness = _Lanes(lanes, {"silent"}, (2, 5), listed=True)

        async def watch() -> None:
            while len(harness.finished) < 50:
                await anyio.lowlevel.checkpoint()
            harness.released.set()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await harness.pool.run(harness.jobs)
        assert harness.written == harness.jobs_to_do

    anyio.run(main)


@pytest.mark.parametrize("place", ["put", "get"])
def test_without_temporary_space_all_results_are_written(
    place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    room = {"put": 0, "get": 3000}[place]
    pwrite = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room -= len(data)
        return pwrite(fd, data, offset)

    monkeypatch.setattr("auditor.audit.spill_file.os.pwrite", full)

    async def main() -> None:
        harness = _Lanes(["a"] * 300 + ["b"] * 300, {"a"}, (2, 5))

        async def watch() -> None:
            while len(harness.finished) < 300:
                await anyio.lowlevel.checkpoint()
            harness.released.set()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await harness.pool.run(harness.jobs)
        assert harness.written == harness.jobs_to_do

    anyio.run(main)
    assert "no temporary space" in caplog.text


@pytest.mark.parametrize("place", ["jobs", "work", "write"])
def test_an_exception_ends_the_pool_and_propagates(place: str) -> None:
    class BugError(Exception):
        pass

    async def main() -> None:
        harness = _Harness(50, (4, 8), seed=1)

        async def broken(*_: object) -> int:
            raise BugError

        async def broken_jobs(group: TaskGroup) -> AsyncIterator[int]:
            yield 1
            raise BugError

        pool: Pool[int, int] = Pool(
            workers=lambda _: 4,
            window=8,
            in_order=True,
            work=broken if place == "work" else harness.work,
            write=broken if place == "write" else harness.write,  # type: ignore[arg-type]
            lane=lambda _: None,
        )
        await pool.run(broken_jobs if place == "jobs" else harness.jobs)

    with pytest.raises(BaseExceptionGroup) as caught:
        anyio.run(main)
    matched, _ = caught.value.split(BugError)
    assert matched is not None
