"""Answers that no request on a kept connection asked for, in both clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from auditor.errors import Failure
from auditor.registry.transport.http1_connection import Connection
from auditor.registry.transport.transport import Transport
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of
from tests.scripted_server import LONG_TIMEOUTS, http_response

pytestmark = pytest.mark.anyio
STRAY = http_response(b"stray")
# The body that a server sent in response to HEAD.
BODY = b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'
TIMED_OUT = http_response(b"", b"Connection: close", status=b"408 Request Timeout")


class _Server:
    """Answers `GET /NAME` with NAME, on every connection.

    `glued` follows the first answer at once; `late` comes before the second answer.
    """

    def __init__(self, *, glued: bytes = b"", late: bytes = b"") -> None:
        self.glued = glued
        self.late = late
        self.writers: list[asyncio.StreamWriter] = []
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, path, _ = head.split(b" ", 2)
                self.requests.append(path)
                is_second = len(self.requests) == 2
                body = b"" if method == b"HEAD" else path[1:]
                answer = http_response(body)
                if len(self.requests) == 1:
                    answer += self.glued
                writer.write((self.late if is_second else b"") + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def _running(
    server: _Server, *, use_http1: bool
) -> AsyncIterator[tuple[_Server, Transport]]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        host, port = listening.sockets[0].getsockname()
        server.url = f"http://{host}:{port}"
        transport = Transport(
            origin=origin_of(server.url),
            max_in_flight=4,
            timeouts=LONG_TIMEOUTS,
            use_http1=use_http1,
        )
        try:
            yield server, transport
        finally:
            await transport.aclose()
            for writer in server.writers:
                writer.close()


async def _get(
    server: _Server, transport: Transport, name: str, method: str = "GET"
) -> str:
    found = await transport.request(
        method, f"{server.url}/{name}", headers={}, max_bytes=100
    )
    if isinstance(found, Failure):
        return found.detail
    assert isinstance(found, Response)
    return f"{found.status} {found.body.decode()}".strip()


@pytest.fixture(params=[True, False], ids=["http1", "aiohttp"])
def use_http1(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


STRAYS = [STRAY, BODY, TIMED_OUT, b"\r\n" + STRAY, b"H"]


@pytest.mark.parametrize("stray", STRAYS)
async def test_what_follows_an_answer_at_once_is_not_the_next_answer(
    stray: bytes, use_http1: bool
) -> None:
    async with _running(_Server(glued=stray), use_http1=use_http1) as (server, client):
        if stray == BODY and not use_http1:  # aiohttp refuses the whole
            assert "is not HTTP/1.1" in await _get(server, client, "a")
            server.requests.clear()
            server.glued = b""
        for name in ("a", "b", "c"):
            assert await _get(server, client, name) == f"200 {name}"
        assert server.requests == [b"/a", b"/b", b"/c"]


@pytest.mark.parametrize("stray", STRAYS)
async def test_what_comes_between_two_requests_is_not_the_second_answer(
    stray: bytes, use_http1: bool
) -> None:
    async with _running(_Server(), use_http1=use_http1) as (server, client):
        assert await _get(server, client, "a") == "200 a"
        server.writers[0].write(stray)
        for _ in range(10):  # the client reads it
            await asyncio.sleep(0)
        assert await _get(server, client, "b") == "200 b"
        assert await _get(server, client, "c") == "200 c"
        assert server.requests == [b"/a", b"/b", b"/c"]


@pytest.mark.parametrize("stray", STRAYS)
async def test_what_came_before_a_request_was_sent_is_not_its_answer(
    stray: bytes,
) -> None:
    # The system has the bytes, the event loop has not read them yet.
    async with _running(_Server(), use_http1=True) as (server, client):
        assert await _get(server, client, "a") == "200 a"
        server.writers[0].write(stray)
        assert await _get(server, client, "b") == "200 b"
        assert await _get(server, client, "c") == "200 c"
        assert server.requests == [b"/a", b"/b", b"/c"]


async def test_the_late_body_of_a_head_is_not_the_failure_of_the_next_request() -> None:
    async with _running(_Server(late=BODY), use_http1=True) as (server, client):
        assert await _get(server, client, "a", "HEAD") == "200"
        assert await _get(server, client, "b") == "200 b"
        # Sent once more, on a new connection.
        assert server.requests == [b"/a", b"/b", b"/b"]
        assert len(server.writers) == 2


async def test_of_two_answers_on_a_kept_connection_neither_is_taken() -> None:
    async with _running(_Server(late=STRAY), use_http1=True) as (server, client):
        assert await _get(server, client, "a") == "200 a"
        assert await _get(server, client, "b") == "200 b"
        assert server.requests == [b"/a", b"/b", b"/b"]


async def test_connections_of_a_host_that_sends_stray_answers_are_not_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Nothing shows that one answer is that of another request. When the true one comes
    # as a stray, it is known, and from that on each request has its own connection.
    async with _running(_Server(), use_http1=True) as (server, client):
        for name in ("a", "b"):
            assert await _get(server, client, name) == f"200 {name}"
        server.writers[0].write(STRAY)
        for _ in range(10):
            await asyncio.sleep(0)
        for name in ("c", "d", "e"):
            assert await _get(server, client, name) == f"200 {name}"
        assert len(server.writers) == 4
    assert caplog.text.count("sent a response that no request asked for") == 1


async def test_connections_of_a_host_that_sends_a_body_after_head_are_kept() -> None:
    async with _running(_Server(glued=BODY), use_http1=True) as (server, client):
        assert await _get(server, client, "a", "HEAD") == "200"
        for name in ("b", "c", "d"):
            assert await _get(server, client, name) == f"200 {name}"
        assert len(server.writers) == 2


async def test_connections_of_a_host_that_ends_idle_ones_with_408_are_kept() -> None:
    # As HAProxy does (RFC 9110 section 15.5.9).
    async with _running(_Server(), use_http1=True) as (server, client):
        assert await _get(server, client, "a") == "200 a"
        server.writers[0].write(TIMED_OUT)
        server.writers[0].close()
        for _ in range(10):
            await asyncio.sleep(0)
        for name in ("b", "c", "d"):
            assert await _get(server, client, name) == f"200 {name}"
        assert len(server.writers) == 2


@pytest.mark.parametrize(("is_cancelled", "is_stray"), [(True, False), (False, True)])
async def test_the_answer_to_a_request_cancelled_a_moment_ago_is_no_stray_one(
    is_cancelled: bool, is_stray: bool
) -> None:
    """It comes before the task that waited has aborted the connection."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    connection = Connection(loop, read_s=60.0)
    await loop.create_connection(lambda: connection, sock=ours)
    with theirs:
        answer = connection.request(
            b"GET / HTTP/1.1\r\n\r\n",
            head_only=False,
            max_bytes=100,
            deadline=loop.time() + 60.0,
        )
        if is_cancelled:
            answer.cancel()
        else:
            connection.data_received(http_response(b"a"))
        connection.data_received(STRAY)
        assert connection.is_out_of_step is is_stray
        assert not connection.is_open
        await connection.closed
