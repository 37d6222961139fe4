"""Slots are never exceeded, lost or passed on out of order by cancellations."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from auditor.util.tasks import ResizableSemaphore
from tests.examples import examples

ACTIONS = st.lists(
    st.one_of(
        st.just(("ask", 0)),
        st.tuples(st.sampled_from(["give back", "cancel"]), st.integers(0, 20)),
        st.tuples(st.just("limit"), st.integers(1, 5)),
        st.just(("settle", 0)),
    ),
    max_size=60,
)


@dataclass(slots=True)
class World:
    """Tasks that acquire a slot and hold it until they are told to release it."""

    slots: ResizableSemaphore
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    had: list[int] = field(default_factory=list)
    back: dict[int, asyncio.Event] = field(default_factory=dict)

    def ask(self) -> None:
        number = len(self.tasks)
        self.back[number] = asyncio.Event()
        self.tasks.append(asyncio.create_task(self._hold(number)))

    async def _hold(self, number: int) -> None:
        await self.slots.acquire()
        self.had.append(number)
        try:
            await self.back[number].wait()
        finally:
            self.slots.release()

    @property
    def held(self) -> int:
        return sum(not self.tasks[number].done() for number in self.had)

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)


@examples(150)
@given(st.integers(1, 4), ACTIONS)
def test_the_limit_holds_for_any_order_of_callers_and_cancellations(
    limit: int, actions: list[tuple[str, int]]
) -> None:
    async def main() -> None:
        world = World(ResizableSemaphore(limit))
        most = limit
        for action, number in actions:
            if action == "ask":
                world.ask()
            elif action == "limit":
                world.slots.limit = number
                most = max(most, number)
            elif action == "settle":
                await world.settle()
                assert world.slots.free == world.slots.limit - world.held
                waiting = [
                    one
                    for one, task in enumerate(world.tasks)
                    if one not in world.had and not task.done()
                ]
                assert not waiting or world.slots.free <= 0
                # First come, first served; the order of tasks that are admitted at the
                # same time depends on the event loop.
                assert max(world.had, default=-1) < min(
                    waiting, default=len(world.tasks)
                )
            elif world.tasks:
                chosen = number % len(world.tasks)
                if action == "cancel":
                    world.tasks[chosen].cancel()
                else:
                    world.back[chosen].set()
            assert world.held <= most
        for event in world.back.values():
            event.set()
        await asyncio.wait([*world.tasks, asyncio.create_task(world.settle())])
        assert world.slots.free == world.slots.limit

    asyncio.run(main())
