"""Requests to one registry and to the hosts it names: which client takes them, and
where redirects lead. Every exception on the way is a `Failure`.

All are asked over `http1`, but for what has a body or goes through a proxy: that goes
over aiohttp (docs/development/adr/0005).
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from auditor.errors import Failure, FailureKind, FailureReason, ProtocolError
from auditor.registry.transport.connection_probe import ConnectionProbe
from auditor.registry.transport.failures import (
    failure_of,
    is_cut_off,
    too_large,
    with_reason,
)
from auditor.registry.transport.http1 import Client, Dialer
from auditor.registry.transport.http_defaults import (
    DNS_CACHE_S,
    FIELDS,
    KEEPALIVE_S,
    Timeouts,
)
from auditor.registry.transport.ssrf_guard import SsrfGuard
from auditor.registry.transport.tls import (
    SYSTEM_TRUST,
    TlsFiles,
    check_files,
    tls_context,
)
from auditor.util.text import safe_url
from auditor.wire.proxy import NO_PROXIES, InvalidProxy, Proxies
from auditor.wire.redirect import follow_redirect
from auditor.wire.response import Response
from auditor.wire.url_policy import Origin, is_loopback_host, origin_of

if TYPE_CHECKING:
    from auditor.registry.transport.aiohttp_client import AiohttpClient

log = logging.getLogger("auditor.http")

# What is left of our header fields when a redirect leaves the registry.
_GO_ALONG = frozenset({"Accept", "Range"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Token services, CDNs, object stores and their regions: a registry has a handful.
MAX_NEIGHBOURS = 32


class Transport:
    """Connections to one registry and to the hosts it names.

    `direct`: asked over `http1` is who is not behind a proxy; else nobody is.
    """

    def __init__(
        self,
        *,
        origin: Origin,
        most_at_once: int,
        timeouts: Timeouts,
        tls: TlsFiles = SYSTEM_TRUST,
        proxies: Proxies = NO_PROXIES,
        allowed_hosts: frozenset[str] = frozenset(),
        direct: bool = True,
    ) -> None:
        self._origin = origin
        self._base = str(origin)
        self._proxies = proxies
        self._direct = direct
        self._most_at_once = most_at_once
        self._timeouts = timeouts
        self._tls = tls
        check_files(tls)  # a file that cannot be used is told at once
        self._allowed_hosts = allowed_hosts
        self._guard = SsrfGuard(
            registry_is_loopback=is_loopback_host(origin.host),
            allowed_hosts=allowed_hosts,
        )
        self._answered: set[Origin] = set()
        self._client: Client | None = None
        self._neighbours: dict[Origin, Client] = {}
        self._library: AiohttpClient | None = None

    async def __aenter__(self) -> Self:
        if self._direct and self._proxies.choose(self._origin) is None:
            self._client = self._http1(self._origin, self._tls, guard=None)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        own = () if self._client is None else (self._client,)
        for client in (*own, *self._neighbours.values()):
            await client.close()
        if self._library is not None:
            await self._library.close()

    def _http1(
        self, origin: Origin, files: TlsFiles, guard: SsrfGuard | None
    ) -> Client:
        tls = tls_context(files) if origin.scheme == "https" else None
        return Client(
            origin,
            self._dialer(origin, tls, guard),
            request_s=self._timeouts.request_s,
            most_idle=2 * self._most_at_once,
            fields=FIELDS,
        )

    def _dialer(
        self, origin: Origin, tls: ssl.SSLContext | None, guard: SsrfGuard | None = None
    ) -> Dialer:
        return Dialer(
            origin,
            tls=tls,
            connect_s=self._timeouts.connect_s,
            read_s=self._timeouts.read_s,
            keep_s=KEEPALIVE_S,
            dns_s=DNS_CACHE_S,
            guard=guard,
        )

    def _neighbour(self, origin: Origin) -> Client | None:
        """Who asks a host that the registry named; null: aiohttp does."""
        client = self._neighbours.get(origin)
        if client is not None:
            return client
        if (
            not self._direct
            or origin == self._origin
            or len(self._neighbours) >= MAX_NEIGHBOURS
            or self._proxies.choose(origin) is not None
        ):
            return None
        # Our certificate is for the registry and for whom the user named beside it.
        known = origin.host in self._allowed_hosts
        files = self._tls if known else self._tls.without_certificate()
        client = self._http1(origin, files, self._guard)
        self._neighbours[origin] = client
        return client

    def connection_probe(self) -> ConnectionProbe:
        """The way to the registry, or to the proxy before it, a step at a time."""
        proxy = self._proxies.choose(self._origin)
        assert not isinstance(proxy, InvalidProxy), "nobody made a transport with it"
        return ConnectionProbe(
            self._origin if proxy is None else proxy.origin,
            proxy=proxy,
            dialer=self._dialer,
            tls=self._tls,
            timeouts=self._timeouts,
        )

    def _by_library(self) -> AiohttpClient:
        if self._library is None:
            from auditor.registry.transport.aiohttp_client import AiohttpClient  # noqa: PLC0415

            self._library = AiohttpClient(
                origin=self._origin,
                most_at_once=self._most_at_once,
                timeouts=self._timeouts,
                tls=self._tls,
                proxies=self._proxies,
                guard=self._guard,
            )
        return self._library

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        body: bytes | None = None,
        redirects: bool = True,
        hops: int = 0,
    ) -> Response | Failure:
        """The answer to one request, after redirects, or why there is none.

        `headers` go to the origin of `url` only: what leaves it, leaves them behind
        except `Accept` and `Range`. `body` is only sent where no redirect is followed.
        An answer of more than `max_bytes` is `TOO_LARGE`. So many `hops` led here.
        """
        assert body is None or not redirects
        client, origin = self._client, self._origin
        target = _target(url, self._base)
        if target is None:
            try:
                origin = origin_of(url)
            except ProtocolError as error:
                return Failure(kind=error.kind, detail=error.detail)
            client, target = self._neighbour(origin), _target(url, str(origin))
        answer: Response | Failure | None
        if client is None or target is None or body is not None:
            library = self._by_library()
            answer = await library.ask(method, url, headers, max_bytes, body)
        else:
            try:
                answer = await client.ask(
                    method, url, target, headers=headers, max_bytes=max_bytes
                )
            except (OSError, ValueError) as error:
                return self._failed(error, method, url, origin)
            self._answered.add(origin)
        if answer is None:
            return too_large(max_bytes)
        if isinstance(answer, Failure) or answer.status not in REDIRECTS:
            return answer
        if redirects:
            return await self._follow(method, answer, headers, max_bytes, hops + 1)
        return Failure(
            kind=FailureKind.REDIRECT_REFUSED,
            status=answer.status,
            detail=f"{safe_url(url)} answered with a redirect,"
            " which is not followed with a credential",
        )

    async def _follow(
        self,
        method: str,
        answer: Response,
        headers: Mapping[str, str],
        max_bytes: int,
        hops: int,
    ) -> Response | Failure:
        """What stands where this redirect leads, which is hop number `hops`."""
        try:
            hop = follow_redirect(
                answer.url,
                answer.headers.get("Location"),
                hops,
                allowed_hosts=self._allowed_hosts,
            )
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail)
        if not hop.same_origin:
            headers = {
                name: value for name, value in headers.items() if name in _GO_ALONG
            }
        found = await self.request(
            method, hop.url, headers=headers, max_bytes=max_bytes, hops=hops
        )
        return _as_redirect(found) if isinstance(found, Failure) else found

    def _failed(
        self, error: Exception, method: str, url: str, origin: Origin
    ) -> Failure:
        failure = failure_of(error, safe_url(url), self._timeouts)
        if (
            origin.scheme == "https"
            and origin not in self._answered
            and is_cut_off(error)
        ):
            failure = with_reason(failure, FailureReason.CLIENT_CERTIFICATE_REQUIRED)
        log.debug("%s %s %s", method, safe_url(url), failure.detail)
        return failure


def _as_redirect(failure: Failure) -> Failure:
    """A failure after a redirect: what is refused there is the redirect."""
    if failure.kind is not FailureKind.REALM_REFUSED:
        return failure
    return replace(failure, kind=FailureKind.REDIRECT_REFUSED)


def _target(url: str, base: str) -> str | None:
    """What stands in the request line, if it is the origin of this base that is asked;
    null also for a URL that spells its origin otherwise."""
    if not url.startswith(base):
        return None
    target = url[len(base) :]
    if "#" in target:
        target = target.partition("#")[0]
    if target.startswith("/"):
        return target
    return f"/{target}" if target.startswith("?") else None
