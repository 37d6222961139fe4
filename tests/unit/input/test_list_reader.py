"""A blocking iterable is read without blocking the event loop."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import aclosing

import anyio
import pytest

from auditor.input.list_reader import MAX_WAITING_ITEMS, read_in_thread
from tests.patience import HANG_S


async def _all(items: Iterable[int]) -> list[int]:
    return [item async for batch in read_in_thread(items) for item in batch]


@pytest.mark.parametrize(
    "count",
    [
        0,
        1,
        2,
        MAX_WAITING_ITEMS - 1,
        MAX_WAITING_ITEMS,
        MAX_WAITING_ITEMS + 1,
        5 * MAX_WAITING_ITEMS,
    ],
)
def test_items_arrive_once_and_in_order(count: int) -> None:
    assert anyio.run(_all, range(count)) == list(range(count))


def test_batches_are_not_empty_and_not_larger_than_the_buffer() -> None:
    async def main() -> list[int]:
        return [
            len(batch) async for batch in read_in_thread(range(3 * MAX_WAITING_ITEMS))
        ]

    sizes = anyio.run(main)
    assert all(0 < size <= MAX_WAITING_ITEMS for size in sizes)


def test_the_iterable_is_not_read_far_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(10 * MAX_WAITING_ITEMS):
            taken += 1
            yield number

    async def main() -> None:
        got = 0
        async for batch in read_in_thread(items()):
            got += len(batch)
            # received, waiting, and the one that the thread holds
            assert taken <= got + MAX_WAITING_ITEMS + 1
        assert got == 10 * MAX_WAITING_ITEMS

    anyio.run(main)


def test_items_arrive_while_the_iterable_blocks() -> None:
    more = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        more.wait()
        yield 2

    async def main() -> list[list[int]]:
        batches = []
        async for batch in read_in_thread(items()):
            batches.append(batch)
            more.set()
        return batches

    assert anyio.run(main) == [[1], [2]]


def test_other_tasks_run_while_the_iterable_blocks() -> None:
    more = threading.Event()

    def items() -> Iterator[int]:
        more.wait()
        yield 1

    async def main() -> None:
        async def other() -> None:
            more.set()

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            assert await _all(items()) == [1]

    anyio.run(main)


def test_an_exception_of_the_iterable_is_raised_after_its_items() -> None:
    class BugError(Exception):
        pass

    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise BugError

    got: list[int] = []

    async def main() -> None:
        async for batch in read_in_thread(items()):
            got.extend(batch)

    with pytest.raises(BugError):
        anyio.run(main)
    assert got == [1, 2]


def test_the_thread_ends_when_its_consumer_does() -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(10 * MAX_WAITING_ITEMS)
        finally:
            ended.set()

    async def main() -> None:
        batches = read_in_thread(items())
        async with aclosing(batches):  # type: ignore[type-var]
            async for _ in batches:
                break
        while not ended.is_set():
            await anyio.lowlevel.checkpoint()

    anyio.run(main)


def test_a_cancelled_consumer_does_not_wait_for_a_blocked_thread() -> None:
    never = threading.Event()
    reading = threading.Event()

    def items() -> Iterator[int]:
        reading.set()
        never.wait()
        yield 1

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(_all, items())
            while not reading.is_set():
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

    anyio.run(main)
    never.set()  # the reader finds the loop closed, and says nothing
    for thread in threading.enumerate():
        if thread.name == "auditor-list":
            thread.join(HANG_S)
            assert not thread.is_alive()
