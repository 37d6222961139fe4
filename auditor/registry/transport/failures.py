"""What an exception between a request and its answer means for a reference.

Those of http1, of asyncio and of sockets; `library/failures.py` says it of aiohttp's.
"""

from __future__ import annotations

import os
import socket
import ssl

from auditor.errors import Failure, FailureKind
from auditor.registry.transport.http1_parser import (
    BrokenOffError,
    NoConnectionError,
    NoConnectionInTimeError,
    NotHttpError,
    SilentError,
    UnansweredError,
)
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.ssrf_guard import RefusedAddressError
from auditor.util.text import safe_text

# What OpenSSL's verification finds (x509_vfy.h, X509_V_ERR_...) that nobody mends by
# trusting somebody else: not yet valid, expired, another host name, another address.
_NOT_OF_TRUST = frozenset({9, 10, 62, 64})
# What it finds with X509_V_FLAG_X509_STRICT only, which Python sets from 3.13 on
# (docs.python.org, ssl.create_default_context): CAs of one's own are often so.
_STRICT = range(80, 94)
STRICTER = "RFC 5280 wants that of certificates, and Python 3.13 and newer insist"

PERHAPS_MTLS = "; it may want another client certificate (cert_file), or one at all"


def failure_of(error: Exception, where: str, timeouts: Timeouts) -> Failure:
    """The failure that an exception means; `where` names who was asked."""
    if type(error) in _OF_HTTP1:
        return _failure_of_http1(error, where, timeouts)
    if isinstance(error, RefusedAddressError):
        kind, detail = FailureKind.REALM_REFUSED, f"{where}: {error}"
    elif isinstance(error, TimeoutError):
        kind = FailureKind.TIMEOUT
        detail = f"{where} took longer than {timeouts.request_s:g} s to answer"
    elif isinstance(error, ssl.SSLError):
        kind, detail = FailureKind.TLS, tls_detail(where, error)
    elif isinstance(error, OSError):
        kind = FailureKind.CONNECT
        detail = f"the connection to {where} broke: {reason_of(error)}"
    else:
        kind = FailureKind.PROTOCOL_VIOLATION
        detail = f"{where} cannot be asked: {type(error).__name__}"
    return Failure(kind=kind, detail=detail)


def is_cut_off(error: Exception) -> bool:
    """Whether this is how a server that wants a certificate of ours says no.

    asyncio does not pass the alert on; with TLS 1.3 it comes after our handshake.
    """
    if isinstance(error, UnansweredError):
        return True
    cause = getattr(error, "os_error", None) or error.__cause__
    return isinstance(cause, (ConnectionAbortedError, ConnectionResetError))


def too_large(max_bytes: int) -> Failure:
    """An answer that is larger than it may be."""
    return Failure(
        kind=FailureKind.TOO_LARGE,
        detail=f"the answer is larger than the limit of {max_bytes} bytes"
        " (for manifests and configs max_manifest_bytes is that limit)",
    )


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
            reason=reason_of(error),
            connect_s=timeouts.connect_s,
            read_s=timeouts.read_s,
        ),
    )


def reason_of(error: BaseException) -> str:
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


def tls_detail(where: str, error: Exception) -> str:
    """What to say of a TLS connection that did not come about."""
    text = str(error)
    if "WRONG_VERSION_NUMBER" in text or "wrong version number" in text:
        return (
            f"{where} does not speak TLS; if it is meant to be plain HTTP,"
            " use --plain-http or plain_http = true"
        )
    certificate = getattr(error, "certificate_error", error)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {where} is not trusted: "
            f"{safe_text(certificate.verify_message)}{_what_then(certificate)}"
        )
    reason = str(getattr(getattr(error, "os_error", error), "reason", None) or text)
    hint = PERHAPS_MTLS if "ALERT" in reason and "CERT" in reason else ""
    return f"no TLS connection to {where}: {safe_text(reason)}{hint}"


def _what_then(certificate: ssl.SSLCertVerificationError) -> str:
    code = getattr(certificate, "verify_code", 0)
    if code in _NOT_OF_TRUST:
        return ""
    if code in _STRICT:
        return f" ({STRICTER})"
    return " (ca_file in the configuration names a private CA)"
