"""Failures of connections: which exception of a request means which `Failure`.

Covers the exceptions of http1, asyncio, sockets and TLS; `aiohttp_client` maps those
of aiohttp. Every failure of a connection has a `FailureReason` where one is known, and
its advice ends the `detail`.
"""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import replace
from errno import ECONNREFUSED

from auditor.errors import Failure, FailureKind, FailureReason
from auditor.registry.transport.http1_parser import (
    BrokenOffError,
    NoConnectionError,
    NoConnectionInTimeError,
    NotHttpError,
    SilentError,
    TlsExpectedError,
    UnansweredError,
)
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.ssrf_guard import RefusedAddressError
from auditor.util.text import safe_text

# OpenSSL's verification errors (x509_vfy.h, X509_V_ERR_...). Any other one means that
# the chain does not end at a trusted CA.
_CERTIFICATE_REASONS = {
    9: FailureReason.CERTIFICATE_NOT_YET_VALID,
    10: FailureReason.CERTIFICATE_EXPIRED,
    62: FailureReason.CERTIFICATE_WRONG_NAME,
    64: FailureReason.CERTIFICATE_WRONG_NAME,
    # Only found with X509_V_FLAG_X509_STRICT, which Python sets from 3.13 on
    # (ssl.create_default_context); certificates of private CAs often fail it.
    **dict.fromkeys(range(80, 94), FailureReason.CERTIFICATE_NOT_RFC5280),
}


def failure_of(error: Exception, where: str, timeouts: Timeouts) -> Failure:
    """The failure that an exception means; `where` is the URL or host of the request.

    Takes the exceptions of http1, asyncio, sockets and TLS.
    """
    if isinstance(error, ssl.SSLError):
        return tls_failure(where, error)
    return failure_of_type(
        type(error),
        where,
        timeouts,
        cause=system_message(error),
        is_refused=getattr(error, "errno", None) == ECONNREFUSED,
    )


def failure_of_type(
    error_type: type[Exception],
    where: str,
    timeouts: Timeouts,
    *,
    cause: str,
    is_refused: bool = False,
) -> Failure:
    """The failure of an exception of this type, which must not be one of TLS.

    `cause` is the system's message, `is_refused` whether it is ECONNREFUSED.
    """
    known = next(one for one in error_type.__mro__ if one in _FAILURES)
    kind, reason, detail = _FAILURES[known]
    if is_refused and known is NoConnectionError:
        reason = FailureReason.CONNECTION_REFUSED
    failure = Failure(
        kind=kind,
        detail=detail.format(
            where=where,
            cause=cause,
            type=error_type.__name__,
            connect_s=timeouts.connect_s,
            read_s=timeouts.read_s,
            request_s=timeouts.request_s,
        ),
    )
    return failure if reason is None else with_reason(failure, reason)


def with_reason(failure: Failure, reason: FailureReason) -> Failure:
    """The failure with this reason, and the reason's advice at the end of `detail`."""
    advice = "" if reason.advice is None else f"; {reason.advice}"
    return replace(failure, reason=reason, detail=failure.detail + advice)


def is_cut_off(error: Exception) -> bool:
    """Whether the server closed the connection before it answered.

    That is how a missing client certificate shows: asyncio does not pass on the TLS
    alert, which with TLS 1.3 arrives after the handshake.
    """
    if isinstance(error, UnansweredError):
        return True
    cause = getattr(error, "os_error", None) or error.__cause__
    return isinstance(cause, (ConnectionAbortedError, ConnectionResetError))


def too_large(max_bytes: int) -> Failure:
    """The failure of a response body above `max_bytes`."""
    return Failure(
        kind=FailureKind.TOO_LARGE,
        detail=f"the response is larger than {max_bytes} bytes (max_manifest_bytes"
        " is the limit of manifests and configs)",
    )


# By exception; the nearest base class counts.
_FAILURES: dict[type, tuple[FailureKind, FailureReason | None, str]] = {
    NoConnectionInTimeError: (
        FailureKind.TIMEOUT,
        FailureReason.CONNECT_TIMEOUT,
        "no connection to {where} within {connect_s:g} s",
    ),
    SilentError: (
        FailureKind.TIMEOUT,
        FailureReason.READ_TIMEOUT,
        "{where} sent nothing for {read_s:g} s",
    ),
    TimeoutError: (
        FailureKind.TIMEOUT,
        None,
        "{where} took longer than {request_s:g} s to respond",
    ),
    socket.gaierror: (
        FailureKind.DNS,
        FailureReason.UNKNOWN_HOST,
        "the host name in {where} does not resolve: {cause}",
    ),
    RefusedAddressError: (FailureKind.REALM_REFUSED, None, "{where}: {cause}"),
    NoConnectionError: (FailureKind.CONNECT, None, "no connection to {where}: {cause}"),
    UnansweredError: (
        FailureKind.CONNECT,
        None,
        "{where} closed the connection without a response",
    ),
    BrokenOffError: (
        FailureKind.CONNECT,
        None,
        "the response of {where} is incomplete or damaged",
    ),
    OSError: (FailureKind.CONNECT, None, "the connection to {where} broke: {cause}"),
    NotHttpError: (
        FailureKind.PROTOCOL_VIOLATION,
        None,
        "the response of {where} is not HTTP/1.1: {cause}",
    ),
    TlsExpectedError: (
        FailureKind.PROTOCOL_VIOLATION,
        FailureReason.PLAIN_HTTP_TO_TLS,
        "{where} does not speak plain HTTP",
    ),
    Exception: (
        FailureKind.PROTOCOL_VIOLATION,
        None,
        "the request to {where} cannot be sent: {type}",
    ),
}


def system_message(error: BaseException) -> str:
    """The operating system's message, without what an event loop puts before it."""
    number = getattr(error, "errno", None)
    if (
        isinstance(number, int)
        and number > 0
        and not isinstance(error, socket.gaierror)
    ):
        return os.strerror(number)
    message = str(getattr(error, "strerror", None) or error)
    return safe_text(message) if message else "the connection was closed"


def tls_failure(where: str, error: Exception) -> Failure:
    """The failure of a TLS handshake; `error` is from ssl, or aiohttp's around it."""
    certificate = getattr(error, "certificate_error", error)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        reason = _CERTIFICATE_REASONS.get(
            getattr(certificate, "verify_code", 0), FailureReason.UNTRUSTED_CA
        )
        message = safe_text(certificate.verify_message)
        return with_reason(
            _tls(f"the certificate of {where} is not trusted: {message}"), reason
        )
    cause = getattr(error, "os_error", error)
    code = str(getattr(cause, "reason", None) or cause)
    if "WRONG_VERSION_NUMBER" in code:
        return with_reason(_tls(f"{where} does not speak TLS"), FailureReason.NOT_TLS)
    failure = _tls(f"no TLS connection to {where}: {safe_text(code)}")
    if "ALERT" in code and "CERT" in code:
        return with_reason(
            failure,
            FailureReason.CLIENT_CERTIFICATE_REQUIRED
            if code.endswith("CERTIFICATE_REQUIRED")
            else FailureReason.CLIENT_CERTIFICATE_REJECTED,
        )
    return failure


def _tls(detail: str) -> Failure:
    return Failure(kind=FailureKind.TLS, detail=detail)
