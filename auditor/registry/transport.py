"""The only module that imports aiohttp's client.

Capped reads, a redirect loop of our own, deadlines, and every exception of the
libraries turned into a `Failure`. The registry's own origin is asked over `http1`,
all others, and what has a body, over aiohttp (docs/adr/0005).
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import aiohttp
import yarl
from aiohttp.abc import ResolveResult

from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.protocol.answer import Answer
from auditor.protocol.proxy import NO_PROXIES, BrokenProxy, Choice, Proxies, Proxy
from auditor.protocol.realm import (
    Origin,
    address_refusal,
    is_loopback_host,
    origin_of,
)
from auditor.protocol.redirect import follow
from auditor.registry.http1.client import Client
from auditor.registry.http1.dialer import Dialer
from auditor.registry.http1.errors import (
    BrokenOffError,
    NoConnectionError,
    NoConnectionInTimeError,
    NotHttpError,
    SilentError,
    UnansweredError,
)
from auditor.registry.tls import SYSTEM_TRUST, TlsFiles, tls_context
from auditor.safe_text import safe_text, safe_url
from auditor.version import __version__

log = logging.getLogger("auditor.http")

USER_AGENT = f"auditor/{__version__}"
# What is read of an answer that is an error: sentences, not pages.
MAX_ERROR_BYTES = 64 * 1024
# How long an unused connection is kept: below the 60 s after which common proxies
# close theirs, so that we do not write into a connection that is just being closed.
KEEPALIVE_S = 30.0
DNS_CACHE_S = 60
# What is left of our header fields when a redirect leaves the registry.
_GO_ALONG = frozenset({"Accept", "Range"})
_PERHAPS_MTLS = "; it may want another client certificate (cert_file), or one at all"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FIELDS = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds for connecting, for each silence while reading, and for the whole."""

    connect_s: float
    read_s: float
    request_s: float


class RefusedAddressError(OSError):
    """A name resolved to an address that no registry may send us to."""


class _GuardedResolver(aiohttp.abc.AbstractResolver):
    """Resolves names that a registry named; checked here, after the resolution and
    before the connection, because a name can mean another address each time."""

    def __init__(
        self, *, registry_is_loopback: bool, allowed_hosts: frozenset[str]
    ) -> None:
        self._resolver = aiohttp.DefaultResolver()
        self._registry_is_loopback = registry_is_loopback
        self._allowed_hosts = allowed_hosts

    async def resolve(
        self, host: str, port: int = 0, family: int = 0
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)  # type: ignore[arg-type]
        for result in () if host in self._allowed_hosts else found:
            refusal = address_refusal(
                result["host"], registry_is_loopback=self._registry_is_loopback
            )
            if refusal:
                raise RefusedAddressError(
                    f"{host} resolves to {refusal}"
                    " (realm_hosts in the configuration allows a host)"
                )
        return found

    async def close(self) -> None:
        await self._resolver.close()


class Transport:
    """Connections to one registry and to the hosts it names.

    `direct`: the registry itself is asked over `http1`; else, and where it is behind
    a proxy, over aiohttp, too.
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
        self._proxy = proxies.choose(origin)
        self._direct = direct and self._proxy is None
        self._client: Client | None = None
        self._most_at_once = most_at_once
        self._timeouts = timeouts
        self._tls = tls_context(tls)
        self._tls_elsewhere = tls_context(tls.without_certificate())
        self._allowed_hosts = allowed_hosts
        self._answered = False
        self._own: aiohttp.ClientSession | None = None
        self._foreign: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        if self._direct:
            self._client = self._http1()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.close()
        for session in (self._own, self._foreign):
            if session is not None:
                await session.close()

    def _http1(self) -> Client:
        return Client(
            self._origin,
            Dialer(
                self._origin,
                tls=self._tls,
                connect_s=self._timeouts.connect_s,
                read_s=self._timeouts.read_s,
                keep_s=KEEPALIVE_S,
                dns_s=DNS_CACHE_S,
            ),
            request_s=self._timeouts.request_s,
            most_idle=2 * self._most_at_once,
            fields=_FIELDS,
        )

    def _session(
        self, resolver: aiohttp.abc.AbstractResolver | None
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # The slots of `Politeness` are the limit; this is a second fence.
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
            headers=_FIELDS,
            trust_env=False,  # no netrc
        )

    def _route(self, url: str) -> _Route:
        """How a request for this URL travels."""
        origin = origin_of(url)
        if origin == self._origin:
            return _Route(session=self._plain(), tls=self._tls, proxy=self._proxy)
        # Our certificate is for the registry and for whom the user named beside it.
        known = origin.host in self._allowed_hosts
        tls = self._tls if known else self._tls_elsewhere
        proxy = self._proxies.choose(origin)
        if proxy is not None:
            return _Route(session=self._plain(), tls=tls, proxy=proxy, foreign=origin)
        if self._foreign is None:
            self._foreign = self._session(self._guard())
        return _Route(session=self._foreign, tls=tls)

    def _plain(self) -> aiohttp.ClientSession:
        """The session for hosts that the user named."""
        if self._own is None:
            self._own = self._session(None)
        return self._own

    def _guard(self) -> _GuardedResolver:
        return _GuardedResolver(
            registry_is_loopback=is_loopback_host(self._origin.host),
            allowed_hosts=self._allowed_hosts,
        )

    async def _check_behind_proxy(self, origin: Origin) -> None:
        """Refuse what the guarded resolver would, where a proxy resolves the name.

        A name that only the proxy can resolve may be any address there. Over TLS its
        certificate has to prove the name before anything is sent; over plain HTTP
        nothing does, so that such a host has to be named in `realm_hosts`.
        """
        guard = self._guard()
        try:
            await guard.resolve(origin.host, origin.port)
        except RefusedAddressError:
            raise
        except OSError:
            if origin.scheme != "https" and origin.host not in self._allowed_hosts:
                raise RefusedAddressError(
                    f"{origin.host} does not resolve here, so that its address"
                    " cannot be checked (realm_hosts can allow it)"
                ) from None
        finally:
            await guard.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        body: bytes | None = None,
        redirects: bool = True,
    ) -> Answer | Failure:
        """The answer to one request, after redirects, or why there is none.

        `headers` go to the origin of `url` only: what leaves it, leaves them behind
        except `Accept` and `Range`. `body` is only sent where no redirect is followed.
        An answer of more than `max_bytes` is `TOO_LARGE`.
        """
        assert body is None or not redirects
        hops = 0
        try:
            while True:
                answer = await self._once(method, url, headers, max_bytes, body)
                if isinstance(answer, Failure):
                    return _as_redirect(answer) if hops else answer
                if answer.status not in REDIRECTS:
                    return answer
                if not redirects:
                    return Failure(
                        kind=FailureKind.REDIRECT_REFUSED,
                        status=answer.status,
                        detail=f"{safe_url(url)} answered with a redirect,"
                        " which is not followed with a credential",
                    )
                hops += 1
                hop = follow(
                    url,
                    answer.headers.get("Location"),
                    hops,
                    allowed_hosts=self._allowed_hosts,
                )
                if not hop.same_origin:
                    headers = {
                        name: value
                        for name, value in headers.items()
                        if name in _GO_ALONG
                    }
                url = hop.url
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail)

    async def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        max_bytes: int,
        body: bytes | None,
    ) -> Answer | Failure:
        client = self._client
        if client is not None and body is None and (target := self._target(url)):
            return await self._ask(
                client, method, url, target, headers=headers, max_bytes=max_bytes
            )
        route = self._route(url)
        proxy = route.proxy
        if isinstance(proxy, BrokenProxy):
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
                        return _too_large(max_bytes)
                    read = b""
                return Answer(
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
            failure = replace(failure, detail=failure.detail + _PERHAPS_MTLS)
        log.debug("%s %s %s", method, safe_url(url), failure.detail)
        return failure

    def _target(self, url: str) -> str | None:
        """What stands in the request line, if it is the registry that is asked."""
        start = len(self._base)
        if not url.startswith(self._base) or url[start : start + 1] not in {"/", "?"}:
            return None
        target = url[start:].partition("#")[0]
        return target if target.startswith("/") else f"/{target}"

    async def _ask(
        self,
        client: Client,
        method: str,
        url: str,
        target: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
    ) -> Answer | Failure:
        try:
            status, fields, content = await client.ask(
                method,
                target,
                headers=headers,
                max_bytes=max_bytes,
                max_error_bytes=MAX_ERROR_BYTES,
            )
        except (OSError, ValueError) as error:
            return self._failed(error, method, url, None)
        self._answered = True
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s %d", method, safe_url(url), status)
        if content is None:
            if status < 300:
                return _too_large(max_bytes)
            content = b""
        return Answer(status=status, headers=fields, body=content, url=url)


def _is_cut_off(error: Exception) -> bool:
    """Whether this is how a server that wants a certificate of ours says no.

    asyncio does not pass the alert on; with TLS 1.3 it comes after our handshake.
    """
    if isinstance(error, (aiohttp.ServerDisconnectedError, UnansweredError)):
        return True
    cause = getattr(error, "os_error", None) or error.__cause__
    return isinstance(cause, (ConnectionAbortedError, ConnectionResetError))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """`foreign` is an origin of which only the proxy will know the address."""

    session: aiohttp.ClientSession
    tls: ssl.SSLContext
    proxy: Choice = None
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
        if url.startswith("https:"):
            through["proxy_headers"] = field
        else:
            headers = {**headers, **field}
    return through, headers


def _proxy_refuses(proxy: Proxy, status: int) -> Failure:
    why = (
        "; it wants a user name and password, which HTTPS_PROXY can hold"
        " (http://USER:PASSWORD@HOST:PORT)"
        if status == 407
        else ""
    )
    return Failure(
        kind=FailureKind.SERVER_ERROR if status >= 500 else FailureKind.DENIED,
        detail=f"the proxy {proxy} refuses to connect ({status}){why}",
        status=status,
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


def _as_redirect(failure: Failure) -> Failure:
    """A failure after a redirect: what is refused there is the redirect."""
    if failure.kind is not FailureKind.REALM_REFUSED:
        return failure
    return replace(failure, kind=FailureKind.REDIRECT_REFUSED)


def _too_large(max_bytes: int) -> Failure:
    return Failure(
        kind=FailureKind.TOO_LARGE,
        detail=f"the answer is larger than the limit of {max_bytes} bytes"
        " (for manifests and configs max_manifest_bytes is that limit)",
    )


def failure_of_exception(
    error: Exception, url: str, timeouts: Timeouts, proxy: Proxy | None = None
) -> Failure:
    """The failure that an exception of http1, aiohttp, asyncio or a socket means."""
    if isinstance(error, RefusedAddressError):
        return _refused_address(error, url)
    where = _where(error, url, proxy)
    if type(error) in _OF_HTTP1:
        return _failure_of_http1(error, where, timeouts)
    return _failure_of_library(error, where, timeouts)


def _failure_of_library(error: Exception, where: str, timeouts: Timeouts) -> Failure:
    # Order matters: aiohttp's classes inherit from several of the others.
    cause = getattr(error, "os_error", None) or error.__cause__
    reason = _reason(cause or error)
    if isinstance(cause, RefusedAddressError):
        kind, detail = FailureKind.REALM_REFUSED, f"{where}: {cause}"
    elif isinstance(error, aiohttp.ConnectionTimeoutError):
        kind = FailureKind.TIMEOUT
        detail = f"no connection to {where} within {timeouts.connect_s:g} s"
    elif isinstance(error, TimeoutError):
        kind = FailureKind.TIMEOUT
        if isinstance(error, aiohttp.SocketTimeoutError):
            detail = f"{where} was silent for {timeouts.read_s:g} s"
        else:
            detail = f"{where} took longer than {timeouts.request_s:g} s to answer"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        kind, detail = (
            FailureKind.DNS,
            f"the name in {where} does not resolve: {reason}",
        )
    elif isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        kind, detail = FailureKind.TLS, _tls_detail(where, error)
    elif isinstance(error, aiohttp.ClientConnectorError):
        kind, detail = FailureKind.CONNECT, f"no connection to {where}: {reason}"
    elif isinstance(error, aiohttp.ClientPayloadError):
        kind = FailureKind.CONNECT
        detail = f"the answer of {where} broke off before its end"
    elif isinstance(error, aiohttp.ServerDisconnectedError):
        kind, detail = FailureKind.CONNECT, f"{where} closed the connection unanswered"
    elif isinstance(error, aiohttp.ClientResponseError):
        kind = FailureKind.PROTOCOL_VIOLATION
        # What follows the colon quotes the answer, which may hold a secret.
        reason = safe_text(error.message.partition(":")[0], 80)
        detail = f"{where} did not answer in HTTP: {reason}"
    elif isinstance(error, (OSError, aiohttp.ClientConnectionError)):
        kind, detail = FailureKind.CONNECT, f"the connection to {where} broke: {reason}"
    else:
        kind = FailureKind.PROTOCOL_VIOLATION
        detail = f"{where} cannot be asked: {type(error).__name__}"
    return Failure(kind=kind, detail=detail)


_OF_HTTP1: dict[type[Exception], tuple[FailureKind, str]] = {
    NoConnectionInTimeError: (
        FailureKind.TIMEOUT,
        "no connection to {where} within {connect_s:g} s",
    ),
    socket.gaierror: (
        FailureKind.DNS,
        "the name in {where} does not resolve: {reason}",
    ),
    SilentError: (FailureKind.TIMEOUT, "{where} was silent for {read_s:g} s"),
    NoConnectionError: (FailureKind.CONNECT, "no connection to {where}: {reason}"),
    UnansweredError: (
        FailureKind.CONNECT,
        "{where} closed the connection unanswered",
    ),
    BrokenOffError: (
        FailureKind.CONNECT,
        "the answer of {where} broke off before its end",
    ),
    NotHttpError: (
        FailureKind.PROTOCOL_VIOLATION,
        "{where} did not answer in HTTP: {reason}",
    ),
}


def _failure_of_http1(error: Exception, where: str, timeouts: Timeouts) -> Failure:
    kind, detail = _OF_HTTP1[type(error)]
    return Failure(
        kind=kind,
        detail=detail.format(
            where=where,
            reason=_reason(error),
            connect_s=timeouts.connect_s,
            read_s=timeouts.read_s,
        ),
    )


def _where(error: Exception, url: str, proxy: Proxy | None) -> str:
    """Who was not reached, or did not answer."""
    if proxy is None:
        return safe_url(url)
    if isinstance(
        error, (aiohttp.ClientConnectorDNSError, aiohttp.ClientProxyConnectionError)
    ):
        return f"the proxy {proxy}"
    return f"{safe_url(url)} through the proxy {proxy}"


def _refused_address(error: BaseException, url: str) -> Failure:
    return Failure(kind=FailureKind.REALM_REFUSED, detail=f"{safe_url(url)}: {error}")


def _reason(error: BaseException) -> str:
    """The system's own words where there are any: event loops put theirs before."""
    number = getattr(error, "errno", None)
    if (
        isinstance(number, int)
        and number > 0
        and not isinstance(error, socket.gaierror)
    ):
        return os.strerror(number)
    words = str(getattr(error, "strerror", None) or error)
    return safe_text(words) if words else "it was broken off"


def _tls_detail(where: str, error: Exception) -> str:
    text = str(error)
    if "WRONG_VERSION_NUMBER" in text or "wrong version number" in text:
        return (
            f"{where} does not speak TLS; if it is meant to be plain HTTP,"
            " use --plain-http or insecure_http = true"
        )
    certificate = getattr(error, "certificate_error", error)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {where} is not trusted: "
            f"{safe_text(certificate.verify_message)}"
            " (ca_file in the configuration names a private CA)"
        )
    reason = str(getattr(getattr(error, "os_error", error), "reason", None) or text)
    hint = _PERHAPS_MTLS if "ALERT" in reason and "CERT" in reason else ""
    return f"no TLS connection to {where}: {safe_text(reason)}{hint}"
