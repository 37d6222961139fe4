"""Concurrent callers share one call, also if its leader is cancelled."""

from __future__ import annotations

import anyio
import pytest

from auditor.util.tasks import SingleFlight, bounded_gather
from tests.clock import settle


class _Fetch:
    """Calls that end when the test opens the gate; the n-th returns n."""

    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.started = 0
        self.landed = 0

    async def __call__(self) -> int:
        self.started += 1
        number = self.started
        await self.gate.wait()
        self.landed += 1
        return number


def test_concurrent_callers_share_one_call() -> None:
    async def main() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        fetch = _Fetch()
        got: list[int] = []

        async def ask() -> None:
            got.append(await flights.run("key", fetch))

        async with anyio.create_task_group() as group:
            for _ in range(500):
                group.start_soon(ask)
            await settle()
            assert flights.in_flight("key")
            fetch.gate.set()
        assert got == [1] * 500
        assert fetch.started == 1
        assert flights.shared == 499
        assert not flights.in_flight("key")

    anyio.run(main)


@pytest.mark.parametrize(
    ("uncertain", "calls", "expected"),
    [
        (0, 1, [1] * 50),
        (1, 2, [1] + [2] * 49),  # the first caller keeps its own result
        (2, 2, [1] + [2] * 49),  # the second one is shared, certain or not
    ],
)
def test_an_uncertain_result_is_shared_once_a_second_call_gives_one_too(
    uncertain: int, calls: int, expected: list[int]
) -> None:
    async def main() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        fetch = _Fetch()
        got: list[int] = []

        async def ask() -> None:
            got.append(
                await flights.run(
                    "key", fetch, is_certain=lambda number: number > uncertain
                )
            )

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(ask)
            await settle()
            fetch.gate.set()
        assert sorted(got) == expected
        assert fetch.started == calls

    anyio.run(main)


def test_results_are_not_kept() -> None:
    async def main() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        fetch = _Fetch()
        fetch.gate.set()
        assert [await flights.run("key", fetch) for _ in range(3)] == [1, 2, 3]
        assert flights.shared == 0

    anyio.run(main)


def test_different_keys_do_not_share_a_call() -> None:
    async def main() -> None:
        flights: SingleFlight[int, int] = SingleFlight()
        fetch = _Fetch()
        async with anyio.create_task_group() as group:
            for key in range(5):
                group.start_soon(flights.run, key, fetch)
            await settle()
            assert fetch.started == 5
            fetch.gate.set()

    anyio.run(main)


@pytest.mark.parametrize("value", [None, 0, "", False])
def test_falsy_results_are_shared(value: object) -> None:
    async def main() -> None:
        flights: SingleFlight[str, object] = SingleFlight()
        gate = anyio.Event()
        fetches = 0
        got: list[object] = []

        async def fetch() -> object:
            nonlocal fetches
            fetches += 1
            await gate.wait()
            return value

        async def ask() -> None:
            got.append(await flights.run("key", fetch))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask)
            await settle()
            gate.set()
        assert got == [value] * 3
        assert fetches == 1

    anyio.run(main)


def test_when_the_leader_is_cancelled_one_of_500_waiters_leads() -> None:
    async def main() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        fetch = _Fetch()
        got: list[int] = []
        leader = anyio.CancelScope()

        async def lead() -> None:
            with leader:
                await flights.run("key", fetch)

        async def ask() -> None:
            got.append(await flights.run("key", fetch))

        async with anyio.create_task_group() as group:
            group.start_soon(lead)
            await settle()
            for _ in range(500):
                group.start_soon(ask)
            await settle()
            leader.cancel()
            await settle()
            assert fetch.started == 2
            fetch.gate.set()
        assert got == [2] * 500
        assert fetch.started == 2
        assert fetch.landed == 1

    anyio.run(main)


def test_a_cancelled_waiter_does_not_affect_the_others() -> None:
    async def main() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        fetch = _Fetch()
        got: list[int] = []
        waiter = anyio.CancelScope()

        async def ask(scope: anyio.CancelScope) -> None:
            with scope:
                got.append(await flights.run("key", fetch))

        async with anyio.create_task_group() as group:
            group.start_soon(ask, anyio.CancelScope())
            await settle()
            group.start_soon(ask, waiter)
            group.start_soon(ask, anyio.CancelScope())
            await settle()
            waiter.cancel()
            await settle()
            fetch.gate.set()
        assert got == [1, 1]

    anyio.run(main)


def test_after_all_callers_are_cancelled_the_key_is_free() -> None:
    async def main() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        fetch = _Fetch()
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(flights.run, "key", fetch)
            await settle()
            group.cancel_scope.cancel()
        assert not flights.in_flight("key")
        fetch.gate.set()
        assert await flights.run("key", fetch) == fetch.started

    anyio.run(main)


def test_an_exception_is_raised_by_the_leader_only() -> None:
    class BugError(Exception):
        pass

    async def main() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        gate = anyio.Event()
        caught: list[str] = []
        fetches = 0

        async def fetch() -> int:
            nonlocal fetches
            fetches += 1
            if fetches == 1:
                await gate.wait()
                raise BugError
            return 7

        async def lead() -> None:
            try:
                await flights.run("key", fetch)
            except BugError:
                caught.append("leader")

        async def ask() -> None:
            assert await flights.run("key", fetch) == 7

        async with anyio.create_task_group() as group:
            group.start_soon(lead)
            await settle()
            group.start_soon(ask)
            await settle()
            gate.set()
        assert caught == ["leader"]

    anyio.run(main)


# -- bounded_gather --


def test_results_are_in_the_order_of_the_items() -> None:
    async def main() -> list[int]:
        async def work(item: int) -> int:
            for _ in range(5 - item):
                await anyio.lowlevel.checkpoint()
            return item * 10

        return await bounded_gather(work, range(5), limit=3)

    assert anyio.run(main) == [0, 10, 20, 30, 40]


def test_no_more_than_the_limit_run_at_a_time() -> None:
    busy: list[int] = []
    most: list[int] = []

    async def main() -> None:
        async def work(item: int) -> None:
            busy.append(item)
            most.append(len(busy))
            await anyio.lowlevel.checkpoint()
            busy.remove(item)

        await bounded_gather(work, range(20), limit=4)

    anyio.run(main)
    assert max(most) == 4
    assert len(most) == 20


@pytest.mark.parametrize("count", [1, 5])
def test_cancelling_the_caller_cancels_all_tasks(count: int) -> None:
    ended: list[int] = []

    async def main() -> None:
        async def work(item: int) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(item)

        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: bounded_gather(work, range(count), limit=9))
                await settle()
                scope.cancel()
        assert scope.cancelled_caught

    anyio.run(main)
    assert sorted(ended) == list(range(count))


def test_an_exception_in_one_cancels_the_others() -> None:
    ended: list[int] = []

    class BugError(Exception):
        pass

    async def main() -> None:
        async def work(item: int) -> None:
            if item == 2:
                raise BugError
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(item)

        await bounded_gather(work, range(4), limit=9)

    with pytest.raises(ExceptionGroup) as caught:
        anyio.run(main)
    assert caught.value.split(BugError)[1] is None
    assert sorted(ended) == [0, 1, 3]
