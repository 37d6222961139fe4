"""All hosts share the descriptors of the process."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import socket
from contextlib import AsyncExitStack
from typing import Any

import pytest

from auditor.errors import Failure, FailureKind, FailureReason
from auditor.registry.transport import connection_budget
from auditor.registry.transport.connection_budget import ConnectionBudget
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.transport import Transport
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of
from tests.scripted_server import (
    ScriptedServer,
    http_response,
    respond,
    scripted_server,
)

pytestmark = pytest.mark.anyio
TIMEOUTS = Timeouts(connect_s=10, read_s=30, request_s=60)


@pytest.mark.parametrize(
    ("descriptors", "requests", "per_host", "lookups"),
    # With ulimit -n 1024, 64, and hardly any.
    [
        (984, 492, [492, 246, 164, 123, 123], 246),
        (28, 14, [14, 7, 4, 3, 3], 7),
        (4, 2, [2, 1, 1, 1, 1], 1),
        (1, 1, [1, 1, 1, 1, 1], 1),
        (0, 1, [1, 1, 1, 1, 1], 1),
    ],
)
def test_every_part_of_the_budget_is_at_least_one(
    descriptors: int, requests: int, per_host: list[int], lookups: int
) -> None:
    budget = ConnectionBudget(descriptors)
    assert budget.requests.limit == requests
    assert [budget.max_per_host(hosts) for hosts in (1, 2, 3, 4, 400)] == per_host
    assert budget.max_lookups == lookups


class _Holder:
    """A client with one idle connection, or with none."""

    def __init__(self, budget: ConnectionBudget, expiry: float) -> None:
        self.budget = budget
        self.expiry = expiry
        budget.open += 1
        budget.holders.add(self)

    def idle_expiry(self) -> float:
        return self.expiry

    async def close_idle(self) -> None:
        assert self.expiry < math.inf
        self.expiry = math.inf
        self.budget.release()


async def test_the_connection_that_was_idle_longest_is_closed_first() -> None:
    budget = ConnectionBudget(8)
    holders = [_Holder(budget, expiry) for expiry in (30.0, 10.0, math.inf, 20.0)]
    closed = []
    for _ in range(4):
        await budget.reserve()
        closed.append([holder.expiry == math.inf for holder in holders].count(True))
    assert [one.expiry == math.inf for one in holders] == [True] * 4
    assert closed == [2, 3, 4, 4]  # then there is none left
    assert budget.open == 5
    assert budget.is_short


async def test_half_of_the_connections_may_be_opened_ahead_of_need() -> None:
    budget = ConnectionBudget(descriptors=40)
    for _ in range(10):
        assert budget.has_room_ahead
        await budget.reserve()
    assert not budget.has_room_ahead
    assert not budget.is_short


async def test_nothing_is_closed_while_there_is_room() -> None:
    budget = ConnectionBudget(8)
    holder = _Holder(budget, 10.0)
    for _ in range(3):
        await budget.reserve()
    assert holder.expiry == 10.0
    assert budget.open == 4


async def test_a_request_cancelled_while_room_is_made_counts_as_no_connection() -> None:
    class Slow(_Holder):
        async def close_idle(self) -> None:
            await asyncio.Event().wait()

    budget = ConnectionBudget(2)
    Slow(budget, 10.0)
    task = asyncio.create_task(budget.reserve())
    await asyncio.sleep(0)
    assert budget.open == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert budget.open == 1


# -- both clients ------------------------------------------------------------------


class _Hosts:
    """Servers, with a transport to each of them and one budget."""

    def __init__(
        self, servers: list[ScriptedServer], budget: ConnectionBudget, use_http1: bool
    ) -> None:
        self.servers = servers
        self.urls = [f"http://127.0.0.1:{server.port}/v2/" for server in servers]
        self.transports = [
            Transport(
                origin=origin_of(url),
                max_in_flight=2,
                timeouts=TIMEOUTS,
                budget=budget,
                use_http1=use_http1,
            )
            for url in self.urls
        ]

    async def ask(self, number: int) -> Response | Failure:
        return await self.transports[number].request(
            "GET", self.urls[number], headers={}, max_bytes=99
        )

    @property
    def connections(self) -> list[int]:
        return [server.connections for server in self.servers]


@pytest.fixture(params=[True, False], ids=["http1", "aiohttp"])
def use_http1(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def _hosts(
    stack: AsyncExitStack, count: int, budget: ConnectionBudget, use_http1: bool
) -> _Hosts:
    script = respond(http_response(b"{}"))
    servers = [
        await stack.enter_async_context(scripted_server(script)) for _ in range(count)
    ]
    hosts = _Hosts(servers, budget, use_http1)
    for transport in hosts.transports:
        stack.push_async_callback(transport.aclose)
    return hosts


async def test_an_idle_connection_of_another_host_makes_room(use_http1: bool) -> None:
    async with AsyncExitStack() as stack:
        budget = ConnectionBudget(4)  # two connections
        hosts = await _hosts(stack, 3, budget, use_http1)
        for number in (0, 1, 1, 2):
            assert isinstance(await hosts.ask(number), Response)
            assert budget.open <= 2
        assert hosts.connections == [1, 1, 1]
        for number in (1, 0):  # of host 0 the idle connection was closed
            assert isinstance(await hosts.ask(number), Response)
            assert budget.open <= 2
        assert hosts.connections == [2, 1, 1]
    assert budget.open == 0
    assert not budget.holders


async def test_many_hosts_need_no_more_connections_than_there_are(
    use_http1: bool,
) -> None:
    async with AsyncExitStack() as stack:
        budget = ConnectionBudget(4)
        hosts = await _hosts(stack, 12, budget, use_http1)

        async def ask(number: int) -> None:
            await budget.requests.acquire()  # as `ConcurrencyLimiter` does
            try:
                assert isinstance(await hosts.ask(number), Response)
                assert budget.open <= 2
            finally:
                budget.requests.release()

        await asyncio.gather(*(ask(number) for number in [*range(12)] * 3))
    assert budget.open == 0


@pytest.fixture
def shortage(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Errors of the next sockets, as error numbers; 0 makes one."""
    errors: list[int] = []
    make = socket.socket.__init__

    def init(self: socket.socket, *args: Any, **more: Any) -> None:
        is_new = more.get("fileno") is None and len(args) == 3 and args[1] == 1
        if is_new and errors and (number := errors.pop(0)):
            raise OSError(number, os.strerror(number))
        make(self, *args, **more)

    monkeypatch.setattr(socket.socket, "__init__", init)
    monkeypatch.setattr(connection_budget, "RETRY_S", 0.001)
    return errors


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_a_lack_of_descriptors_is_waited_for(
    number: int, use_http1: bool, shortage: list[int]
) -> None:
    async with AsyncExitStack() as stack:
        hosts = await _hosts(stack, 1, ConnectionBudget(100), use_http1)
        shortage += [number] * 5
        assert isinstance(await hosts.ask(0), Response)
        assert not shortage


async def test_a_lack_of_descriptors_closes_an_idle_connection(
    use_http1: bool, shortage: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_budget, "RETRY_S", math.inf)  # does not wait
    async with AsyncExitStack() as stack:
        budget = ConnectionBudget(100)
        hosts = await _hosts(stack, 2, budget, use_http1)
        await hosts.ask(0)
        shortage.append(errno.EMFILE)
        assert isinstance(await hosts.ask(1), Response)
        assert budget.open == 1
        await hosts.ask(0)
        assert hosts.connections == [2, 1]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_a_lack_that_lasts_is_no_failure_of_the_host(
    number: int,
    use_http1: bool,
    shortage: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_budget, "PATIENCE_S", 0.0)
    async with AsyncExitStack() as stack:
        budget = ConnectionBudget(100)
        hosts = await _hosts(stack, 1, budget, use_http1)
        shortage += [number] * 5
        found = await hosts.ask(0)
        assert budget.open == 0
    assert isinstance(found, Failure)
    assert (found.kind, found.reason) == (
        FailureKind.INTERRUPTED,
        FailureReason.NO_DESCRIPTOR,
    )
    assert found.detail == (
        f"not requested: no connection to {hosts.urls[0]} could be opened:"
        f" {os.strerror(number)}; raise the limit of open files (ulimit -n), or end"
        " programs that hold many files open"
    )


@pytest.mark.parametrize("order", [1, -1])
async def test_of_two_addresses_one_without_a_descriptor_is_tried_again(
    order: int,
    use_http1: bool,
    shortage: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The errors of several addresses are combined into one without a number.
    async with AsyncExitStack() as stack:
        hosts = await _hosts(stack, 1, ConnectionBudget(100), use_http1)
        port = hosts.servers[0].port
        places = [("127.0.0.1", port), ("127.0.0.1", 1)][::order]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        hosts.urls[0] = f"http://registry.example:{port}/v2/"
        hosts.transports[0] = Transport(
            origin=origin_of(hosts.urls[0]),
            max_in_flight=2,
            timeouts=TIMEOUTS,
            use_http1=use_http1,
        )
        stack.push_async_callback(hosts.transports[0].aclose)
        shortage += [errno.EMFILE, 0][::order]
        assert isinstance(await hosts.ask(0), Response)


@pytest.mark.parametrize("is_hidden", [False, True])
async def test_a_look_up_without_descriptors_is_tried_again(
    is_hidden: bool, use_http1: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_budget, "RETRY_S", 0.001)
    real, failures = socket.getaddrinfo, [1, 1]
    opened: list[object] = []

    def open_file(*args: Any) -> int:
        opened.append(args)
        raise OSError(errno.EMFILE, "Too many open files")

    def getaddrinfo(host: str, port: int, *args: Any, **more: Any) -> list[Any]:
        if host == "registry.example" and failures:
            failures.pop()
            if is_hidden:  # as glibc puts it if it cannot open a socket
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure")
            raise OSError(errno.EMFILE, "Too many open files")
        monkeypatch.undo()
        return list(real("127.0.0.1", port, *args, **more))

    async with AsyncExitStack() as stack:
        hosts = await _hosts(stack, 1, ConnectionBudget(100), use_http1)
        port = hosts.servers[0].port
        hosts.urls[0] = f"http://registry.example:{port}/v2/"
        hosts.transports[0] = Transport(
            origin=origin_of(hosts.urls[0]),
            max_in_flight=2,
            timeouts=TIMEOUTS,
            use_http1=use_http1,
        )
        stack.push_async_callback(hosts.transports[0].aclose)
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        if is_hidden:
            monkeypatch.setattr(os, "open", open_file)
        assert isinstance(await hosts.ask(0), Response)
    assert not failures
    assert bool(opened) is is_hidden
