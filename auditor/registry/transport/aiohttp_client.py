"""The aiohttp client: for proxies and for requests with a body.

Imported on first use: the import takes 0.1 s, and most audits do not need it
(docs/development/adr/0005).
"""

from __future__ import annotations

import asyncio
import logging
import math
import select
import socket
from collections.abc import Mapping
from time import monotonic
from typing import Any

import aiohttp
import yarl
from aiohttp.abc import ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from auditor.errors import Failure, FailureKind, FailureReason
from auditor.registry.transport.aiohttp_failures import (
    failure_of_aiohttp,
    proxy_failure,
)
from auditor.registry.transport.connection_budget import (
    ConnectionBudget,
    NoDescriptorError,
    SocketFactory,
)
from auditor.registry.transport.failures import (
    failure_of,
    is_cut_off,
    too_large,
    with_reason,
)
from auditor.registry.transport.http1_parser import decode_content
from auditor.registry.transport.http_defaults import (
    DNS_CACHE_S,
    HEADERS,
    KEEPALIVE_S,
    MAX_ERROR_BYTES,
    Timeouts,
)
from auditor.registry.transport.name_lookup import LookupTimeoutError, NameLookups
from auditor.registry.transport.ssrf_guard import RefusedAddressError, SsrfGuard
from auditor.registry.transport.tls import TlsFiles, tls_context
from auditor.util.open_files import is_out_of_descriptors
from auditor.util.text import safe_url
from auditor.wire.proxy import InvalidProxy, Proxies, Proxy
from auditor.wire.response import Response, content_codings
from auditor.wire.url_policy import Origin, origin_of

log = logging.getLogger("auditor.http")


class AiohttpClient:
    """Sends requests over aiohttp, to one registry and the hosts that it names."""

    def __init__(
        self,
        *,
        origin: Origin | None,
        max_in_flight: int,
        timeouts: Timeouts,
        tls: TlsFiles,
        proxies: Proxies,
        guard: SsrfGuard,
        budget: ConnectionBudget,
        names: NameLookups,
    ) -> None:
        self._budget = budget
        self._names = names
        self._origin = origin
        self._proxies = proxies
        self._max_connections = 2 * max_in_flight
        self._timeouts = timeouts
        self._tls = tls
        self._guard = guard
        self._has_answered = False
        # By whether the SSRF guard checks the addresses, and connections are reused.
        self._sessions: dict[tuple[bool, bool], aiohttp.ClientSession] = {}
        # Until when names are not looked up again, in the loop's time.
        self._unresolved_until: dict[str, float] = {}
        self._in_flight = 0
        self._idle_since = 0.0
        self._open: set[ResponseHandler] = set()
        budget.holders.add(self)

    async def close(self) -> None:
        """Close all connections."""
        self._budget.holders.discard(self)
        for session in self._sessions.values():
            await session.close()

    def idle_expiry(self) -> float:
        """`ConnectionHolder`"""
        is_idle = self._open and not self._in_flight
        return self._idle_since + KEEPALIVE_S if is_idle else math.inf

    async def close_idle(self) -> None:
        """`ConnectionHolder`: all of them, as aiohttp does not name the idle ones."""
        closed = [connection.closed for connection in self._open]
        for connection in self._open:
            connection.abort()
        await asyncio.wait(list(filter(None, closed)))

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        max_bytes: int,
        body: bytes | None,
        *,
        new_connection: bool = False,
    ) -> Response | Failure:
        """The response to one request; redirects are returned, not followed."""
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        while True:
            self._in_flight += 1
            try:
                return await self._request(
                    method, url, headers, max_bytes, body, new_connection=new_connection
                )
            except OSError as error:
                shortage = error
            finally:
                self._in_flight -= 1
                self._idle_since = loop.time()
            try:
                await self._budget.wait_for_descriptor(shortage, since=started_at)
            except NoDescriptorError as gone:
                return failure_of(gone, safe_url(url), self._timeouts)

    async def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        max_bytes: int,
        body: bytes | None,
        *,
        new_connection: bool,
    ) -> Response | Failure:
        """`request`; raises `OSError` if no descriptor is free for a connection."""
        origin = origin_of(url)
        is_registry = origin == self._origin
        proxy = self._proxies.choose(origin)
        if isinstance(proxy, InvalidProxy):
            return Failure(kind=FailureKind.CONNECT, detail=proxy.detail)
        proxy_arguments: dict[str, Any] = {}
        if proxy is not None:
            proxy_arguments, headers = _proxy_arguments(proxy, url, headers)
        # The wait for a look-up's turn is not part of the request's time.
        peer = origin if proxy is None else proxy.origin
        await self._start_lookup(peer.host, peer.port)
        if self._budget.is_short:
            headers = {**headers, "Connection": "close"}
        session = self._session(
            guarded=proxy is None and not is_registry, reuse=not new_connection
        )
        written = _Written()
        # The registry and hosts that the user named are shown the client certificate.
        is_named = is_registry or origin.host in self._guard.allowed_hosts
        tls = self._tls if is_named else self._tls.without_certificate()
        try:
            if proxy is not None and not is_registry:
                await self._check_behind_proxy(origin)
            async with session.request(
                method,
                yarl.URL(url, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                ssl=tls_context(tls),
                trace_request_ctx=written,
                **proxy_arguments,
            ) as response:
                if log.isEnabledFor(logging.DEBUG):
                    log.debug("%s %s %d", method, safe_url(url), response.status)
                if proxy is not None and response.status == 407:
                    return proxy_failure(proxy, 407)
                self._has_answered = True
                return await _response(response, url, max_bytes, written)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            cause = getattr(error, "os_error", None) or error
            if is_out_of_descriptors(cause):
                raise cause from None
            if proxy is not None and isinstance(error, aiohttp.ClientHttpProxyError):
                return proxy_failure(proxy, error.status)
            return self._failure(error, method, url, proxy)

    def _failure(
        self, error: Exception, method: str, url: str, proxy: Proxy | None
    ) -> Failure:
        failure = failure_of_aiohttp(error, url, self._timeouts, proxy)
        was_cut_off = isinstance(error, aiohttp.ServerDisconnectedError) or is_cut_off(
            error
        )
        if url.startswith("https:") and not self._has_answered and was_cut_off:
            failure = with_reason(failure, FailureReason.CLIENT_CERTIFICATE_REQUIRED)
        log.debug("%s %s %s", method, safe_url(url), failure.detail)
        return failure

    async def _start_lookup(self, host: str, port: int) -> None:
        if self._names.start_now(host, port) is None:
            await self._budget.lend(self._names.start(host, port))

    def _session(self, *, guarded: bool, reuse: bool) -> aiohttp.ClientSession:
        if (guarded, reuse) in self._sessions:
            return self._sessions[guarded, reuse]
        session = self._sessions[guarded, reuse] = aiohttp.ClientSession(
            connector=_Connector(
                budget=self._budget,
                open_connections=self._open,
                # `ConcurrencyLimiter` limits the requests; this is a second fence.
                limit=self._max_connections,
                limit_per_host=self._max_connections,
                keepalive_timeout=KEEPALIVE_S if reuse else None,
                force_close=not reuse,
                use_dns_cache=False,  # `NameLookups` caches
                resolver=self._resolver(guarded=guarded),
            ),
            timeout=aiohttp.ClientTimeout(
                total=self._timeouts.request_s,
                sock_connect=self._timeouts.connect_s,
                sock_read=self._timeouts.read_s,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            trust_env=False,  # no netrc
            auto_decompress=False,  # it knows one coding only: `decode_content`
            trace_configs=[_tracing()],
        )
        return session

    def _resolver(self, *, guarded: bool) -> AiohttpResolver:
        return AiohttpResolver(
            self._names,
            connect_s=self._timeouts.connect_s,
            guard=self._guard if guarded else None,
        )

    async def _check_behind_proxy(self, origin: Origin) -> None:
        """Check the address of a host that the proxy will resolve.

        A name that only the proxy can resolve may be any address there. Over TLS its
        certificate must match the name before anything is sent; for plain HTTP the
        host must be named in `realm_hosts`.
        """
        loop = asyncio.get_running_loop()
        if loop.time() >= self._unresolved_until.get(origin.host, 0.0):
            try:
                await self._start_lookup(origin.host, origin.port)
                await self._resolver(guarded=True).resolve(origin.host, origin.port)
            except RefusedAddressError:
                raise
            except OSError:
                # Where only the proxy resolves names, DNS is often silent.
                self._unresolved_until[origin.host] = loop.time() + DNS_CACHE_S
            else:
                return
        is_allowed = origin.host in self._guard.allowed_hosts
        if origin.scheme != "https" and not is_allowed:
            raise RefusedAddressError(
                f"{origin.host} does not resolve on this machine, so its address"
                " cannot be checked; allow the host with realm_host"
            )


class _Connector(aiohttp.TCPConnector):
    """Counts its connections in the budget, and keeps them in `open_connections`."""

    def __init__(
        self,
        *,
        budget: ConnectionBudget,
        open_connections: set[ResponseHandler],
        **arguments: Any,
    ) -> None:
        self._sockets = SocketFactory()
        super().__init__(socket_factory=self._sockets, **arguments)
        self._budget = budget
        self._new: set[ResponseHandler] = set()  # no request was sent over them yet
        self._open_connections = open_connections

    async def connect(self, *arguments: Any, **more: Any) -> Connection:
        """`BaseConnector`: a connection, new or with nothing in it from the server.

        aiohttp takes a response that came while a connection was idle as the response
        to the next request.
        """
        while True:
            connection = await super().connect(*arguments, **more)
            handler = connection.protocol
            assert handler is not None
            is_new = handler in self._new
            self._new.discard(handler)
            if is_new or not (handler.should_close or _has_input(handler)):
                return connection
            connection.close()

    async def _create_connection(self, *arguments: Any) -> ResponseHandler:
        await self._budget.reserve()
        before = self._sockets.shortage
        try:
            connection = await super()._create_connection(*arguments)
        except BaseException as error:
            self._budget.release()
            shortage = self._sockets.shortage
            if shortage is not before and isinstance(error, Exception):
                assert shortage is not None
                raise shortage from None
            raise

        def forget(closed: asyncio.Future[None] | None) -> None:
            if closed is not None:
                closed.exception()  # how it ended does not matter
            self._open_connections.discard(connection)
            self._new.discard(connection)
            self._budget.release()

        self._open_connections.add(connection)
        self._new.add(connection)
        if (closed := connection.closed) is None:
            forget(None)
        else:
            closed.add_done_callback(forget)
        return connection


def _has_input(handler: ResponseHandler) -> bool:
    """See `http1_connection.Connection.has_input`."""
    if handler.transport is None:
        return True
    poll = select.poll()
    poll.register(handler.transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


class AiohttpResolver(aiohttp.abc.AbstractResolver):
    """Resolves names for aiohttp by `NameLookups`.

    `guard` checks the addresses of hosts that only a registry named.
    """

    def __init__(
        self, names: NameLookups, *, connect_s: float, guard: SsrfGuard | None
    ) -> None:
        self._names = names
        self._connect_s = connect_s
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: int = 0
    ) -> list[ResolveResult]:
        """The addresses of a name; `family` 0 means any.

        Raises `LookupTimeoutError`, `RefusedAddressError` or `OSError`.
        """
        lookup = await self._names.start(host, port)
        try:
            async with asyncio.timeout(self._connect_s):
                addresses = await lookup.addresses()
        except TimeoutError:
            raise LookupTimeoutError from None
        results = [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, protocol, _, address in addresses
            if family in (socket.AF_UNSPEC, found_family)
        ]
        if self._guard is not None:
            self._guard.check(host, [result["host"] for result in results])
        return results

    async def close(self) -> None:
        """`AbstractResolver`"""


def _proxy_arguments(
    proxy: Proxy, url: str, headers: Mapping[str, str]
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """The arguments of aiohttp for a proxy, and the headers of the request.

    The proxy's password is sent in the CONNECT request of a tunnel, and, for plain
    HTTP, in the request itself, which the proxy reads.
    """
    arguments: dict[str, Any] = {"proxy": str(proxy.origin)}
    if proxy.authorization is not None:
        field = {"Proxy-Authorization": proxy.authorization.reveal()}
        # In any case of letters: in a tunnel the registry reads the request's fields.
        if url[:6].lower() == "https:":
            arguments["proxy_headers"] = field
        else:
            headers = {**headers, **field}
    return arguments, headers


class _Written:
    """When a request was written on its connection, on Python's monotonic clock.

    What comes before it, the tunnel of a proxy and TLS, is no part of a round trip: a
    host that gets more requests would seem to get slower.
    """

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = 0.0


def _tracing() -> aiohttp.TraceConfig:
    """Sets the `_Written` of each request; not that of the CONNECT before it."""
    tracing = aiohttp.TraceConfig()

    async def headers_sent(_: object, context: Any, __: object) -> None:
        context.trace_request_ctx.at = monotonic()

    tracing.on_request_headers_sent.append(headers_sent)
    return tracing


async def _response(
    response: aiohttp.ClientResponse, url: str, max_bytes: int, written: _Written
) -> Response | Failure:
    """The response with its decoded body."""
    is_good = response.status < 300
    cap = max_bytes if is_good else MAX_ERROR_BYTES
    content = await _read(response, cap)
    if content:
        content = decode_content(content, content_codings(response.headers), cap)
    if content is None:
        response.close()
        if is_good:
            return too_large(max_bytes)
    return Response(
        status=response.status,
        headers=response.headers,
        body=content or b"",
        url=url,
        round_trip_s=monotonic() - written.at,
    )


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes | None:
    """The body; None as soon as it is larger than `max_bytes`."""
    declared = response.content_length
    if declared is not None and declared > max_bytes and response.method != "HEAD":
        return None
    chunks = []
    left = max_bytes
    async for chunk in response.content.iter_any():
        left -= len(chunk)
        if left < 0:
            return None
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
