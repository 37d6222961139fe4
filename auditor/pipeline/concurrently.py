"""Do several things at once, in their order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

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

    async with anyio.create_task_group() as group:
        for _ in range(min(at_once, len(items))):
            group.start_soon(worker)
    return [results[number] for number in range(len(items))]
