"""aiohttp, for what `http1` is too small for: proxies, and requests with a body.

It is imported when it is needed: many an audit never does, and it takes 0.1 s.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from errno import ECONNREFUSED
from typing import Any

import aiohttp
import yarl
from aiohttp.abc import ResolveResult

from auditor.errors import Failure, FailureKind, FailureReason
from auditor.fast_dataclass import dataclass
from auditor.registry.transport.failures import (
    failure_of,
    is_cut_off,
    reason_of,
    tls_failure,
    too_large,
    with_reason,
)
from auditor.registry.transport.http_defaults import (
    DNS_CACHE_S,
    FIELDS,
    KEEPALIVE_S,
    MAX_ERROR_BYTES,
    Timeouts,
)
from auditor.registry.transport.ssrf_guard import RefusedAddressError, SsrfGuard
from auditor.registry.transport.tls import TlsFiles, tls_context
from auditor.util.text import safe_text, safe_url
from auditor.wire.proxy import InvalidProxy, Proxies, Proxy, ProxyChoice
from auditor.wire.response import Response
from auditor.wire.url_policy import Origin, origin_of

# -- failures --
# What aiohttp's exceptions mean, as failures.


def failure_of_exception(
    error: Exception, url: str, timeouts: Timeouts, proxy: Proxy | None = None
) -> Failure:
    """The failure that an exception of the library, or of what it uses, means."""
    where = _where(error, url, proxy)
    cause = getattr(error, "os_error", None) or error.__cause__
    if isinstance(cause, RefusedAddressError):
        return failure_of(cause, safe_url(url), timeouts)
    if not isinstance(error, aiohttp.ClientError):
        return failure_of(error, where, timeouts)
    failure = _failure_of_client_error(
        error, where, reason_of(cause or error), timeouts
    )
    if failure.reason is None and proxy is not None and _is_proxy_unreachable(error):
        return with_reason(failure, FailureReason.PROXY_UNREACHABLE)
    return failure


def _failure_of_client_error(
    error: aiohttp.ClientError, where: str, cause: str, timeouts: Timeouts
) -> Failure:
    reason = None
    # Order matters: aiohttp's classes inherit from several of the others.
    match error:
        case aiohttp.ConnectionTimeoutError():
            kind, reason = FailureKind.TIMEOUT, FailureReason.CONNECT_TIMEOUT
            detail = f"no connection to {where} within {timeouts.connect_s:g} s"
        case aiohttp.SocketTimeoutError():
            kind, reason = FailureKind.TIMEOUT, FailureReason.READ_TIMEOUT
            detail = f"{where} was silent for {timeouts.read_s:g} s"
        case TimeoutError():
            kind = FailureKind.TIMEOUT
            detail = f"{where} took longer than {timeouts.request_s:g} s to answer"
        case aiohttp.ClientConnectorDNSError():
            kind, reason = FailureKind.DNS, FailureReason.UNKNOWN_HOST
            detail = f"the name in {where} does not resolve: {cause}"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return tls_failure(where, error)
        case aiohttp.ClientConnectorError():
            kind = FailureKind.CONNECT
            if error.errno == ECONNREFUSED:
                reason = FailureReason.CONNECTION_REFUSED
            detail = f"no connection to {where}: {cause}"
        case aiohttp.ClientPayloadError():
            kind = FailureKind.CONNECT
            detail = f"the answer of {where} broke off before its end"
        case aiohttp.ServerDisconnectedError():
            kind = FailureKind.CONNECT
            detail = f"{where} closed the connection unanswered"
        case aiohttp.ClientResponseError():
            kind = FailureKind.PROTOCOL_VIOLATION
            # What follows the colon quotes the answer, which may hold a secret.
            message = safe_text(error.message.partition(":")[0], 80)
            detail = f"{where} did not answer in HTTP: {message}"
        case OSError() | aiohttp.ClientConnectionError():
            kind = FailureKind.CONNECT
            detail = f"the connection to {where} broke: {cause}"
        case _:
            kind = FailureKind.PROTOCOL_VIOLATION
            detail = f"{where} cannot be asked: {type(error).__name__}"
    return Failure(kind=kind, detail=detail, reason=reason)


def _is_proxy_unreachable(error: Exception) -> bool:
    return isinstance(
        error, (aiohttp.ClientConnectorDNSError, aiohttp.ClientProxyConnectionError)
    )


def _where(error: Exception, url: str, proxy: Proxy | None) -> str:
    """Who was not reached, or did not answer."""
    if proxy is None:
        return safe_url(url)
    if _is_proxy_unreachable(error):
        return f"the proxy {proxy}"
    return f"{safe_url(url)} through the proxy {proxy}"


# -- resolver --
# aiohttp's resolver of names, for hosts that a registry names and nobody else did.


class GuardedResolver(aiohttp.abc.AbstractResolver):
    """Resolves names that a registry named, and checks what they mean."""

    def __init__(self, guard: SsrfGuard) -> None:
        self._resolver = aiohttp.DefaultResolver()
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: int = 0
    ) -> list[ResolveResult]:
        """The addresses of a name; raises `RefusedAddressError`, or `OSError`."""
        found = await self._resolver.resolve(host, port, family)  # type: ignore[arg-type]
        self._guard.check(host, [result["host"] for result in found])
        return found

    async def close(self) -> None:
        """End what it has open."""
        await self._resolver.close()


log = logging.getLogger("auditor.http")


class AiohttpClient:
    """Asks over aiohttp, each host as it has to be asked."""

    def __init__(
        self,
        *,
        origin: Origin,
        most_at_once: int,
        timeouts: Timeouts,
        tls: TlsFiles,
        proxies: Proxies,
        guard: SsrfGuard,
    ) -> None:
        self._origin = origin
        self._proxies = proxies
        self._proxy = proxies.choose(origin)
        self._most_at_once = most_at_once
        self._timeouts = timeouts
        self._tls = tls_context(tls)
        self._tls_elsewhere = tls_context(tls.without_certificate())
        self._guard = guard
        self._answered = False
        self._own: aiohttp.ClientSession | None = None
        self._foreign: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End every connection."""
        for session in (self._own, self._foreign):
            if session is not None:
                await session.close()

    def _session(
        self, resolver: aiohttp.abc.AbstractResolver | None
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # The slots of `ConcurrencyLimiter` are the limit; this is a second fence.
                limit=2 * self._most_at_once,
                limit_per_host=2 * self._most_at_once,
                keepalive_timeout=KEEPALIVE_S,
                ttl_dns_cache=DNS_CACHE_S,
                resolver=resolver,
            ),
            timeout=aiohttp.ClientTimeout(
                total=self._timeouts.request_s,
                sock_connect=self._timeouts.connect_s,
                sock_read=self._timeouts.read_s,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=FIELDS,
            trust_env=False,  # no netrc
        )

    def _route(self, url: str) -> _Route:
        """How a request for this URL travels."""
        origin = origin_of(url)
        if origin == self._origin:
            return _Route(session=self._plain(), tls=self._tls, proxy=self._proxy)
        # Our certificate is for the registry and for whom the user named beside it.
        known = origin.host in self._guard.allowed_hosts
        tls = self._tls if known else self._tls_elsewhere
        proxy = self._proxies.choose(origin)
        if proxy is not None:
            return _Route(session=self._plain(), tls=tls, proxy=proxy, foreign=origin)
        if self._foreign is None:
            self._foreign = self._session(GuardedResolver(self._guard))
        return _Route(session=self._foreign, tls=tls)

    def _plain(self) -> aiohttp.ClientSession:
        """The session for hosts that the user named."""
        if self._own is None:
            self._own = self._session(None)
        return self._own

    async def _check_behind_proxy(self, origin: Origin) -> None:
        """Refuse what the guarded resolver would, where a proxy resolves the name.

        A name that only the proxy can resolve may be any address there. Over TLS its
        certificate has to prove the name before anything is sent; over plain HTTP
        nothing does, so that such a host has to be named in `realm_hosts`.
        """
        resolver = GuardedResolver(self._guard)
        try:
            await resolver.resolve(origin.host, origin.port)
        except RefusedAddressError:
            raise
        except OSError:
            allowed = origin.host in self._guard.allowed_hosts
            if origin.scheme != "https" and not allowed:
                raise RefusedAddressError(
                    f"{origin.host} does not resolve here, so that its address"
                    " cannot be checked (realm_hosts can allow it)"
                ) from None
        finally:
            await resolver.close()

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        max_bytes: int,
        body: bytes | None,
    ) -> Response | Failure:
        """The answer to one request, a redirect too, or why there is none."""
        route = self._route(url)
        proxy = route.proxy
        if isinstance(proxy, InvalidProxy):
            return Failure(kind=FailureKind.CONNECT, detail=proxy.detail)
        through: dict[str, Any] = {}
        if proxy is not None:
            through, headers = _through(proxy, url, headers)
        try:
            if route.foreign is not None:
                await self._check_behind_proxy(route.foreign)
            async with route.session.request(
                method,
                yarl.URL(url, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                ssl=route.tls,
                **through,
            ) as response:
                if log.isEnabledFor(logging.DEBUG):
                    log.debug("%s %s %d", method, safe_url(url), response.status)
                if proxy is not None and response.status == 407:
                    return _proxy_refuses(proxy, 407)
                good = response.status < 300
                self._answered = True
                read = await _read(response, max_bytes if good else MAX_ERROR_BYTES)
                if read is None:
                    response.close()
                    if good:
                        return too_large(max_bytes)
                    read = b""
                return Response(
                    status=response.status,
                    headers=response.headers,
                    body=read,
                    url=url,
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if proxy is not None and isinstance(error, aiohttp.ClientHttpProxyError):
                return _proxy_refuses(proxy, error.status)
            return self._failed(error, method, url, proxy)

    def _failed(
        self, error: Exception, method: str, url: str, proxy: Proxy | None
    ) -> Failure:
        failure = failure_of_exception(error, url, self._timeouts, proxy)
        if not self._answered and _is_cut_off(error) and url.startswith("https:"):
            failure = with_reason(failure, FailureReason.CLIENT_CERTIFICATE_REQUIRED)
        log.debug("%s %s %s", method, safe_url(url), failure.detail)
        return failure


def _is_cut_off(error: Exception) -> bool:
    return isinstance(error, aiohttp.ServerDisconnectedError) or is_cut_off(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """`foreign` is an origin of which only the proxy will know the address."""

    session: aiohttp.ClientSession
    tls: ssl.SSLContext
    proxy: ProxyChoice = None
    foreign: Origin | None = None


def _through(
    proxy: Proxy, url: str, headers: Mapping[str, str]
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """What aiohttp needs to know of a proxy, and the headers with its password.

    That stands in the CONNECT request for a tunnel, and in the request itself where
    the proxy reads that, which is plain HTTP only.
    """
    through: dict[str, Any] = {"proxy": str(proxy.origin)}
    if proxy.authorization is not None:
        field = {"Proxy-Authorization": proxy.authorization.reveal()}
        # In any letters: in a tunnel, the other host reads the request's own fields.
        if url[:6].lower() == "https:":
            through["proxy_headers"] = field
        else:
            headers = {**headers, **field}
    return through, headers


def _proxy_refuses(proxy: Proxy, status: int) -> Failure:
    failure = Failure(
        kind=FailureKind.SERVER_ERROR if status >= 500 else FailureKind.DENIED,
        detail=f"the proxy {proxy} refuses to connect ({status})",
        status=status,
    )
    return with_reason(
        failure,
        FailureReason.PROXY_LOGIN_REQUIRED
        if status == 407
        else FailureReason.PROXY_REFUSED,
    )


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes | None:
    """The body, decompressed; None as soon as it is more than `max_bytes`."""
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
