"""How many requests a host gets at once, and how soon the next one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.abc import TaskGroup

from auditor.registry.host_limits import Politeness
from tests.clock import ManualClock, settle


class _Host:
    """Tasks that hold slots until they are told to give them back."""

    def __init__(self, group: TaskGroup, most_at_once: int) -> None:
        self.clock = ManualClock()
        self.slots = Politeness(most_at_once=most_at_once, clock=self.clock)
        self.had_at: list[float] = []
        self._group = group
        self._back: list[anyio.Event] = []

    async def ask(self, count: int = 1) -> None:
        for _ in range(count):
            self._group.start_soon(self._hold)
        await settle()

    async def _hold(self) -> None:
        self.had_at.append(await self.slots.acquire())
        back = anyio.Event()
        self._back.append(back)
        await back.wait()
        self.slots.release()

    @property
    def busy(self) -> int:
        return len(self._back)

    async def give_back(self, count: int | None = None) -> None:
        count = self.busy if count is None else count
        given, self._back = self._back[:count], self._back[count:]
        for back in given:
            back.set()
        await settle()


def with_host(most_at_once: int, test: Callable[[_Host], Awaitable[None]]) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            await test(_Host(group, most_at_once))
            group.cancel_scope.cancel()

    anyio.run(main)


def test_no_more_than_the_limit_are_let_in_at_once() -> None:
    async def test(host: _Host) -> None:
        await host.ask(10)
        assert host.busy == 4
        await host.give_back(1)
        assert host.busy == 4
        assert len(host.had_at) == 5
        for _ in range(3):
            await host.give_back()
        assert len(host.had_at) == 10

    with_host(4, test)


def test_acquire_tells_when_the_slot_was_had() -> None:
    async def test(host: _Host) -> None:
        await host.ask(2)
        await host.clock.advance(5)
        await host.give_back(1)
        assert host.had_at == [1000.0, 1005.0]

    with_host(1, test)


# -- holding back --------------------------------------------------------------


def test_nobody_is_let_in_before_the_host_wants_it() -> None:
    async def test(host: _Host) -> None:
        host.slots.hold_back(30)
        await host.ask(3)
        assert host.busy == 0
        await host.clock.advance(29.9)
        assert host.busy == 0
        await host.clock.advance(0.1)
        assert host.busy == 3
        assert host.had_at == [1030.0] * 3

    with_host(4, test)


def test_who_waits_for_a_slot_is_held_back_too() -> None:
    async def test(host: _Host) -> None:
        await host.ask(2)
        host.slots.hold_back(10)
        await host.give_back()
        assert host.busy == 0
        await host.clock.advance(10)
        assert host.busy == 1
        assert host.had_at == [1000.0, 1010.0]

    with_host(1, test)


def test_no_slot_is_held_while_being_held_back() -> None:
    async def test(host: _Host) -> None:
        await host.ask(1)
        host.slots.hold_back(10)
        await host.ask(5)
        await host.clock.advance(10)
        assert host.busy == 4

    with_host(4, test)


@pytest.mark.parametrize(("first", "second", "until"), [(30, 5, 30), (5, 30, 30)])
def test_the_longest_hold_counts(first: float, second: float, until: float) -> None:
    async def test(host: _Host) -> None:
        host.slots.hold_back(first)
        host.slots.hold_back(second)
        await host.ask(1)
        await host.clock.advance(until - 0.5)
        assert host.busy == 0
        await host.clock.advance(0.5)
        assert host.busy == 1

    with_host(4, test)


def test_a_hold_that_is_made_longer_while_waiting_is_kept() -> None:
    async def test(host: _Host) -> None:
        host.slots.hold_back(10)
        await host.ask(1)
        await host.clock.advance(5)
        host.slots.hold_back(10)
        await host.clock.advance(5)
        assert host.busy == 0
        await host.clock.advance(5)
        assert host.had_at == [1015.0]

    with_host(4, test)


def test_a_hold_of_no_time_holds_nobody() -> None:
    async def test(host: _Host) -> None:
        host.slots.hold_back(0)
        await host.ask(1)
        assert host.busy == 1
        assert host.clock.slept == []

    with_host(4, test)


# -- the limit -----------------------------------------------------------------


def test_requests_that_were_under_way_together_are_one_sign_of_distress() -> None:
    async def test(host: _Host) -> None:
        sent_at = host.clock.now
        await host.clock.advance(1)
        for _ in range(8):
            host.slots.distress(sent_at)
        assert host.slots.limit == 4
        host.slots.distress(host.clock.now)  # sent in the moment of the halving
        assert host.slots.limit == 4

    with_host(8, test)


def test_each_round_of_distress_halves_down_to_one() -> None:
    async def test(host: _Host) -> None:
        limits = []
        for _ in range(5):
            await host.clock.advance(1)
            sent_at = host.clock.now
            await host.clock.advance(1)
            host.slots.distress(sent_at)
            limits.append(host.slots.limit)
        assert limits == [4, 2, 1, 1, 1]

    with_host(9, test)


def test_a_halved_limit_takes_effect_as_slots_come_back() -> None:
    async def test(host: _Host) -> None:
        await host.ask(20)
        host.slots.distress(host.clock.now)
        assert host.busy == 8  # what is under way stays under way
        await host.give_back(4)
        assert host.busy == 4
        await host.give_back(1)
        assert host.busy == 4

    with_host(8, test)


async def _succeed(host: _Host, count: int) -> None:
    """So many requests end well, one after the other."""
    for _ in range(count):
        await host.give_back(1)
        host.slots.ease()


def test_the_limit_grows_by_one_for_a_round_of_successes_in_full_use() -> None:
    async def test(host: _Host) -> None:
        await host.ask(200)
        host.slots.distress(host.clock.now)
        await host.give_back(6)
        assert (host.slots.limit, host.busy) == (4, 4)
        await _succeed(host, 3)
        assert host.slots.limit == 4
        await _succeed(host, 1)
        assert host.slots.limit == 5
        await _succeed(host, 4)
        assert host.slots.limit == 5
        await _succeed(host, 1)
        assert host.slots.limit == 6

    with_host(8, test)


def test_the_limit_never_grows_above_what_is_configured() -> None:
    async def test(host: _Host) -> None:
        await host.ask(200)
        await _succeed(host, 50)
        assert host.slots.limit == 3
        host.slots.distress(host.clock.now)
        await _succeed(host, 50)
        assert host.slots.limit == 3

    with_host(3, test)


def test_the_limit_does_not_grow_while_it_is_not_used() -> None:
    async def test(host: _Host) -> None:
        host.slots.distress(host.clock.now)
        assert host.slots.limit == 4
        for _ in range(50):
            await host.ask(1)
            await _succeed(host, 1)
        assert host.slots.limit == 4

    with_host(8, test)


def test_distress_starts_the_count_of_successes_again() -> None:
    async def test(host: _Host) -> None:
        await host.ask(200)
        host.slots.distress(host.clock.now)
        await host.give_back(6)
        await _succeed(host, 3)
        await host.clock.advance(1)
        host.slots.distress(host.clock.now)
        assert host.slots.limit == 2
        await host.give_back(2)
        await _succeed(host, 1)
        assert host.slots.limit == 2
        await _succeed(host, 1)
        assert host.slots.limit == 3

    with_host(8, test)


def test_who_is_cancelled_while_waiting_takes_no_slot_along() -> None:
    async def test(host: _Host) -> None:
        await host.ask(1)
        scope = anyio.CancelScope()

        async def impatient() -> None:
            with scope:
                await host.slots.acquire()

        async with anyio.create_task_group() as group:
            group.start_soon(impatient)
            await settle()
            scope.cancel()
        await host.give_back()
        await host.ask(1)
        assert host.busy == 1

    with_host(1, test)
