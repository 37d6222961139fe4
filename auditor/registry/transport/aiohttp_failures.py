"""Maps the exceptions of aiohttp to failures, with the messages of the other client."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace

import aiohttp

from auditor.errors import Failure, FailureKind, FailureReason
from auditor.registry.transport import http1_parser
from auditor.registry.transport.failures import (
    failure_of,
    failure_of_type,
    system_message,
    tls_failure,
    with_reason,
)
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.name_lookup import LookupTimeoutError
from auditor.registry.transport.ssrf_guard import RefusedAddressError
from auditor.util.text import safe_text, safe_url
from auditor.wire.proxy import Proxy
from auditor.wire.response import TLS_ALERT

# The exceptions of `http1_parser` and the system that aiohttp's correspond to. The
# order matters: aiohttp's classes inherit from several of the others.
_EQUIVALENTS: tuple[tuple[type[Exception], type[Exception]], ...] = (
    (aiohttp.ConnectionTimeoutError, http1_parser.NoConnectionInTimeError),
    (aiohttp.SocketTimeoutError, http1_parser.SilentError),
    (TimeoutError, TimeoutError),
    (aiohttp.ClientConnectorDNSError, socket.gaierror),
    (aiohttp.ClientConnectorError, http1_parser.NoConnectionError),
    (aiohttp.ClientPayloadError, http1_parser.BrokenOffError),
    (aiohttp.ServerDisconnectedError, http1_parser.UnansweredError),
    (aiohttp.ClientResponseError, http1_parser.NotHttpError),
    (OSError, OSError),
    (aiohttp.ClientConnectionError, OSError),
)
# As aiohttp quotes bytes that are not HTTP.
_QUOTED_ALERT = repr(TLS_ALERT)[2:-1]


def failure_of_aiohttp(
    error: Exception, url: str, timeouts: Timeouts, proxy: Proxy | None = None
) -> Failure:
    """The failure that an exception of aiohttp, or of what it uses, means."""
    where = safe_url(url)
    is_proxy_unreachable = proxy is not None and isinstance(
        error, (aiohttp.ClientConnectorDNSError, aiohttp.ClientProxyConnectionError)
    )
    if proxy is not None:
        where = f"{where} through the proxy {proxy}"
    if is_proxy_unreachable:
        where = f"the proxy {proxy}"
    cause = getattr(error, "os_error", None) or error.__cause__
    if isinstance(cause, RefusedAddressError):
        return failure_of(cause, safe_url(url), timeouts)
    if isinstance(cause, LookupTimeoutError):
        return failure_of(cause, where, timeouts)
    if not isinstance(error, aiohttp.ClientError):
        return failure_of(error, where, timeouts)
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return tls_failure(where, error)
    message = system_message(cause or error)
    equivalent = next(
        (ours for theirs, ours in _EQUIVALENTS if isinstance(error, theirs)),
        type(error),
    )
    if isinstance(error, aiohttp.ClientResponseError):
        # After the colon it quotes the response, which may hold a secret.
        message = safe_text(error.message.partition(":")[0], 80)
        if _QUOTED_ALERT in error.message:
            equivalent = http1_parser.TlsExpectedError
    failure = failure_of_type(
        equivalent,
        where,
        timeouts,
        cause=message,
        errno=getattr(error, "errno", None),
    )
    if is_proxy_unreachable:  # whether its name is unknown or its port refuses
        return replace(failure, reason=FailureReason.PROXY_UNREACHABLE)
    return failure


def proxy_failure(proxy: Proxy, status: int) -> Failure:
    """The failure if a proxy refused to connect with this status."""
    reason = FailureReason.PROXY_REFUSED
    if status == 407:
        reason = FailureReason.PROXY_LOGIN_REQUIRED
    failure = Failure(
        kind=FailureKind.SERVER_ERROR if status >= 500 else FailureKind.DENIED,
        detail=f"the proxy {proxy} refused to connect ({status})",
        status=status,
    )
    return with_reason(failure, reason)
