"""What a fault does to one request: another response, or a late, partial or no one.

Every action is a value, so that rules and random mixes can be printed and replayed.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Protocol, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler

from auditor.fast_dataclass import dataclass

Headers: TypeAlias = Mapping[str, str | None]


class Action(Protocol):
    """Something to do instead of, or around, the real handler."""

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The response; one whose connection is closed is never sent."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The real response."""

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Call the real handler."""
        return await handler(request)


@dataclass(frozen=True, slots=True)
class Answer:
    """This response instead of the real one."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Return the response without calling the real handler."""
        del request, handler
        return web.Response(status=self.status, headers=self.headers, body=self.body)


@dataclass(frozen=True, slots=True)
class Edit:
    """The real response with another status, headers (None removes one) or body."""

    status: int | None = None
    headers: Headers = field(default_factory=dict)
    body: Callable[[bytes], bytes] | bytes | None = None

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Change the real response."""
        real = await real_answer(request, handler)
        body = body_of(real)
        if isinstance(self.body, bytes):
            body = self.body
        elif self.body is not None:
            body = self.body(body)
        headers = real.headers.copy()
        headers.popall("Content-Length", None)
        for name, value in self.headers.items():
            headers.popall(name, None)
            if value is not None:
                headers[name] = value
        status = real.status if self.status is None else self.status
        return web.Response(status=status, headers=headers, body=body)


@dataclass(frozen=True, slots=True)
class Delay:
    """`then`, after `seconds`."""

    seconds: float
    then: Action = field(default_factory=Pass)

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Wait first."""
        await asyncio.sleep(self.seconds)
        return await self.then.run(request, handler)


class Gate:
    """Holds requests until a test opens it: a delay without a clock."""

    def __init__(self) -> None:
        self.waiting = 0
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let all requests pass from now on."""
        self._opened.set()

    async def passed(self) -> None:
        """Wait until the gate is open."""
        self.waiting += 1
        try:
            await self._opened.wait()
        finally:
            self.waiting -= 1


@dataclass(frozen=True, slots=True)
class Hold:
    """`then`, as soon as the gate is open; never, if it is not opened."""

    gate: Gate = field(default_factory=Gate)
    then: Action = field(default_factory=Pass)

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Wait for the gate first."""
        await self.gate.passed()
        return await self.then.run(request, handler)


@dataclass(frozen=True, slots=True)
class Close:
    """No response: the connection is closed, or reset."""

    reset: bool = False

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Close the connection."""
        del handler
        end_connection(request, reset=self.reset)
        return web.Response()


@dataclass(frozen=True, slots=True)
class Truncate:
    """The real response with its real length, truncated after `at_bytes` bytes."""

    at_bytes: int
    reset: bool = False

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Send a part of the body and close the connection."""
        real = await real_answer(request, handler)
        body = body_of(real)
        response = await started(request, real, length=len(body))
        await response.write(body[: self.at_bytes])
        end_connection(request, reset=self.reset)
        return response


@dataclass(frozen=True, slots=True)
class Drip:
    """The real response, a few bytes at a time."""

    interval_s: float
    chunk_bytes: int = 1

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Send the body in pieces."""
        real = await real_answer(request, handler)
        body = body_of(real)
        response = await started(request, real, length=len(body))
        for start in range(0, len(body), self.chunk_bytes):
            await response.write(body[start : start + self.chunk_bytes])
            await asyncio.sleep(self.interval_s)
        return response


@dataclass(frozen=True, slots=True)
class Flood:
    """200 and a body of `total_bytes` without a Content-Length."""

    total_bytes: int
    headers: Mapping[str, str] = field(default_factory=dict)
    chunk: bytes = b" " * 65536

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Send until the end, or until the client disconnects."""
        del handler
        response = web.StreamResponse(headers=self.headers)
        await response.prepare(request)
        for start in range(0, self.total_bytes, len(self.chunk)):
            await response.write(self.chunk[: self.total_bytes - start])
        return response


@dataclass(frozen=True, slots=True)
class Raw:
    """These bytes on the wire, HTTP or not, before the connection is closed."""

    data: bytes

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Write to the transport."""
        del handler
        if request.transport is not None:
            request.transport.write(self.data)
        end_connection(request)
        return web.Response()


async def real_answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's response; an HTTP error that it raises is one, too."""
    try:
        return await handler(request)
    except web.HTTPException as exc:
        return exc


def body_of(response: web.StreamResponse) -> bytes:
    """The body of a response that was not sent yet."""
    body = response.body if isinstance(response, web.Response) else None
    return bytes(body) if isinstance(body, bytes | bytearray) else b""


async def started(
    request: web.Request, real: web.StreamResponse, *, length: int
) -> web.StreamResponse:
    """A response with the headers of `real` that claims this Content-Length."""
    response = web.StreamResponse(status=real.status, headers=real.headers)
    response.content_length = length
    await response.prepare(request)
    return response


def end_connection(request: web.Request, *, reset: bool = False) -> None:
    """Close the connection; with `reset`, so that the peer gets ECONNRESET."""
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    # SO_LINGER with a time of 0 makes closing send RST (socket(7)).
    linger = struct.pack("ii", 1, 0)
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
