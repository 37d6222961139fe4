"""A server that says what a test wants it to say, HTTP or not, byte by byte.

async with wire(say(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")) as server:
    found = await server.ask(transport, "/v2/")
    assert server.requests == [...]
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.transport import Transport
from auditor.wire.url_policy import Origin, origin_of

# Longer than anything here takes.
PATIENT = Timeouts(connect_s=5, read_s=5, request_s=10)

Said = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"


def answer_of(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole answer with these header lines and its right length."""
    head = [b"HTTP/1.1 " + status, *lines, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def redirect_to(location: str) -> bytes:
    """An answer that redirects."""
    return answer_of(b"", b"Location: " + location.encode(), status=b"307 x")


def say(*answers: bytes) -> Said:
    """These answers, one for each request; the last one for ever."""
    left = list(answers)

    async def said(request: bytes, writer: asyncio.StreamWriter) -> None:
        del request
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return said


def endless(start: bytes, again: bytes) -> Said:
    """`start`, and `again` without an end, until the client goes away."""

    async def said(request: bytes, writer: asyncio.StreamWriter) -> None:
        del request
        writer.write(start)
        while not writer.is_closing():
            writer.write(again)
            await writer.drain()

    return said


def drip(data: bytes, *, interval_s: float) -> Said:
    """One byte at a time."""

    async def said(request: bytes, writer: asyncio.StreamWriter) -> None:
        del request
        for place in range(len(data)):
            writer.write(data[place : place + 1])
            await writer.drain()
            await asyncio.sleep(interval_s)

    return said


@dataclass(slots=True)
class Wire:
    """A server that runs: what it was sent, by request and by connection."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def origin(self) -> Origin:
        """Where it is."""
        return origin_of(self.url)

    def fields(self, number: int = -1) -> dict[str, str]:
        """The header fields of a request, names in lower case."""
        lines = self.requests[number].decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return {name.lower(): value.strip() for name, _, value in pairs}


@asynccontextmanager
async def wire(said: Said) -> AsyncIterator[Wire]:
    """A server on a free port that answers every request so."""
    found = Wire()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        try:
            while True:
                found.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await said(found.requests[-1], writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


def transport_to(
    origin: Origin,
    timeouts: Timeouts = PATIENT,
    *,
    allowed_hosts: frozenset[str] = frozenset(),
    use_http1: bool = True,
) -> Transport:
    """A transport for a registry there; without `use_http1`, all over aiohttp."""
    return Transport(
        origin=origin,
        max_in_flight=2,
        timeouts=timeouts,
        allowed_hosts=allowed_hosts,
        use_http1=use_http1,
    )
