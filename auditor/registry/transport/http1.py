"""An HTTP/1.1 client for one origin: connections, how they are made and reused.

`Http1Client` takes an idle `Connection` (http1_connection.py) or has the `Dialer` make
one. GET and HEAD only: no request bodies, redirects, cookies or proxies
(docs/development/adr/0005).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from time import monotonic

import aiohappyeyeballs

from auditor.registry.transport.connection_budget import (
    HOSTS_AT_ONCE,
    ConnectionBudget,
    SocketFactory,
)
from auditor.registry.transport.http1_connection import Connection
from auditor.registry.transport.http1_parser import (
    NoConnectionError,
    NoConnectionInTimeError,
    NotHttpError,
)
from auditor.registry.transport.http_defaults import HEADERS, Timeouts
from auditor.registry.transport.loop_turns import LoopTurns
from auditor.registry.transport.name_lookup import (
    Addresses,
    Lookup,
    LookupTimeoutError,
    NameLookups,
)
from auditor.registry.transport.ssrf_guard import RefusedAddressError, SsrfGuard
from auditor.util.open_files import is_out_of_descriptors
from auditor.util.text import safe_url
from auditor.wire.response import Response
from auditor.wire.url_policy import Origin

log = logging.getLogger("auditor.http")

# RFC 9110 section 9.2.2: methods whose requests may be repeated.
IDEMPOTENT = frozenset({"GET", "HEAD"})
# A handshake takes this long if a packet was lost (RFC 6298 section 2), or if the host
# accepts no further connection; one of a slow host, twice as long as its fastest.
LONG_DIAL_S = 1.0
LONG_DIAL_FACTOR = 2
# RFC 8305 section 5: the delay before a second address is tried beside the first.
_NEXT_ADDRESS_S = 0.25


class Http1Client:
    """Sends requests to one origin.

    The caller bounds the requests in flight; `max_idle` connections are kept open
    after that. `has_answered`: there was a response.

    TLS connections are opened ahead: a handshake takes two more round trips than the
    request that waits for it, and while a host gets more and more requests at once,
    each of its steps would wait for new connections. So whenever more connections are
    in use than ever before, as many again are opened, at most `max_ahead` in all.

    A request that waits for its new connection for `LONG_DIAL_S` takes one that another
    request gives back, if that comes first. So hosts and firewalls that let a client
    have a few connections only, and leave the others without an answer, fail none.
    Where all handshakes are slow, requests wait longer, or one connection would do all.
    """

    def __init__(
        self,
        origin: Origin,
        dialer: Dialer,
        *,
        budget: ConnectionBudget,
        request_s: float,
        max_idle: int,
        max_ahead: int = 0,
    ) -> None:
        self._dialer = dialer
        self._budget = budget
        self._request_s = request_s
        self._max_idle = max_idle
        self._origin = origin
        self.is_tls = origin.scheme == "https"
        most = budget.max_per_host(HOSTS_AT_ONCE)  # others may need theirs
        self._max_ahead = min(max_ahead, most) if self.is_tls else 0
        self._most_in_use = 1
        self._dials = 0  # in progress
        self._fastest_dial_s = math.inf
        self._ahead: set[asyncio.Task[None]] = set()
        self.has_answered = False
        host = str(origin).partition("://")[2]
        self._common_fields = _format_fields((("Host", host), *HEADERS.items()))
        # The fields are the same for all requests of a repository. Not cached beyond
        # this client: they hold credentials.
        self._format_fields = functools.lru_cache(maxsize=64)(_format_fields)
        self._idle: list[Connection] = []
        self._takers: deque[_Taker] = deque()
        self._open: set[Connection] = set()
        budget.holders.add(self)

    async def request(
        self,
        method: str,
        url: str,
        target: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        new_connection: bool = False,
    ) -> Response | None:
        """The response, None if it is larger than `max_bytes`.

        `target` is path and query of `url`. `new_connection`: reuse none. A reused
        connection that ends without a response was closed while the request was
        written; one that sends two responses, or no HTTP, may have sent that of an
        earlier request. Then the request is sent once more, on a new connection. Raises
        ValueError for a target or field that cannot be sent, and the errors of
        `Connection.request`.
        """
        if not target.isascii() or not target.isprintable() or " " in target:
            raise ValueError("the target of the request contains invalid characters")
        fields = self._format_fields((*headers.items(),))
        head = f"{method} {target} HTTP/1.1\r\n{self._common_fields}{fields}\r\n"
        request = head.encode()
        deadline = asyncio.get_running_loop().time() + self._request_s
        connection = None if new_connection else self._take_idle()
        reused = connection is not None
        may_take = not new_connection
        while True:
            if connection is None:
                connection, deadline, reused = await self._dial(may_take=may_take)
            try:
                status, response_headers, body = await connection.request(
                    request,
                    head_only=method == "HEAD",
                    max_bytes=max_bytes,
                    deadline=deadline,
                )
            except BaseException as error:
                connection.abort()  # after a cancellation, too, its state is unknown
                is_timeout = isinstance(error, TimeoutError)
                is_lost = isinstance(error, OSError) and not is_timeout
                is_lost = is_lost and not connection.touched
                is_stray = isinstance(error, NotHttpError) and not connection.has_head
                may_repeat = reused and method in IDEMPOTENT
                if not may_repeat or not (is_lost or is_stray):
                    raise
            else:
                if not (reused and connection.is_out_of_step):
                    break
                # It may be the response to an earlier request.
            may_take, connection = False, None
        self.has_answered = True
        now = monotonic()
        connection.turns.ran(now)
        arrived_at = connection.arrived_at
        round_trip_s = arrived_at - connection.written_at
        self._give_back(connection)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s %d", method, safe_url(url), status)
        if body is None and status < 300:
            return None
        return Response(
            status=status,
            headers=response_headers,
            body=body or b"",
            url=url,
            round_trip_s=round_trip_s,
            waited_s=now - arrived_at,
        )

    async def close(self) -> None:
        """Close all connections."""
        self._budget.holders.discard(self)
        for task in self._ahead:
            task.cancel()
        await asyncio.gather(*self._ahead, return_exceptions=True)
        for connection in self._open:
            connection.abort()
        if self._open:
            await asyncio.wait([connection.closed for connection in self._open])

    def _give_back(self, connection: Connection) -> None:
        """Keep the connection for the next request, if it can be."""
        if not connection.is_open:
            self._max_ahead = 0  # the host wants a new connection for each request
        elif self._takers and self._max_idle:
            self._takers.popleft().take(connection)
        elif len(self._idle) < self._max_idle:
            self._idle.append(connection)
        else:
            connection.abort()

    def _take_idle(self) -> Connection | None:
        """The connection used last, which is the least likely to be closed."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_open:
                continue
            if not connection.has_input():
                if self._max_ahead:
                    self._open_ahead()
                return connection
            connection.abort()  # closed by the server, or with a response to nothing
        return None

    def _let_take(self, taker: _Taker) -> None:
        """Give it an idle connection, or the next one that is given back."""
        connection = self._take_idle()
        if connection is None:
            self._takers.append(taker)
        else:
            taker.take(connection)

    def idle_expiry(self) -> float:
        """`ConnectionHolder`"""
        while self._idle and not self._idle[0].is_open:
            del self._idle[0]
        return self._idle[0].due if self._idle else math.inf

    async def close_idle(self) -> None:
        """`ConnectionHolder`"""
        connection = self._idle.pop(0)
        connection.abort()
        await connection.closed

    # -- new connections -------------------------------------------------------

    async def _dial(self, *, may_take: bool) -> tuple[Connection, float, bool]:
        """A connection, the deadline of its request in the loop's time, and whether it
        was used before, which needs `may_take`.

        The request's time starts when the host can have a part in it.
        """
        self._dials += 1
        try:
            if self._max_ahead:
                self._open_ahead()
            return await self._dial_in_time(may_take=may_take)
        finally:
            self._dials -= 1

    async def _dial_in_time(self, *, may_take: bool) -> tuple[Connection, float, bool]:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        while True:
            lookup = self._dialer.start_lookup_now()
            if lookup is None:
                lookup = await self._budget.lend(self._dialer.start_lookup())
            await self._budget.reserve()
            taker = _Taker(loop.time() + self._request_s)
            try:
                connection = await self._dial_or_take(lookup, taker, may_take=may_take)
                break
            except BaseException as error:
                self._budget.release()
                if not is_out_of_descriptors(error):
                    raise
                await self._budget.wait_for_descriptor(error, since=started_at)
        is_taken = connection is taker.taken
        if is_taken:
            self._budget.release()
        else:
            self._keep(connection)
        return connection, taker.deadline, is_taken

    async def _dial_or_take(
        self, lookup: Lookup, taker: _Taker, *, may_take: bool
    ) -> Connection:
        """A new connection, or what the taker took meanwhile."""
        loop, timer = asyncio.get_running_loop(), None
        if may_take:
            timer = loop.call_later(self._long_dial_s(), self._let_take, taker)
        try:
            async with taker.timeout:
                connection = await self._connect(lookup)
        except asyncio.CancelledError:
            if taker.taken is not None:
                self._give_back(taker.taken)
            raise
        except Exception:
            if taker.taken is None:
                raise
            return taker.taken
        finally:
            if timer is not None:
                timer.cancel()
                with suppress(ValueError):
                    self._takers.remove(taker)
        if taker.taken is not None:
            taken, taker.taken = taker.taken, None
            self._give_back(taken)
        return connection

    def _open_ahead(self) -> None:
        """Start to open connections, if more are in use than ever before.

        Not before the first response, and not while descriptors may be needed for those
        of other hosts.
        """
        in_use = len(self._open) - len(self._idle) + self._dials
        if in_use <= self._most_in_use or not self.has_answered:
            return
        self._most_in_use = in_use
        wanted = min(2 * in_use, self._max_ahead)
        wanted -= in_use + len(self._idle) + len(self._ahead)
        for _ in range(wanted):
            if not self._budget.has_room_ahead:
                return
            lookup = self._dialer.start_lookup_now()
            if lookup is None:
                return
            self._budget.open += 1
            task = asyncio.get_running_loop().create_task(self._dial_ahead(lookup))
            self._ahead.add(task)
            task.add_done_callback(self._ahead.discard)

    async def _dial_ahead(self, lookup: Lookup) -> None:
        """Open a connection that no request waits for."""
        try:
            connection = await self._connect(lookup)
        except OSError as error:
            # The host may want no more connections. A request will say so if it meets
            # the same.
            self._budget.release()
            self._max_ahead = 0
            log.debug("%s: no connection ahead of need: %s", self._origin, error)
        except BaseException:
            self._budget.release()
            raise
        else:
            self._keep(connection)
            connection.keep_idle()
            self._give_back(connection)

    async def _connect(self, lookup: Lookup) -> Connection:
        """A new connection. Raises the errors of `Dialer.dial`."""
        started = monotonic()
        connection = await self._dialer.dial(lookup)
        self._fastest_dial_s = min(self._fastest_dial_s, monotonic() - started)
        return connection

    def _long_dial_s(self) -> float:
        """How long a request waits for its new connection before it takes another."""
        if self._fastest_dial_s == math.inf:
            return LONG_DIAL_S
        return max(LONG_DIAL_S, LONG_DIAL_FACTOR * self._fastest_dial_s)

    def _keep(self, connection: Connection) -> None:
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._forget(connection))

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._budget.release()
        if connection.is_out_of_step and self._max_idle:
            # What comes late can be taken as the response to the next request.
            self._max_idle = self._max_ahead = 0
            log.warning(
                "%s: sent a response that no request asked for; sending each request"
                " over a new connection",
                self._origin,
            )


class _Taker:
    """A request that waits for a new connection, and may take another one instead.

    `deadline` is in the loop's time; `taken` is that other one.
    """

    __slots__ = ("deadline", "taken", "timeout")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.timeout = asyncio.timeout_at(deadline)
        self.taken: Connection | None = None

    def take(self, connection: Connection) -> None:
        """Have this connection, and end the wait for the new one."""
        self.taken = connection
        if not self.timeout.expired():  # the deadline, a moment ago
            self.timeout.reschedule(asyncio.get_running_loop().time())


def _format_fields(fields: tuple[tuple[str, str], ...]) -> str:
    text = "".join(f"{name}: {value}\r\n" for name, value in fields)
    if text.count("\n") != len(fields) or text.count("\r") != len(fields):
        raise ValueError("a header field holds a line break")
    return text


class Dialer:
    """Makes connections to one origin: resolves its name, connects, and does the TLS
    handshake if `tls` is given.

    The `guard` checks the addresses first; without one, the user named the host.
    `turns` are those of the event loop, which other origins share.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        names: NameLookups,
        tls: ssl.SSLContext | None,
        timeouts: Timeouts,
        guard: SsrfGuard | None = None,
        turns: LoopTurns | None = None,
    ) -> None:
        self._origin = origin
        self._turns = LoopTurns() if turns is None else turns
        self._names = names
        self._tls = tls
        self._timeouts = timeouts
        self._guard = guard

    def start_lookup_now(self) -> Lookup | None:
        """The look-up of the host's name; None if it has to wait for its turn."""
        return self._names.start_now(self._origin.host, self._origin.port)

    async def start_lookup(self) -> Lookup:
        """The look-up of the host's name, once it is in progress: no time limit."""
        return await self._names.start(self._origin.host, self._origin.port)

    async def dial(self, lookup: Lookup) -> Connection:
        """A new connection. Raises the errors of `connect_timeout`."""
        async with self.connect_timeout(lookup):
            return await self.secure(await self.connect(await self.addresses(lookup)))

    @asynccontextmanager
    async def connect_timeout(
        self, lookup: Lookup | None = None
    ) -> AsyncIterator[None]:
        """Bound the steps of a connection to `connect_s`, and unify their errors.

        Raises `LookupTimeoutError`, `NoConnectionInTimeError`, `NoConnectionError`,
        `socket.gaierror`, `RefusedAddressError` or `ssl.SSLError`; the lack of
        descriptors as it is.
        """
        try:
            async with asyncio.timeout(self._timeouts.connect_s):
                yield
        except TimeoutError:
            if lookup is not None and not lookup.is_done:
                raise LookupTimeoutError from None
            raise NoConnectionInTimeError from None
        except (ssl.SSLError, socket.gaierror, RefusedAddressError):
            raise
        except OSError as error:
            if is_out_of_descriptors(error):
                raise
            # The address may have changed.
            self._names.forget(self._origin.host, self._origin.port)
            raise NoConnectionError(error.errno, error.strerror) from error

    async def addresses(self, lookup: Lookup) -> Addresses:
        """The addresses of the host, in the system's order."""
        addresses = await lookup.addresses()
        if self._guard is not None:
            self._guard.check(
                self._origin.host, [str(info[4][0]) for info in addresses]
            )
        return addresses

    async def connect(self, addresses: Addresses) -> socket.socket:
        """A TCP connection to the first of these addresses that accepts it."""
        sockets = SocketFactory()
        try:
            return await aiohappyeyeballs.start_connection(
                addresses,
                happy_eyeballs_delay=_NEXT_ADDRESS_S,
                interleave=1,
                socket_factory=sockets,
            )
        except OSError:
            if sockets.shortage is not None:
                raise sockets.shortage from None
            raise

    async def secure(self, connected: socket.socket) -> Connection:
        """The connection over a socket, after the TLS handshake if there is one."""
        loop = asyncio.get_running_loop()
        host = self._origin.host.rstrip(".")
        _, connection = await loop.create_connection(
            lambda: Connection(loop, read_s=self._timeouts.read_s, turns=self._turns),
            sock=connected,
            ssl=self._tls,
            server_hostname=host if self._tls else None,
        )
        return connection
