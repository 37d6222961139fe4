"""Requests to one origin, over connections that are kept for the next one."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

import aiohappyeyeballs

from auditor.registry.transport.http1_parser import (
    AnswerReader,
    BrokenOffError,
    Fields,
    NoConnectionError,
    NoConnectionInTimeError,
    NotHttpError,
    SilentError,
    State,
    UnansweredError,
    usual_answer,
)
from auditor.registry.transport.http_defaults import MAX_ERROR_BYTES
from auditor.registry.transport.ssrf_guard import Guard, RefusedAddressError
from auditor.util.text import safe_url
from auditor.wire.response import Response
from auditor.wire.url_policy import Origin

# -- connection --
# One connection: one request under way at a time, and the deadlines of its answer.

# Status, fields and content (null: too large).
Reply = tuple[int, Fields, bytes | None]


class Connection(asyncio.Protocol):
    """A connection to a server. `is_open`: the next request may be sent on it.
    `touched`: something of an answer came since the last request.

    One timer watches it, whatever it does: moving its moment on costs nothing, and
    only when it fires does it look whether its time has really come.
    """

    __slots__ = (
        "_deadline",
        "_due",
        "_head_only",
        "_keep_s",
        "_loop",
        "_max_bytes",
        "_max_error_bytes",
        "_read_s",
        "_reader",
        "_timer",
        "_timer_at",
        "_transport",
        "_waiter",
        "is_open",
        "lost",
        "touched",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, read_s: float, keep_s: float
    ) -> None:
        self._loop = loop
        self._read_s = read_s
        self._keep_s = keep_s
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._deadline = 0.0
        self._timer_at = math.inf
        self._head_only = False
        self._max_bytes = self._max_error_bytes = 0
        self.is_open = False
        self.touched = False
        self.lost = loop.create_future()

    @property
    def tls(self) -> ssl.SSLObject | None:
        """What was agreed on with TLS; null without it."""
        if self._transport is None:
            return None
        agreed: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return agreed

    def ask(
        self,
        request: bytes,
        *,
        head_only: bool,
        max_bytes: int,
        max_error_bytes: int,
        deadline: float,
    ) -> asyncio.Future[Reply]:
        """The answer to `request`, to be awaited.

        `deadline` is the loop's time. Raises what `http1.errors` names, and OSError;
        then the connection is closed. Who does not wait for the end has to `abort` it.
        """
        waiter = self._waiter = self._loop.create_future()
        self.touched = False
        transport = self._transport
        if transport is None or not self.is_open:
            waiter.set_exception(UnansweredError())
            return waiter
        self._head_only = head_only
        self._max_bytes = max_bytes
        self._max_error_bytes = max_error_bytes
        self._deadline = deadline
        due = self._loop.time() + self._read_s
        self._watch(min(deadline, due))
        transport.write(request)
        return waiter

    def abort(self) -> None:
        """End it now."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    # -- what the event loop calls ---------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """`asyncio.Protocol`"""
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """`asyncio.Protocol`"""
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.abort()  # words that nobody asked for
            return
        if self.touched:
            self._read(waiter, data)
            return
        self.touched = True
        usual = usual_answer(data, head_only=self._head_only, max_bytes=self._max_bytes)
        if usual is None:
            self._reader.begin(
                head_only=self._head_only,
                max_bytes=self._max_bytes,
                max_error_bytes=self._max_error_bytes,
            )
            self._read(waiter, data)
        else:
            self._watch(self._loop.time() + self._keep_s)
            waiter.set_result(usual)

    def _read(self, waiter: asyncio.Future[Reply], data: bytes) -> None:
        """A piece of an answer that is not the usual one."""
        reader = self._reader
        try:
            reader.feed(data)
        except NotHttpError as error:
            self.abort()
            waiter.set_exception(error)
            return
        if reader.state is State.WHOLE or reader.state is State.TOO_LARGE:
            self._finish(waiter)
        else:
            self._due = min(self._loop.time() + self._read_s, self._deadline)

    def _finish(self, waiter: asyncio.Future[Reply]) -> None:
        """Hand over what was read."""
        reader = self._reader
        try:
            body = reader.body()
        except (BrokenOffError, NotHttpError) as error:
            self.abort()
            waiter.set_exception(error)
            return
        if reader.reusable:
            self._watch(self._loop.time() + self._keep_s)
        else:
            self.abort()
        waiter.set_result((reader.status, reader.fields, body))

    def connection_lost(self, exc: Exception | None) -> None:
        """`asyncio.Protocol`"""
        self.is_open = False
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, math.inf
        if not self.lost.done():
            self.lost.set_result(None)
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if exc is None and self.touched:
            try:
                self._reader.end()
            except BrokenOffError as error:
                exc = error
        elif exc is None:
            exc = UnansweredError()
        if exc is None:
            self._finish(waiter)
        else:
            waiter.set_exception(exc)

    # -- deadlines -------------------------------------------------------------

    def _watch(self, due: float) -> None:
        self._due = due
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self._loop.time()
        if now < self._due:
            self._watch(self._due)
            return
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            late = now >= self._deadline
            waiter.set_exception(TimeoutError() if late else SilentError())
        self.abort()


# -- dialer --
# New connections to one origin: its addresses, TCP, TLS.

# A second address is tried beside the first after so long (RFC 8305 section 5).
_NEXT_ADDRESS_S = 0.25


class Dialer:
    """Makes connections, over TLS if there is a context for it.

    What the name resolves to is kept for `dns_s` seconds, once the `guard` has let it
    pass; without one, the user named the host.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        tls: ssl.SSLContext | None,
        connect_s: float,
        read_s: float,
        keep_s: float,
        dns_s: float,
        guard: Guard | None = None,
    ) -> None:
        self._origin = origin
        self._tls = tls
        self._connect_s = connect_s
        self._read_s = read_s
        self._keep_s = keep_s
        self._dns_s = dns_s
        self._guard = guard
        self._resolving = asyncio.Lock()
        self._addresses: list[aiohappyeyeballs.AddrInfoType] = []
        self._resolved_at = float("-inf")

    async def dial(self) -> Connection:
        """A new connection. Raises what `within_time` does."""
        async with self.within_time():
            return await self.secure(await self.connect(await self.addresses()))

    @asynccontextmanager
    async def within_time(self) -> AsyncIterator[None]:
        """The time that a connection has, and the errors of its steps.

        Raises `NoConnectionInTimeError`, `NoConnectionError`, `socket.gaierror`,
        `RefusedAddressError` or `ssl.SSLError`.
        """
        try:
            async with asyncio.timeout(self._connect_s):
                yield
        except TimeoutError:
            raise NoConnectionInTimeError from None
        except (ssl.SSLError, socket.gaierror, RefusedAddressError):
            raise
        except OSError as error:
            self._resolved_at = float("-inf")  # it may have moved
            raise NoConnectionError(error.errno, error.strerror) from error

    async def connect(
        self, addresses: list[aiohappyeyeballs.AddrInfoType]
    ) -> socket.socket:
        """TCP with the first of these addresses that takes it."""
        return await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1
        )

    async def secure(self, connected: socket.socket) -> Connection:
        """A connection over a socket, after the handshake of TLS if there is one."""
        loop = asyncio.get_running_loop()
        host = self._origin.host.rstrip(".")
        _, connection = await loop.create_connection(
            lambda: Connection(loop, read_s=self._read_s, keep_s=self._keep_s),
            sock=connected,
            ssl=self._tls,
            server_hostname=host if self._tls else None,
        )
        return connection

    async def addresses(self) -> list[aiohappyeyeballs.AddrInfoType]:
        """What the name resolves to."""
        loop = asyncio.get_running_loop()
        async with self._resolving:  # one question for all who need a connection
            if loop.time() - self._resolved_at > self._dns_s:
                found = await loop.getaddrinfo(
                    self._origin.host,
                    self._origin.port,
                    type=socket.SOCK_STREAM,
                    flags=socket.AI_ADDRCONFIG,
                )
                if self._guard is not None:
                    self._guard.check(
                        self._origin.host, [str(info[4][0]) for info in found]
                    )
                self._addresses[:] = found
                self._resolved_at = loop.time()
            return self._addresses


log = logging.getLogger("auditor.http")

# RFC 9110 section 9.2.2: may be repeated without asking anybody.
IDEMPOTENT = frozenset({"GET", "HEAD"})


class Client:
    """Asks one origin.

    Who calls bounds how many requests are under way; of the connections that they
    leave, `most_idle` are kept.
    """

    def __init__(
        self,
        origin: Origin,
        dialer: Dialer,
        *,
        request_s: float,
        most_idle: int,
        fields: Mapping[str, str],
    ) -> None:
        self._dialer = dialer
        self._request_s = request_s
        self._most_idle = most_idle
        host = str(origin).partition("://")[2]
        self._common = _lines((("Host", host), *fields.items()))
        # The same for every request of a repository, and gone with this client.
        self._lines = functools.lru_cache(maxsize=64)(_lines)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    async def ask(
        self,
        method: str,
        url: str,
        target: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
    ) -> Response | None:
        """The answer, null if it is too large; `target` is path and query of `url`.

        A kept connection that ends unanswered was being closed while we wrote: the
        request is sent once more, on a new one. Raises ValueError for a target or a
        field that cannot be sent, and as `Connection.ask`.
        """
        if not target.isascii() or not target.isprintable() or " " in target:
            raise ValueError("such a target cannot be sent")
        fields = self._lines((*headers.items(),))
        request = f"{method} {target} HTTP/1.1\r\n{self._common}{fields}\r\n".encode()
        deadline = asyncio.get_running_loop().time() + self._request_s
        connection = self._kept()
        reused = connection is not None
        while True:
            if connection is None:
                connection = await self._dial(deadline)
            try:
                status, said, content = await connection.ask(
                    request,
                    head_only=method == "HEAD",
                    max_bytes=max_bytes,
                    max_error_bytes=MAX_ERROR_BYTES,
                    deadline=deadline,
                )
                break
            except BaseException as error:
                connection.abort()  # who was cancelled leaves it in doubt, too
                if not reused or connection.touched or not _may_repeat(method, error):
                    raise
                reused, connection = False, None
        if connection.is_open:
            if len(self._idle) < self._most_idle:
                self._idle.append(connection)
            else:
                connection.abort()
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s %d", method, safe_url(url), status)
        if content is None:
            if status < 300:
                return None
            content = b""
        return Response(status=status, headers=said, body=content, url=url)

    async def close(self) -> None:
        """End every connection."""
        lost = [connection.lost for connection in self._open]
        for connection in self._open:
            connection.abort()
        if lost:
            await asyncio.wait(lost)

    def _kept(self) -> Connection | None:
        """The connection that was used last: it is the least likely to be closed."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _dial(self, deadline: float) -> Connection:
        async with asyncio.timeout_at(deadline):
            connection = await self._dialer.dial()
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        return connection


def _may_repeat(method: str, error: BaseException) -> bool:
    lost = isinstance(error, OSError) and not isinstance(error, TimeoutError)
    return lost and method in IDEMPOTENT


def _lines(fields: tuple[tuple[str, str], ...]) -> str:
    text = "".join(f"{name}: {value}\r\n" for name, value in fields)
    if text.count("\n") != len(fields) or text.count("\r") != len(fields):
        raise ValueError("a header field holds a line break")
    return text
