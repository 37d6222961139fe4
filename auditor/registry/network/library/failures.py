"""What aiohttp's exceptions mean, as failures."""

from __future__ import annotations

import ssl

import aiohttp

from auditor.errors import Failure, FailureKind
from auditor.registry.network.timeouts import Timeouts
from auditor.registry.transport.failures import failure_of, reason_of, tls_detail
from auditor.registry.transport.ssrf_guard import RefusedAddressError
from auditor.util.text import safe_text, safe_url
from auditor.wire.proxy import Proxy


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
    kind, detail = _meaning(error, where, reason_of(cause or error), timeouts)
    return Failure(kind=kind, detail=detail)


def _meaning(
    error: aiohttp.ClientError, where: str, reason: str, timeouts: Timeouts
) -> tuple[FailureKind, str]:
    # Order matters: aiohttp's classes inherit from several of the others.
    match error:
        case aiohttp.ConnectionTimeoutError():
            kind = FailureKind.TIMEOUT
            detail = f"no connection to {where} within {timeouts.connect_s:g} s"
        case aiohttp.SocketTimeoutError():
            kind, detail = (
                FailureKind.TIMEOUT,
                f"{where} was silent for {timeouts.read_s:g} s",
            )
        case TimeoutError():
            kind = FailureKind.TIMEOUT
            detail = f"{where} took longer than {timeouts.request_s:g} s to answer"
        case aiohttp.ClientConnectorDNSError():
            kind = FailureKind.DNS
            detail = f"the name in {where} does not resolve: {reason}"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            kind, detail = FailureKind.TLS, tls_detail(where, error)
        case aiohttp.ClientConnectorError():
            kind, detail = FailureKind.CONNECT, f"no connection to {where}: {reason}"
        case aiohttp.ClientPayloadError():
            kind = FailureKind.CONNECT
            detail = f"the answer of {where} broke off before its end"
        case aiohttp.ServerDisconnectedError():
            kind = FailureKind.CONNECT
            detail = f"{where} closed the connection unanswered"
        case aiohttp.ClientResponseError():
            kind = FailureKind.PROTOCOL_VIOLATION
            # What follows the colon quotes the answer, which may hold a secret.
            reason = safe_text(error.message.partition(":")[0], 80)
            detail = f"{where} did not answer in HTTP: {reason}"
        case OSError() | aiohttp.ClientConnectionError():
            kind = FailureKind.CONNECT
            detail = f"the connection to {where} broke: {reason}"
        case _:
            kind = FailureKind.PROTOCOL_VIOLATION
            detail = f"{where} cannot be asked: {type(error).__name__}"
    return kind, detail


def _where(error: Exception, url: str, proxy: Proxy | None) -> str:
    """Who was not reached, or did not answer."""
    if proxy is None:
        return safe_url(url)
    if isinstance(
        error, (aiohttp.ClientConnectorDNSError, aiohttp.ClientProxyConnectionError)
    ):
        return f"the proxy {proxy}"
    return f"{safe_url(url)} through the proxy {proxy}"
