"""Several things at once: in their order, no more than allowed, ended together."""

from __future__ import annotations

import anyio
import pytest

from auditor.util.single_flight import concurrently
from tests.clock import settle


def test_results_stand_in_the_order_of_the_items() -> None:
    async def main() -> list[int]:
        async def work(item: int) -> int:
            for _ in range(5 - item):
                await anyio.lowlevel.checkpoint()
            return item * 10

        return await concurrently(work, range(5), at_once=3)

    assert anyio.run(main) == [0, 10, 20, 30, 40]


def test_no_more_than_allowed_are_under_way() -> None:
    busy: list[int] = []
    most: list[int] = []

    async def main() -> None:
        async def work(item: int) -> None:
            busy.append(item)
            most.append(len(busy))
            await anyio.lowlevel.checkpoint()
            busy.remove(item)

        await concurrently(work, range(20), at_once=4)

    anyio.run(main)
    assert max(most) == 4
    assert len(most) == 20


@pytest.mark.parametrize("count", [1, 5])
def test_who_is_cancelled_leaves_nobody_behind(count: int) -> None:
    ended: list[int] = []

    async def main() -> None:
        async def work(item: int) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(item)

        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: concurrently(work, range(count), at_once=9))
                await settle()
                scope.cancel()
        assert scope.cancelled_caught

    anyio.run(main)
    assert sorted(ended) == list(range(count))


def test_a_bug_in_one_ends_the_others_and_comes_out() -> None:
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

        await concurrently(work, range(4), at_once=9)

    with pytest.raises(ExceptionGroup) as caught:
        anyio.run(main)
    assert caught.value.split(BugError)[1] is None
    assert sorted(ended) == [0, 1, 3]
