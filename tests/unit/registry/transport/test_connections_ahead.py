"""TLS connections are opened before requests need them, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from auditor.registry.transport.connection_budget import ConnectionBudget
from auditor.registry.transport.http1 import Dialer, Http1Client
from auditor.registry.transport.http1_connection import Connection
from auditor.registry.transport.http1_parser import NoConnectionError
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.name_lookup import Lookup, NameLookups
from auditor.registry.transport.tls import TlsFiles, tls_context
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of
from tests.certificates import Authority

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
LONG = Timeouts(connect_s=1e6, read_s=1e6, request_s=1e6)


class _Server:
    """Counts connections, and answers no request while `gate` is closed."""

    def __init__(self, response: bytes) -> None:
        self.response = response
        self.connections = self.open = self.waiting = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.open += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.waiting += 1
                await self.gate.wait()
                self.waiting -= 1
                writer.write(self.response)
        writer.close()
        self.open -= 1


class _Dialer(Dialer):
    """`refuses` is what the host does. Mostly without TLS, as if with it."""

    refuses = False
    refused = 0

    async def dial(self, lookup: Lookup) -> Connection:
        if self.refuses:
            self.refused += 1
            raise NoConnectionError(111, "Connection refused")
        return await super().dial(lookup)


Test = Callable[[_Server, Http1Client, _Dialer], Awaitable[None]]


def _with_server(
    test: Test,
    *,
    scheme: str = "https",
    max_ahead: int = 6,
    descriptors: int = 1000,
    response: bytes = OK,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> None:
    """`tls`: of the server and of the client."""
    of_server, of_client = tls or (None, None)

    async def main() -> None:
        server = _Server(response)
        listening = await asyncio.start_server(
            server.serve, "127.0.0.1", 0, ssl=of_server
        )
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            origin = origin_of(f"{scheme}://127.0.0.1:{port}")
            dialer = _Dialer(origin, names=NameLookups(), tls=of_client, timeouts=LONG)
            budget = ConnectionBudget(descriptors)
            client = Http1Client(
                origin,
                dialer,
                budget=budget,
                request_s=1e6,
                max_idle=2 * max_ahead,
                max_ahead=max_ahead,
            )
            await test(server, client, dialer)
            await client.close()
            assert budget.open == 0
            await _until(lambda: server.open == 0)

    asyncio.run(main())


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (the kernel is waited for)
        await asyncio.sleep(0)


async def _get(client: Http1Client) -> int:
    found = await client.request("GET", "x", "/v2/", headers={}, max_bytes=9)
    assert isinstance(found, Response)
    return found.status


async def _get_at_once(server: _Server, client: Http1Client, count: int) -> int:
    """Requests that are in progress together; returns the connections open then, when
    nothing more is being opened."""
    server.gate.clear()
    asking = [asyncio.create_task(_get(client)) for _ in range(count)]
    await _until(lambda: server.waiting == count)
    await _until(lambda: not client._ahead)
    await _until(lambda: server.open == len(client._open))
    found = server.open
    server.gate.set()
    assert await asyncio.gather(*asking) == [200] * count
    return found


@pytest.mark.parametrize("over_tls", [False, True])
def test_as_many_connections_again_are_opened_as_are_in_use(
    over_tls: bool, tmp_path: Path
) -> None:
    tls = None
    if over_tls:
        authority = Authority(tmp_path)
        ca = TlsFiles(ca_files=(str(authority.file),))
        tls = authority.server("127.0.0.1"), tls_context(ca)

    async def test(server: _Server, client: Http1Client, _: _Dialer) -> None:
        assert await _get(client) == 200
        assert server.connections == 1  # one request at a time needs one
        assert await _get_at_once(server, client, 2) == 4
        # Two of three are the connections that were ahead.
        assert await _get_at_once(server, client, 3) == 6
        # At most six in all; and no further one once they are open.
        assert await _get_at_once(server, client, 6) == 6
        assert await _get_at_once(server, client, 6) == 6
        assert server.connections == 6
        for connection in client._open:
            assert (connection.tls is not None) is over_tls

    _with_server(test, tls=tls)


def test_none_is_opened_ahead_before_the_host_has_answered() -> None:
    async def test(server: _Server, client: Http1Client, _: _Dialer) -> None:
        assert await _get_at_once(server, client, 3) == 3

    _with_server(test)


def test_none_is_opened_ahead_without_tls() -> None:
    async def test(server: _Server, client: Http1Client, _: _Dialer) -> None:
        await _get(client)
        assert await _get_at_once(server, client, 3) == 3

    _with_server(test, scheme="http")


def test_none_is_opened_ahead_where_every_response_ends_its_connection() -> None:
    async def test(server: _Server, client: Http1Client, _: _Dialer) -> None:
        await _get(client)
        assert await _get_at_once(server, client, 3) == 3

    _with_server(test, response=CLOSING)


@pytest.mark.parametrize(("descriptors", "most"), [(8, 3), (40, 5), (400, 6)])
def test_a_host_gets_its_part_of_the_descriptors_ahead(
    descriptors: int, most: int
) -> None:
    async def test(server: _Server, client: Http1Client, _: _Dialer) -> None:
        await _get(client)
        assert await _get_at_once(server, client, 3) == most

    _with_server(test, descriptors=descriptors)


def test_a_host_that_refuses_a_connection_ahead_gets_no_more_of_them() -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        assert await _get(client) == 200
        server.gate.clear()
        asking = [asyncio.create_task(_get(client))]
        await _until(lambda: server.waiting == 1)
        dialer.refuses = True
        with pytest.raises(NoConnectionError):
            await _get(client)  # its own connection, and those ahead, are refused
        await _until(lambda: not client._ahead)
        assert dialer.refused == 1 + 2
        dialer.refuses = False
        asking += [asyncio.create_task(_get(client)) for _ in range(3)]
        await _until(lambda: server.waiting == 4)
        assert server.open == 4
        server.gate.set()
        assert await asyncio.gather(*asking) == [200] * 4

    _with_server(test)


def test_a_connection_ahead_that_is_being_opened_ends_with_the_client() -> None:
    async def test(server: _Server, client: Http1Client, dialer: _Dialer) -> None:
        await _get(client)
        server.gate.clear()
        asking = [asyncio.create_task(_get(client)) for _ in range(2)]
        await _until(lambda: bool(client._ahead))
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        server.gate.set()

    _with_server(test)
