"""A TCP server that sends scripted bytes, HTTP or not.

script = respond(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
async with scripted_server(script) as server:
    found = await server.ask(transport, "/v2/")
    assert server.requests == [...]
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.transport import Transport
from auditor.wire.url_policy import Origin, origin_of
from tests.patience import HANG_S

LONG_TIMEOUTS = Timeouts(connect_s=HANG_S, read_s=HANG_S, request_s=HANG_S)

Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"


def http_response(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """A complete response with these header lines and a correct Content-Length."""
    head = [b"HTTP/1.1 " + status, *lines, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def redirect_to(location: str) -> bytes:
    """A redirect."""
    return http_response(b"", b"Location: " + location.encode(), status=b"307 x")


def respond(*responses: bytes) -> Script:
    """Send one of the responses per request; the last one is repeated."""
    remaining = list(responses)

    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        del request
        writer.write(remaining.pop(0) if len(remaining) > 1 else remaining[0])

    return script


def endless(start: bytes, again: bytes) -> Script:
    """Send `start`, then `again` until the client disconnects."""

    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        del request
        writer.write(start)
        while not writer.is_closing():
            writer.write(again)
            await writer.drain()

    return script


def drip(data: bytes, *, interval_s: float) -> Script:
    """Send one byte at a time."""

    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        del request
        for position in range(len(data)):
            writer.write(data[position : position + 1])
            await writer.drain()
            await asyncio.sleep(interval_s)

    return script


@dataclass(slots=True)
class ScriptedServer:
    """A running server, and the requests and connections it received."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        """The URL of its root."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def origin(self) -> Origin:
        """Its origin."""
        return origin_of(self.url)

    def fields(self, number: int = -1) -> dict[str, str]:
        """The headers of a request; names are lower case."""
        lines = self.requests[number].decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return {name.lower(): value.strip() for name, _, value in pairs}


@asynccontextmanager
async def scripted_server(script: Script) -> AsyncIterator[ScriptedServer]:
    """Run a server on a free port that responds to every request with the script."""
    running = ScriptedServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.connections += 1
        try:
            while True:
                running.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await script(running.requests[-1], writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    async with server:
        yield running


def transport_to(
    origin: Origin,
    timeouts: Timeouts = LONG_TIMEOUTS,
    *,
    allowed_hosts: frozenset[str] = frozenset(),
    use_http1: bool = True,
) -> aclosing[Transport]:
    """A transport to a registry at `origin`; without `use_http1`, over aiohttp."""
    return aclosing(
        Transport(
            origin=origin,
            max_in_flight=2,
            timeouts=timeouts,
            allowed_hosts=allowed_hosts,
            use_http1=use_http1,
        )
    )
