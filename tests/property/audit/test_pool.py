"""N jobs give N results, each once and in order, whatever the timing."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.abc import TaskGroup
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.audit.pool import Pool

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
        self.most_ahead = 0
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
        self.most_ahead = max(self.most_ahead, job - len(self.written))
        await _pause(self.chance)
        self.finished.append(job)
        return job

    async def write(self, result: int) -> None:
        await _pause(self.chance)
        self.written.append(result)


@settings(max_examples=150, deadline=None)
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
    assert harness.most_ahead <= size[1]


@settings(max_examples=80, deadline=None)
@given(count=st.integers(0, 60), size=sizes, seed=st.integers(0, 2**32))
def test_in_completion_order_every_result_is_written_once(
    count: int, size: Size, seed: int
) -> None:
    async def main() -> _Harness:
        harness = _Harness(count, size, seed=seed, in_order=False)
        await harness.pool.run(harness.jobs)
        return harness

    assert sorted(anyio.run(main).written) == list(range(count))


@settings(max_examples=150, deadline=None)
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
