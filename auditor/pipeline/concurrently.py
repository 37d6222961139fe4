"""Do several things at once, in their order.

Tasks of asyncio itself: those of an anyio task group cost several times as much, and
there is one for each child of each index. A cancellation of whoever waits ends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def concurrently(
    work: Callable[[Item], Awaitable[Result]],
    items: Sequence[Item],
    *,
    at_once: int,
) -> list[Result]:
    """The results of `work` on each item, in the items' order."""
    if len(items) == 1:
        return [await work(items[0])]
    results: dict[int, Result] = {}
    todo = iter(enumerate(items))

    async def worker() -> None:
        for number, item in todo:
            results[number] = await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(items)) - 1):
            group.create_task(worker())
        await worker()  # whoever waits would do nothing else
    return [results[number] for number in range(len(items))]
