"""Slots for requests in flight to one host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from auditor.config.requests_at_once import DEFAULT_REQUESTS_AT_ONCE, RequestsAtOnce
from auditor.errors import Failure, FailureKind
from auditor.registry.concurrency_limiter import ConcurrencyLimiter, HostLimiters
from auditor.registry.transport.connection_budget import ConnectionBudget
from tests.clock import ManualClock, settle
from tests.responses import response


class _Host:
    """Tasks that hold slots until `give_back`."""

    def __init__(self, group: TaskGroup, bounds: RequestsAtOnce) -> None:
        self.clock = ManualClock()
        self.slots = ConcurrencyLimiter(
            bounds=bounds, budget=ConnectionBudget(8000), clock=self.clock
        )
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


def with_host(
    bounds: RequestsAtOnce | int, test: Callable[[_Host], Awaitable[None]]
) -> None:
    if isinstance(bounds, int):
        bounds = RequestsAtOnce.fixed(bounds)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            await test(_Host(group, bounds))
            group.cancel_scope.cancel()

    anyio.run(main)


def test_no_more_slots_than_the_limit_are_given_out() -> None:
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


def test_acquire_returns_the_time_at_which_the_slot_was_taken() -> None:
    async def test(host: _Host) -> None:
        await host.ask(2)
        await host.clock.advance(5)
        await host.give_back(1)
        assert host.had_at == [1000.0, 1005.0]

    with_host(1, test)


def test_a_slot_without_a_connection_of_all_hosts_is_given_back() -> None:
    budget = ConnectionBudget(2)  # one request at a time
    slots = ConcurrencyLimiter(
        bounds=RequestsAtOnce.fixed(1), budget=budget, clock=ManualClock()
    )
    assert budget.requests.take()  # of another host
    assert slots.try_acquire() is None
    assert slots.in_flight == 0
    budget.requests.release()
    assert slots.try_acquire() is not None


def test_a_cancelled_wait_for_a_connection_keeps_no_slot() -> None:
    budget = ConnectionBudget(2)
    slots = ConcurrencyLimiter(
        bounds=RequestsAtOnce.fixed(1), budget=budget, clock=ManualClock()
    )
    assert budget.requests.take()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(slots.acquire)
            await settle()
            assert slots.in_flight == 1
            group.cancel_scope.cancel()

    anyio.run(main)
    assert slots.in_flight == 0
    assert budget.requests.free == 0


class _Control:
    """What is told of each answer, in place of `ConcurrencyControl`."""

    limit = 2

    def __init__(self) -> None:
        self.full: list[bool] = []

    def answered(self, *_: object, is_full: bool, **__: object) -> None:
        self.full.append(is_full)


def test_the_limit_is_full_if_a_request_waited_for_the_slot() -> None:
    async def test(host: _Host) -> None:
        control: Any = _Control()
        host.slots.control = control
        for asked in (3, 0):
            await host.ask(asked)
            host._back.pop(0).set()
            await settle()
            host.slots.answered("manifest", response(200), sent_at=1000.0)
        assert control.full == [True, False]

    with_host(2, test)


# -- holding back --------------------------------------------------------------


def test_no_slot_is_given_out_while_the_host_is_held_back() -> None:
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


def test_a_request_in_the_queue_is_held_back_too() -> None:
    async def test(host: _Host) -> None:
        await host.ask(2)
        host.slots.hold_back(10)
        await host.give_back()
        assert host.busy == 0
        await host.clock.advance(10)
        assert host.busy == 1
        assert host.had_at == [1000.0, 1010.0]

    with_host(1, test)


def test_requests_that_are_held_back_occupy_no_slot() -> None:
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


def test_a_hold_extended_while_waiting_is_respected() -> None:
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


def test_a_hold_of_zero_seconds_has_no_effect() -> None:
    async def test(host: _Host) -> None:
        host.slots.hold_back(0)
        await host.ask(1)
        assert host.busy == 1
        assert host.clock.slept == []

    with_host(4, test)


# -- the limit -----------------------------------------------------------------

_TIMEOUT = Failure(kind=FailureKind.TIMEOUT, detail="")


def test_a_halved_limit_takes_effect_as_slots_come_back() -> None:
    async def test(host: _Host) -> None:
        await host.ask(20)
        host.slots.failed(_TIMEOUT, host.clock.now)
        assert host.busy == 8  # what is under way stays under way
        await host.give_back(4)
        assert host.busy == 4
        await host.give_back(1)
        assert host.busy == 4

    with_host(8, test)


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (Failure(kind=FailureKind.RATE_LIMITED, detail="", status=429), "throttled"),
        (Failure(kind=FailureKind.SERVER_ERROR, detail="", status=503), "throttled"),
        (Failure(kind=FailureKind.SERVER_ERROR, detail="", status=500), "server_error"),
        (_TIMEOUT, "timeout"),
        (Failure(kind=FailureKind.CONNECT, detail=""), "connection"),
        (Failure(kind=FailureKind.DNS, detail=""), "start"),
        (Failure(kind=FailureKind.NOT_FOUND, detail="", status=404), "start"),
        (Failure(kind=FailureKind.INTERRUPTED, detail=""), "start"),
    ],
)
def test_distress_is_told_from_other_failures(failure: Failure, cause: str) -> None:
    async def test(host: _Host) -> None:
        host.slots.failed(failure, host.clock.now)
        assert host.slots.control.last_move == cause
        assert host.slots.is_reduced == (cause != "start")
        assert host.slots.limit == (8 if cause == "start" else 4)

    with_host(8, test)


def test_answers_in_full_use_raise_the_limit_and_give_out_slots() -> None:
    async def test(host: _Host) -> None:
        await host.ask(200)
        for _ in range(12):  # those that were sent first, and a round
            assert host.slots.limit == host.busy == 4
            await host.clock.advance(0.05)
            sent_at = host.clock.now - 0.05
            await host.give_back(1)
            answer = replace(response(200), round_trip_s=0.2)
            host.slots.answered("manifest", answer, sent_at)
        await settle()
        assert host.slots.limit == host.busy == 7

    with_host(RequestsAtOnce(1, 64), test)


@pytest.mark.parametrize(
    ("kind", "status", "size", "slowdown"),
    [
        ("manifest", 200, 10, 20),
        ("manifest", 200, 100_000, 1),
        ("manifest", 200, 1_000_000, 1),
        ("manifest", 404, 10, 1),
        ("head", 200, 10, 1),
    ],
)
def test_answers_that_differ_in_work_are_classes_of_their_own(
    kind: str, status: int, size: int, slowdown: float
) -> None:
    async def test(host: _Host) -> None:
        small = replace(response(200), round_trip_s=0.1)
        other = replace(response(status, b"x" * size), round_trip_s=2.0)
        for _ in range(20):
            await host.clock.advance(0.01)
            host.slots.answered("manifest", small, host.clock.now)
        for _ in range(8):
            await host.clock.advance(0.01)
            host.slots.answered(kind, other, host.clock.now)
        assert host.slots.control.baselines.slowdown == pytest.approx(slowdown)

    with_host(RequestsAtOnce(1, 64), test)


def test_hosts_are_told_by_their_origin() -> None:
    limiters = HostLimiters(
        budget=ConnectionBudget(8000),
        clock=ManualClock(),
        remembered={"https://a.example.com": 5}.get,
    )
    bounds = RequestsAtOnce(1, 64)
    begin, limiter = limiters.of("https://a.example.com/v2/x/manifests/1", bounds)
    assert begin == "https://a.example.com/"
    assert limiter.limit == 2  # half of what it stood
    same = limiters.of("https://A.example.com:443/token?service=x", bounds)
    assert same[1] is limiter
    for url in "http://a.example.com/", "https://a.example.com:444/", "https://b.ex/":
        assert limiters.of(url, bounds)[1] is not limiter
    assert [one.name for one in limiters.by_origin.values()] == [
        "a.example.com", "a.example.com", "a.example.com:444", "b.ex"
    ]  # fmt: skip


def test_who_allows_fewer_requests_lowers_the_limit_of_the_host() -> None:
    """As a registry that is also the token service of another one."""
    limiters = HostLimiters(budget=ConnectionBudget(8000), clock=ManualClock())
    url = "https://a.example.com/"
    limiter = limiters.of(url, RequestsAtOnce.fixed(32))[1]
    slots = [limiter.try_acquire() for _ in range(3)]
    assert None not in slots
    assert limiters.of(url, RequestsAtOnce(1, 64))[1].limit == 32
    assert limiters.of(url, RequestsAtOnce.fixed(3))[1].limit == 3
    assert limiter.try_acquire() is None
    limiters.of(url, RequestsAtOnce(1, 64))
    found = limiter.concurrency()
    assert (found.limit, found.most, found.lowest, found.highest) == (3, 3, 3, 32)
    limiter.failed(_TIMEOUT, limiter.control.moved_at + 1)
    assert limiter.limit == 1
    assert limiter.is_reduced
    for _ in range(3):
        limiter.control.answered("head", 0.1, sent_at=9999, now=9999, is_full=True)
    assert limiter.control.limit == 3
    assert not limiter.is_reduced


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        (RequestsAtOnce.fixed(16), "WARNING a.example.com: at most 12 requests"),
        (RequestsAtOnce(1, 64), "WARNING a.example.com: at most 12 requests"),
        (DEFAULT_REQUESTS_AT_ONCE, "INFO a.example.com: at most 12 requests"),
        # Enough for one host, not for two.
        (RequestsAtOnce.fixed(8), "WARNING b.example.com: at most 6 requests"),
        (RequestsAtOnce.fixed(3), None),
    ],
)
def test_it_is_told_once_if_open_files_allow_less_than_was_asked_for(
    bounds: RequestsAtOnce, told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="auditor")
    limiters = HostLimiters(budget=ConnectionBudget(24), clock=ManualClock())
    for name in "abcd":
        limiters.of(f"https://{name}.example.com/", bounds)
    found = [f"{one.levelname} {one.getMessage()}" for one in caplog.records]
    assert [one.partition(" at once")[0] for one in found] == ([told] if told else [])


def test_the_log_has_each_turn_of_the_limit_and_no_line_for_each_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", logger="auditor")
    clock = ManualClock()
    limiters = HostLimiters(budget=ConnectionBudget(8000), clock=clock)
    limiter = limiters.of("https://a.example.com/", RequestsAtOnce.fixed(64))[1]
    error = Failure(kind=FailureKind.SERVER_ERROR, detail="", status=500)
    for failure, later_s in (
        *((_TIMEOUT, 0.1), (_TIMEOUT, 0.1), (error, 0.1), (error, 0.1)),
        (error, 10.0),
    ):
        clock.now += later_s
        limiter.failed(failure, clock.now)
    assert [f"{one.levelname} {one.getMessage()}" for one in caplog.records] == [
        "INFO a.example.com: 32 requests at once, 64 before: a request timed out",
        "DEBUG a.example.com: 8 requests at once, 16 before: the host reported an"
        " error",
        "INFO a.example.com: 2 requests at once, 4 before: the host reported an error",
    ]


def test_very_few_open_files_are_told_by_default(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Fewer requests at once than the limit starts with: the audit takes long."""
    caplog.set_level("INFO", logger="auditor")
    limiters = HostLimiters(budget=ConnectionBudget(6), clock=ManualClock())
    limiters.of("https://a.example.com/", DEFAULT_REQUESTS_AT_ONCE)
    assert [f"{one.levelname} {one.getMessage()}" for one in caplog.records] == [
        "WARNING a.example.com: at most 3 requests at once, not 64, as few open files"
        " are allowed (ulimit -n)"
    ]


def test_hosts_divide_the_connections_until_there_are_four() -> None:
    limiters = HostLimiters(budget=ConnectionBudget(24), clock=ManualClock())
    bounds = RequestsAtOnce.fixed(64)
    limits = []
    for name in "abcde":
        limiters.of(f"https://{name}.example.com/", bounds)
        limits.append([one.limit for one in limiters.by_origin.values()])
    assert limits == [[12], [6] * 2, [4] * 3, [3] * 4, [3] * 5]


def test_what_is_no_url_is_the_transports_business() -> None:
    limiters = HostLimiters(budget=ConnectionBudget(8000), clock=ManualClock())
    assert limiters.of("nonsense", RequestsAtOnce.fixed(3))[1].limit == 3


def test_a_request_cancelled_in_the_queue_loses_no_slot() -> None:
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


def _paced(host: _Host) -> None:
    """Let the host refuse what is more than a request a second."""
    for now in range(8):  # accepted and refused in turn
        host.clock.now += 0.5
        sent_at = host.clock.now - 0.1
        if now % 2:
            host.slots.answered("head", response(), sent_at)
        else:
            host.slots.failed(response(429), sent_at)
    while host.slots.pace.rate is None:
        host.clock.now += 0.5
        host.slots.failed(response(429), host.clock.now - 0.1)
        host.clock.now += 0.5
        host.slots.answered("head", response(), host.clock.now - 0.1)


def test_requests_to_a_paced_host_are_sent_one_after_the_other() -> None:
    async def test(host: _Host) -> None:
        _paced(host)
        pace = host.slots.pace
        assert pace.rate is not None
        assert host.slots.try_acquire() is None  # before its turn
        await host.ask(3)
        for sent in range(1, 4):
            assert len(host.had_at) == sent - 1
            await host.clock.advance(1 / pace.rate)
            assert len(host.had_at) == sent
            await host.give_back()
        assert host.slots.try_acquire() is None

    with_host(1, test)


def test_a_request_that_ends_a_reference_passes_one_that_begins_one() -> None:
    """At the end of a run, the latter waits for ever; not with the turn of others."""

    async def test(host: _Host) -> None:
        _paced(host)
        pace = host.slots.pace
        assert pace.rate is not None
        await host.ask()  # begins a reference
        host.slots.is_draining = True
        await host.ask()  # goes on with one
        await host.clock.advance(2 / pace.rate)
        await host.clock.advance(2 / pace.rate)
        assert len(host.had_at) == 1

    with_host(1, test)


def test_the_turn_of_a_request_that_is_cancelled_is_the_next_ones() -> None:
    """Whether it slept until its turn, or waited behind the one that did."""

    async def test(host: _Host) -> None:
        _paced(host)
        pace = host.slots.pace
        assert pace.rate is not None
        waits = list[anyio.CancelScope]()
        async with anyio.create_task_group() as group:

            async def cancelled() -> None:
                with anyio.CancelScope() as wait:
                    waits.append(wait)
                    await host.slots.acquire()

            group.start_soon(cancelled)
            await settle()
            await host.ask()
            group.start_soon(cancelled)
            await settle()
            await host.ask()
            for wait in waits:
                wait.cancel()
        for sent in (1, 2):
            await host.clock.advance(1 / pace.rate)
            assert len(host.had_at) == sent
            await host.give_back()
        assert host.slots.in_flight == 0

    with_host(1, test)


def test_requests_that_waited_before_there_was_a_pace_keep_to_it() -> None:
    async def test(host: _Host) -> None:
        await host.ask(4)  # one is in flight, three wait for its slot
        _paced(host)
        pace = host.slots.pace
        assert pace.rate is not None
        await host.give_back()
        for sent in (2, 3, 4):
            assert len(host.had_at) == sent - 1
            await host.clock.advance(1 / pace.rate)
            assert len(host.had_at) == sent
            await host.give_back()
        assert host.slots.in_flight == 0

    with_host(1, test)
