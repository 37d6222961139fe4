"""Failures of connections: maps the exceptions of a request to `Failure`s.

Covers the exceptions of http1, asyncio, sockets and TLS; `aiohttp_failures` maps those
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
from auditor.registry.transport import http1_parser
from auditor.registry.transport.connection_budget import NoDescriptorError
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.name_lookup import LookupTimeoutError
from auditor.registry.transport.ssrf_guard import RefusedAddressError
from auditor.util.open_files import is_out_of_descriptors
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


def failure_of(
    error: Exception, where: str, timeouts: Timeouts, *, has_answered: bool = False
) -> Failure:
    """The failure that an exception means; `where` is the URL or host of the request.

    Takes the exceptions of http1, asyncio, sockets and TLS. `has_answered`: the host
    has, to other requests.
    """
    if isinstance(error, ssl.SSLError):
        return tls_failure(where, error)
    if is_out_of_descriptors(error):
        error = NoDescriptorError(*error.args)
    return failure_of_type(
        type(error),
        where,
        timeouts,
        cause=system_message(error),
        errno=getattr(error, "errno", None),
        has_answered=has_answered,
    )


def failure_of_type(
    error_type: type[Exception],
    where: str,
    timeouts: Timeouts,
    *,
    cause: str,
    errno: int | None = None,
    has_answered: bool = False,
) -> Failure:
    """The failure of an exception of this type, which must not be one of TLS.

    `cause` is the system's message, `errno` its number.
    """
    ancestors = error_type.__mro__
    known = next(one for one in ancestors if one in _DETAILS)
    reason = _REASONS.get(known)
    if errno == ECONNREFUSED and known is http1_parser.NoConnectionError:
        reason = FailureReason.CONNECTION_REFUSED
    if errno == socket.EAI_AGAIN and known is socket.gaierror:
        reason = FailureReason.LOOKUP_TIMEOUT  # no answer about the name
    detail = _DETAILS[known].format(
        where=where,
        cause=cause,
        type=error_type.__name__,
        connect_s=timeouts.connect_s,
        read_s=timeouts.read_s,
        request_s=timeouts.request_s,
    )
    is_plain = where.startswith("http:")
    if known is http1_parser.UnansweredError and is_plain and not has_answered:
        detail += "; if the server expects TLS, use --no-plain-http"
    kind = next(_KINDS[one] for one in ancestors if one in _KINDS)
    failure = Failure(kind=kind, detail=detail)
    return failure if reason is None else with_reason(failure, reason)


def with_reason(failure: Failure, reason: FailureReason) -> Failure:
    """The failure with this reason, and the reason's advice at the end of `detail`."""
    advice = "" if reason.advice is None else f"; {reason.advice}"
    return replace(failure, reason=reason, detail=failure.detail + advice)


def is_cut_off(error: Exception) -> bool:
    """Whether the server closed the connection before it answered.

    A missing client certificate has this effect: asyncio does not pass on the TLS
    alert, which with TLS 1.3 arrives after the handshake.
    """
    if isinstance(error, http1_parser.UnansweredError):
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
_KINDS: dict[type, FailureKind] = {
    RefusedAddressError: FailureKind.REALM_REFUSED,
    TimeoutError: FailureKind.TIMEOUT,
    NoDescriptorError: FailureKind.INTERRUPTED,
    http1_parser.TlsExpectedError: FailureKind.TLS,
    socket.gaierror: FailureKind.DNS,
    OSError: FailureKind.CONNECT,
    Exception: FailureKind.PROTOCOL_VIOLATION,
}
_REASONS: dict[type, FailureReason] = {
    http1_parser.NoConnectionInTimeError: FailureReason.CONNECT_TIMEOUT,
    http1_parser.SilentError: FailureReason.READ_TIMEOUT,
    http1_parser.TlsExpectedError: FailureReason.PLAIN_HTTP_TO_TLS,
    LookupTimeoutError: FailureReason.LOOKUP_TIMEOUT,
    NoDescriptorError: FailureReason.NO_DESCRIPTOR,
    socket.gaierror: FailureReason.UNKNOWN_HOST,
}
_DETAILS: dict[type, str] = {
    http1_parser.NoConnectionInTimeError: "no connection to {where} within"
    " {connect_s:g} s",
    http1_parser.SilentError: "{where} sent nothing for {read_s:g} s",
    TimeoutError: "{where} took longer than {request_s:g} s to respond",
    NoDescriptorError: "not requested: no connection to {where} could be opened:"
    " {cause}",
    LookupTimeoutError: "the host name in {where} did not resolve within"
    " {connect_s:g} s: no DNS server answered",
    socket.gaierror: "the host name in {where} does not resolve: {cause}",
    RefusedAddressError: "{where}: {cause}",
    http1_parser.NoConnectionError: "no connection to {where}: {cause}",
    http1_parser.UnansweredError: "{where} closed the connection without a response",
    http1_parser.BrokenOffError: "the response of {where} is incomplete or damaged",
    OSError: "the connection to {where} broke: {cause}",
    http1_parser.TlsExpectedError: "{where} does not accept plain HTTP",
    http1_parser.NotHttpError: "the response of {where} is not HTTP/1.1: {cause}",
    Exception: "the request to {where} cannot be sent: {type}",
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
    reason: FailureReason | None = None
    if isinstance(certificate, ssl.SSLCertVerificationError):
        message = safe_text(certificate.verify_message)
        detail = f"the certificate of {where} is not trusted: {message}"
        code = getattr(certificate, "verify_code", 0)
        reason = _CERTIFICATE_REASONS.get(code, FailureReason.UNTRUSTED_CA)
        if reason is FailureReason.UNTRUSTED_CA:
            detail = (
                f"the certificate of {where} is not trusted: this machine does not know"
                f" the CA that signed it ({message})"
            )
    else:
        cause = getattr(error, "os_error", error)
        name = str(getattr(cause, "reason", None) or cause)
        detail = f"no TLS connection to {where}: {safe_text(name)}"
        if "WRONG_VERSION_NUMBER" in name:
            detail = f"{where} does not speak TLS"
            reason = FailureReason.NOT_TLS
        elif name.endswith("CERTIFICATE_REQUIRED") and "ALERT" in name:
            reason = FailureReason.CLIENT_CERTIFICATE_REQUIRED
        elif "ALERT" in name and "CERT" in name:
            reason = FailureReason.CLIENT_CERTIFICATE_REJECTED
    failure = Failure(kind=FailureKind.TLS, detail=detail)
    return failure if reason is None else with_reason(failure, reason)
