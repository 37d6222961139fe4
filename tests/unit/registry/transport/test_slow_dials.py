"""A request whose connection takes long has one that another request gives back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest

from auditor.registry.transport import http1
from auditor.registry.transport.connection_budget import ConnectionBudget
from auditor.registry.transport.http1 import Dialer, Http1Client
from auditor.registry.transport.http1_connection import Connection
from auditor.registry.transport.http1_parser import NoConnectionError
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.name_lookup import Addresses, Lookup, NameLookups
from auditor.registry.transport.tls import TlsFiles, tls_context
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LONG = Timeouts(connect_s=1e6, read_s=1e6, request_s=1e6)


class _Server:
    """Answers a request for each permit of `answers`."""

    def __init__(self) -> None:
        self.connections = self.asked = 0
        self.answers = asyncio.Semaphore(0)

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                await self.answers.acquire()
                writer.write(OK)
        writer.close()


class _Dialer(Dialer):
    """Makes no connection while `gate` is closed, nor any once it `refuses`."""

    def __init__(self, *arguments: object, **more: object) -> None:
        super().__init__(*arguments, **more)  # type: ignore[arg-type]
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.refuses = False

    async def dial(self, lookup: Lookup) -> Connection:
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        if self.refuses:
            raise NoConnectionError(111, "Connection refused")
        return await super().dial(lookup)


class _Silent(Dialer):
    """Connects to `servers`, which take no part in the handshake of TLS."""

    def __init__(self) -> None:
        super().__init__(
            origin_of("https://127.0.0.1:1"),
            names=NameLookups(),
            tls=tls_context(TlsFiles()),
            timeouts=LONG,
        )
        self.servers: list[socket.socket] = []

    async def connect(self, addresses: Addresses) -> socket.socket:
        del addresses
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self.servers.append(theirs)
        return ours


Test = Callable[[_Server, Http1Client, _Dialer], Awaitable[None]]


@pytest.fixture(autouse=True)
def _every_dial_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "LONG_DIAL_S", 0.0)


def _with_server(test: Test) -> None:
    async def main() -> None:
        server = _Server()
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            origin = origin_of(f"http://127.0.0.1:{port}")
            dialer = _Dialer(origin, names=NameLookups(), tls=None, timeouts=LONG)
            budget = ConnectionBudget(1000)
            client = Http1Client(
                origin, dialer, budget=budget, request_s=1e6, max_idle=9
            )
            await test(server, client, dialer)
            assert not client._takers
            await client.close()
            assert budget.open == 0

    asyncio.run(main())


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (the kernel is waited for)
        await asyncio.sleep(0)


def _get(client: Http1Client, **more: bool) -> asyncio.Task[Response | None]:
    return asyncio.create_task(
        client.request("GET", "x", "/v2/", headers={}, max_bytes=9, **more)
    )


async def _one_answers_the_other_waits(
    server: _Server, client: Http1Client, dialer: _Dialer, **more: bool
) -> tuple[asyncio.Task[Response | None], asyncio.Task[Response | None]]:
    """A request in flight, and one whose connection does not come."""
    first = _get(client)
    await _until(lambda: server.asked == 1)
    dialer.gate.clear()
    second = _get(client, **more)
    await _until(lambda: dialer.waiting == 1)
    if not more:
        await _until(lambda: len(client._takers) == 1)
    return first, second


def test_a_connection_that_is_given_back_ends_the_wait_for_a_new_one() -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        first, second = await _one_answers_the_other_waits(server, client, dialer)
        server.answers.release()
        await _until(lambda: server.asked == 2)
        assert first.done()
        assert dialer.waiting == 0
        server.answers.release()
        assert (await second) is not None
        assert server.connections == 1

    _with_server(test)


def test_the_new_connection_is_used_if_it_comes_first() -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        first, second = await _one_answers_the_other_waits(server, client, dialer)
        dialer.gate.set()
        await _until(lambda: server.asked == 2)
        assert server.connections == 2
        for _ in range(2):
            server.answers.release()
        await asyncio.gather(first, second)
        assert len(client._idle) == 2

    _with_server(test)


def test_an_idle_connection_is_taken_when_the_wait_becomes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        monkeypatch.setattr(http1, "LONG_DIAL_S", 1e6)
        first = _get(client)
        await _until(lambda: server.asked == 1)
        dialer.gate.clear()
        second = _get(client)
        await _until(lambda: dialer.waiting == 1)
        server.answers.release()
        await first
        monkeypatch.setattr(http1, "LONG_DIAL_S", 0.0)
        idle = client._idle.copy()
        client._idle.clear()  # so that a third request needs a connection, too
        third = _get(client)
        client._idle += idle
        server.answers.release()
        assert (await third) is not None
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert server.connections == 1

    _with_server(test)


def test_a_request_that_must_have_a_new_connection_waits_for_it() -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        first, second = await _one_answers_the_other_waits(
            server, client, dialer, new_connection=True
        )
        server.answers.release()
        await first
        assert dialer.waiting == 1
        assert not client._takers
        dialer.gate.set()
        server.answers.release()
        assert (await second) is not None
        assert server.connections == 2

    _with_server(test)


def test_a_cancelled_request_takes_no_connection() -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        first, second = await _one_answers_the_other_waits(server, client, dialer)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        server.answers.release()
        await first
        assert len(client._idle) == 1

    _with_server(test)


def test_a_request_cancelled_while_it_takes_a_connection_gives_it_back() -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        first, second = await _one_answers_the_other_waits(server, client, dialer)
        (taker,) = client._takers
        server.answers.release()
        await _until(lambda: taker.taken is not None)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await first
        assert second.cancelled()
        assert len(client._idle) == 1

    _with_server(test)


def test_a_connection_that_comes_at_the_deadline_breaks_no_other_request() -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        first, second = await _one_answers_the_other_waits(server, client, dialer)
        (taker,) = client._takers
        server.answers.release()
        taker.timeout.reschedule(0)
        await _until(taker.timeout.expired)
        client._takers.append(taker)
        assert (await first) is not None
        with pytest.raises(TimeoutError):
            await second

    _with_server(test)


def test_a_refused_connection_fails_its_request() -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        first, second = await _one_answers_the_other_waits(server, client, dialer)
        dialer.refuses = True
        dialer.gate.set()
        with pytest.raises(NoConnectionError):
            await second
        server.answers.release()
        await first

    _with_server(test)


def test_requests_wait_longer_where_every_handshake_is_slow() -> None:
    """Else all of them would use the first connection, for ever."""

    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        first = _get(client)
        await _until(lambda: server.asked == 1)
        dialer.gate.clear()
        client._fastest_dial_s = 1e6
        second = _get(client)
        await _until(lambda: dialer.waiting == 1)
        server.answers.release()
        await first
        for _ in range(9):
            await asyncio.sleep(0)
        assert not client._takers
        assert dialer.waiting == 1
        dialer.gate.set()
        server.answers.release()
        await second
        assert server.connections == 2

    _with_server(test)


def test_the_fastest_handshake_says_what_is_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http1, "LONG_DIAL_S", 1.0)
    times = iter([0.0, 2.0, 10.0, 18.0, 20.0, 20.1])
    expected = iter([4.0, 4.0, 1.0])

    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        lookup = await dialer.start_lookup()
        assert client._long_dial_s() == 1.0
        for long_s in expected:
            with monkeypatch.context() as patch:
                patch.setattr(http1, "monotonic", times.__next__)
                connection = await client._connect(lookup)
            assert client._long_dial_s() == long_s
            connection.abort()
            await connection.closed

    _with_server(test)


def test_a_connection_that_ends_while_it_is_taken_costs_another_one() -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        first, second = await _one_answers_the_other_waits(server, client, dialer)
        (taker,) = client._takers
        server.answers.release()
        await _until(lambda: taker.taken is not None)
        assert taker.taken is not None
        taker.taken.abort()
        await _until(lambda: dialer.waiting == 1)
        dialer.gate.set()
        server.answers.release()
        assert (await second) is not None
        assert (await first) is not None
        assert server.connections == 2

    _with_server(test)


def test_two_requests_that_wait_get_two_turns_on_one_connection() -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        first, second = await _one_answers_the_other_waits(server, client, dialer)
        third = _get(client)
        await _until(lambda: len(client._takers) == 2)
        for asked in (2, 3):
            server.answers.release()
            await _until(lambda asked=asked: server.asked == asked)  # type: ignore[misc]
            # The other one still waits for its own, or for this one.
            assert dialer.waiting == 3 - asked
        server.answers.release()
        await asyncio.gather(first, second, third)
        assert server.connections == 1

    _with_server(test)


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_handshake_that_is_not_waited_for_leaves_no_socket(
    is_cancelled: bool,
) -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        del dialer
        loop = asyncio.get_running_loop()
        first = _get(client)
        await _until(lambda: server.asked == 1)
        client._dialer = silent = _Silent()
        second = _get(client)
        await _until(lambda: bool(silent.servers))
        (their_end,) = silent.servers
        await loop.sock_recv(their_end, 1)  # the handshake has begun
        await _until(lambda: bool(client._takers))
        if is_cancelled:
            second.cancel()
        server.answers.release()
        await first
        server.answers.release()
        await asyncio.gather(second, return_exceptions=True)
        assert second.cancelled() is is_cancelled
        while await loop.sock_recv(their_end, 9999):
            pass
        their_end.close()

    _with_server(test)
