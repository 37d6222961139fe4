"""Connections are reused, timed out, and closed when in doubt."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from auditor.errors import Failure, FailureKind
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.transport import Transport
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of
from tests.patience import HANG_S
from tests.ports import held_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
# In a script: the rest is sent after the client may have read the first part; the
# connection is closed.
LATER, END = b"<later>", b"<end>"
PATIENT = Timeouts(connect_s=HANG_S, read_s=HANG_S, request_s=HANG_S)


@dataclass(slots=True)
class Server:
    """Answers each request with the next of `script`; None closes the connection.

    `heads` has the requests as received, each with the number of its connection.
    """

    script: list[bytes | None]
    heads: list[tuple[int, str]] = field(default_factory=list)
    url: str = ""
    connections: int = 0
    sent: int = 0
    serving: list[asyncio.Task[None]] = field(default_factory=list)

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        number = self.connections
        task = asyncio.current_task()
        assert task is not None
        self.serving.append(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append((number, head.decode()))
                response = self.script.pop(0)
                if response is None:
                    break
                for piece in response.removesuffix(END).split(LATER):
                    writer.write(piece)
                    for _ in range(20):
                        await asyncio.sleep(0)
                    self.sent += 1
                if response.endswith(END):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110  (the kernel is waited for)
            await asyncio.sleep(0)

    @property
    def used(self) -> list[int]:
        """The number of the connection of each request."""
        return [number for number, _ in self.heads]


def with_server(
    script: list[bytes | None],
    test: Callable[[Server, Transport], Awaitable[None]],
    *,
    timeouts: Timeouts = PATIENT,
) -> Server:
    server = Server(script)

    async def main() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        async with listening:
            host, port = listening.sockets[0].getsockname()
            server.url = f"http://{host}:{port}"
            async with contextlib.aclosing(
                Transport(
                    origin=origin_of(server.url), max_in_flight=2, timeouts=timeouts
                )
            ) as transport:
                await test(server, transport)
            await asyncio.gather(*server.serving)

    asyncio.run(main())
    return server


async def get(server: Server, transport: Transport, method: str = "GET") -> str:
    """The body of the response, or the kind of failure."""
    found = await transport.request(
        method, f"{server.url}/v2/x?n=1#here", headers={"Accept": "*/*"}, max_bytes=100
    )
    if isinstance(found, Failure):
        return found.kind.value
    return found.body.decode()


async def request_after(
    seconds: float, server: Server, transport: Transport
) -> Response | Failure:
    """The outcome of a request, during which the clock jumps by `seconds`.

    It jumps when the server has responded, or has sent part of a response. So the
    timeouts can be too long for a slow machine to run into them.
    """
    loop = asyncio.get_running_loop()
    time, skipped, number = loop.time, 0.0, len(server.heads) + 1
    asking = asyncio.create_task(
        transport.request("GET", f"{server.url}/", headers={}, max_bytes=9)
    )
    await server.until(lambda: server.sent == len(server.heads) == number)
    loop.time = lambda: time() + skipped  # type: ignore[method-assign]
    while not asking.done():
        skipped += seconds
        await asyncio.sleep(0)
    return asking.result()


def outcomes_of(
    *script: bytes | None, methods: str = "GGG", timeouts: Timeouts = PATIENT
) -> tuple[list[str], Server]:
    """The outcomes of a GET or a HEAD for each letter, one after the other."""
    found: list[str] = []

    async def test(server: Server, transport: Transport) -> None:
        for letter in methods:
            method = {"G": "GET", "H": "HEAD"}[letter]
            found.append(await get(server, transport, method))

    server = with_server(list(script), test, timeouts=timeouts)
    return found, server


def test_a_request_has_only_the_required_fields() -> None:
    _, server = outcomes_of(OK, methods="G")
    ((_, head),) = server.heads
    line, *fields = head.rstrip("\r\n").split("\r\n")
    assert line == "GET /v2/x?n=1 HTTP/1.1"
    assert [one.partition(":")[0] for one in fields] == [
        "Host", "User-Agent", "Accept-Encoding", "Accept",
    ]  # fmt: skip
    assert fields[0] == f"Host: {server.url.removeprefix('http://')}"
    assert fields[2] == "Accept-Encoding: identity"


def test_a_connection_is_reused() -> None:
    found, server = outcomes_of(OK, OK, OK)
    assert found == ["{}", "{}", "{}"]
    assert server.used == [1, 1, 1]


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"HTTP/1.1 200 OK\r\n",
        OK + b"?",
        OK + OK,
    ],
    ids=["close", "1.0", "half a response", "a byte", "two responses"],
)
def test_a_connection_in_doubt_is_not_reused(response: bytes) -> None:
    found, server = outcomes_of(response, OK, methods="GG")
    assert found == ["{}", "{}"]
    assert server.used == [1, 2]


def test_a_1_0_connection_with_keep_alive_is_reused() -> None:
    response = (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert outcomes_of(response, OK, methods="GG")[1].used == [1, 1]


def test_the_connection_of_a_head_request_is_reused() -> None:
    head = OK[:-2]
    found, server = outcomes_of(
        head, OK, b"HTTP/1.1 200 OK\r\n\r\n", OK, methods="HGHG"
    )
    assert found == ["", "{}", "", "{}"]
    assert server.used == [1, 1, 1, 1]


def test_a_body_in_the_response_to_head_ends_the_connection() -> None:
    found, server = outcomes_of(OK, OK, methods="HG")
    assert found == ["", "{}"]
    assert server.used == [1, 2]


def test_interim_responses_are_skipped() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 9\r\n\r\n"
    found, server = outcomes_of(interim + interim + OK, OK, methods="GG")
    assert found == ["{}", "{}"]
    assert server.used == [1, 1]


def test_a_101_is_a_failure() -> None:
    response = b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert outcomes_of(response, methods="G")[0] == ["protocol_violation"]


def test_a_response_without_a_length_ends_with_its_connection() -> None:
    response = b"HTTP/1.1 200 OK\r\n\r\n{" + LATER + b"}" + END
    found, server = outcomes_of(response, OK, methods="GG")
    assert found == ["{}", "{}"]
    assert server.used == [1, 2]


# -- a request on an idle connection that is just being closed ---------------------


def test_a_request_on_an_idle_connection_that_was_closed_is_sent_again() -> None:
    found, server = outcomes_of(OK, None, OK, methods="GG")
    assert found == ["{}", "{}"]
    assert server.used == [1, 1, 2]


def test_a_new_connection_closed_without_a_response_is_a_failure() -> None:
    found, server = outcomes_of(None, methods="G")
    assert found == ["connect"]
    assert server.used == [1]


def test_a_request_is_sent_again_only_once() -> None:
    found, server = outcomes_of(OK, None, None, methods="GG")
    assert found == ["{}", "connect"]
    assert server.used == [1, 1, 2]


def test_a_request_is_not_sent_again_after_the_first_byte_of_a_response() -> None:
    async def test(server: Server, transport: Transport) -> None:
        assert await get(server, transport) == "{}"
        found = await request_after(6, server, transport)
        assert isinstance(found, Failure)
        assert found.kind is FailureKind.TIMEOUT

    assert with_server([OK, OK[:9], OK], test).used == [1, 1]


def test_bytes_without_a_request_end_an_idle_connection() -> None:
    async def test(server: Server, transport: Transport) -> None:
        assert await get(server, transport) == "{}"
        await server.until(lambda: server.sent == 2)
        assert await get(server, transport) == "{}"

    assert with_server([OK + LATER + OK, OK], test).used == [1, 2]


def test_concurrent_requests_have_a_connection_each() -> None:
    async def test(server: Server, transport: Transport) -> None:
        found = await asyncio.gather(*(get(server, transport) for _ in range(8)))
        assert found == ["{}"] * 8
        assert server.connections == 8
        for _ in range(4):
            await get(server, transport)
        assert server.connections == 8
        # Of the eight, four are kept: twice the requests in flight allowed.
        await asyncio.gather(*(get(server, transport) for _ in range(8)))
        assert server.connections == 12

    with_server([OK] * 20, test)


# -- deadlines and cancellation ----------------------------------------------------


@pytest.mark.parametrize(
    ("read_s", "request_s", "detail"),
    [(60.0, 1e6, "sent nothing for 60 s"), (1e6, 60.0, "longer than 60 s")],
)
def test_a_response_that_does_not_come_is_a_timeout(
    read_s: float, request_s: float, detail: str
) -> None:
    async def test(server: Server, transport: Transport) -> None:
        found = await request_after(61, server, transport)
        assert isinstance(found, Failure)
        assert found.kind is FailureKind.TIMEOUT
        assert detail in found.detail
        # Its connection is in doubt: the next request gets a new one.
        server.script[:] = [OK]
        assert await get(server, transport) == "{}"

    timeouts = Timeouts(connect_s=HANG_S, read_s=read_s, request_s=request_s)
    server = with_server([OK[:20]], test, timeouts=timeouts)
    assert server.used == [1, 2]


def test_a_cancelled_request_closes_its_connection() -> None:
    async def test(server: Server, transport: Transport) -> None:
        asking = asyncio.create_task(get(server, transport))
        await server.until(lambda: bool(server.heads))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        server.script[:] = [OK]
        assert await get(server, transport) == "{}"

    assert with_server([OK[:20]], test).used == [1, 2]


async def _asked(url: str, timeouts: Timeouts) -> Response | Failure:
    transport = Transport(origin=origin_of(url), max_in_flight=2, timeouts=timeouts)
    async with contextlib.aclosing(transport):
        return await transport.request("GET", f"{url}/", headers={}, max_bytes=9)


def test_no_connection_in_time_is_a_timeout() -> None:
    async def main() -> Response | Failure:
        served: list[asyncio.Task[None] | None] = []

        async def mute(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            served.append(asyncio.current_task())
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()

        listening = await asyncio.start_server(mute, "127.0.0.1", 0)
        host, port = listening.sockets[0].getsockname()
        # The TLS handshake is part of connecting.
        timeouts = replace(PATIENT, connect_s=0.05)
        found = await _asked(f"https://{host}:{port}", timeouts)
        listening.close()
        await asyncio.gather(*filter(None, served))
        return found

    found = asyncio.run(main())
    assert isinstance(found, Failure)
    assert found.kind is FailureKind.TIMEOUT
    assert "within 0.05 s" in found.detail


def test_a_refused_connection_is_a_failure_to_connect() -> None:
    with held_port() as port:
        found = asyncio.run(_asked(f"http://127.0.0.1:{port}", PATIENT))
    assert isinstance(found, Failure)
    assert found.kind is FailureKind.CONNECT
    assert "refused" in found.detail


# -- content -----------------------------------------------------------------------


def _coded(coding: str, content: bytes) -> bytes:
    head = f"Content-Encoding: {coding}\r\nContent-Length: {len(content)}\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\n" + head.encode() + content


@pytest.mark.parametrize(
    ("response", "found"),
    [
        (_coded("gzip", gzip.compress(b"{}")), "{}"),
        (_coded("GZIP", gzip.compress(b"a" * 101)), "too_large"),
        (_coded("gzip", gzip.compress(b"a" * 90)[:-9]), "connect"),
        (_coded("deflate", zlib.compress(b"{}")), "{}"),
        (_coded("deflate", zlib.compress(b"{}", wbits=-15)), "{}"),
        (_coded("br", b"\x0b\x01\x80{}\x03"), "protocol_violation"),
        (_coded("gzip, gzip", b"{}"), "protocol_violation"),
        (_coded("utf-8", b"{}"), "{}"),
        (_coded("identity", b"{}"), "{}"),
        # S3 stores keep how an object was uploaded (neuroglancer#795).
        (_coded("aws-chunked,gzip", gzip.compress(b"{}")), "{}"),
        (_coded("aws-chunked", b"{}"), "{}"),
        (
            _coded(
                "aws-chunked\r\nContent-Encoding: GZIP , identity",
                gzip.compress(b"{}"),
            ),
            "{}",
        ),
        (_coded("aws-chunked, zstd", b"{}"), "protocol_violation"),
    ],
    ids=[
        "gzip",
        "a bomb",
        "cut",
        "deflate",
        "raw deflate",
        "brotli",
        "two",
        "none at all",
        "identity",
        "aws-chunked, gzip",
        "aws-chunked",
        "in two lines",
        "aws-chunked, zstd",
    ],
)
def test_compressed_content_is_decoded_although_not_requested(
    response: bytes, found: str
) -> None:
    assert outcomes_of(response, methods="G")[0] == [found]


@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "chunked\r\nX: "])
def test_an_unknown_transfer_coding_is_a_failure(coding: str) -> None:
    response = (
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n".encode()
    )
    expected = "" if coding.startswith("chunked") else "protocol_violation"
    assert outcomes_of(response, methods="G")[0] == [expected]


def test_a_field_with_a_line_break_is_not_sent() -> None:
    async def test(server: Server, transport: Transport) -> None:
        for headers in ({"Authorization": "a\r\nX: b"}, {"Accept": "a\n"}):
            found = await transport.request(
                "GET", server.url, headers=headers, max_bytes=9
            )
            assert isinstance(found, Failure)
            assert found.kind is FailureKind.PROTOCOL_VIOLATION
        found = await transport.request(
            "GET", f"{server.url}/a b", headers={}, max_bytes=9
        )
        assert isinstance(found, Failure)

    assert with_server([], test).heads == []
