"""Every exception of a request is mapped to a failure."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import yarl
from aiohttp import client_exceptions, http_exceptions

from auditor.errors import Failure, FailureKind, FailureReason
from auditor.registry.transport import failures, http1_parser
from auditor.registry.transport.aiohttp_failures import failure_of_aiohttp
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.ssrf_guard import RefusedAddressError
from auditor.registry.transport.transport import Transport
from auditor.wire.proxy import Proxy
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of
from tests.patience import HANG_S

URL = "https://registry.example.com/v2/x?token=s3cret"
TIMEOUTS = Timeouts(connect_s=10, read_s=30, request_s=120)
CONNECT, TLS, DNS = FailureKind.CONNECT, FailureKind.TLS, FailureKind.DNS
TIMEOUT, VIOLATION = FailureKind.TIMEOUT, FailureKind.PROTOCOL_VIOLATION

_KEY: Any = SimpleNamespace(
    host="registry.example.com", port=443, ssl=True, is_ssl=True
)
_INFO: Any = SimpleNamespace(
    real_url=yarl.URL(URL), url=yarl.URL(URL), method="GET", headers={}
)
_OS = ConnectionRefusedError(111, "Connection refused")
_CERTIFICATE = ssl.SSLCertVerificationError(1, "certificate verify failed")
_CERTIFICATE.verify_message = "self-signed certificate\x1b"


def _refused(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


def _alert(code: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {code}] {code}")
    error.reason = code
    return error


# Each class of aiohttp's hierarchy, its arguments, and the kind of failure. A class
# that is new in aiohttp makes a test fail until it is added here.
EXPECTED: dict[str, tuple[tuple[Any, ...], FailureKind]] = {
    "ClientError": ((), VIOLATION),
    "ClientConnectionError": (("gone",), CONNECT),
    "ClientConnectionResetError": (("Cannot write to closing transport",), CONNECT),
    "ClientOSError": ((104, "Connection reset by peer"), CONNECT),
    "ClientConnectorError": ((_KEY, _OS), CONNECT),
    "ClientConnectorDNSError": ((_KEY, socket.gaierror(-2, "Name unknown")), DNS),
    "ClientProxyConnectionError": ((_KEY, _OS), CONNECT),
    "UnixClientConnectorError": (("/run/x", _KEY, _OS), CONNECT),
    "ClientSSLError": ((_KEY, _OS), TLS),
    "ClientConnectorSSLError": ((_KEY, ssl.SSLError(1, "handshake")), TLS),
    "ClientConnectorCertificateError": ((_KEY, _CERTIFICATE), TLS),
    "ServerConnectionError": (("gone",), CONNECT),
    "ServerDisconnectedError": ((), CONNECT),
    "ServerTimeoutError": (("slow",), TIMEOUT),
    "ConnectionTimeoutError": (("slow",), TIMEOUT),
    "SocketTimeoutError": (("slow",), TIMEOUT),
    # fingerprints are never configured
    "ServerFingerprintMismatch": ((b"a", b"b", "h", 443), CONNECT),
    "ClientPayloadError": (("incomplete",), CONNECT),
    "ClientResponseError": ((_INFO, ()), VIOLATION),
    "ContentTypeError": ((_INFO, ()), VIOLATION),
    "ClientHttpProxyError": ((_INFO, ()), VIOLATION),
    "WSServerHandshakeError": ((_INFO, ()), VIOLATION),
    "TooManyRedirects": ((_INFO, ()), VIOLATION),
    "UploadAbortedError": (("aborted",), VIOLATION),  # nothing is uploaded
    "InvalidURL": ((URL,), VIOLATION),
    "InvalidUrlClientError": ((URL,), VIOLATION),
    "NonHttpUrlClientError": ((URL,), VIOLATION),
    "RedirectClientError": ((), VIOLATION),
    "InvalidUrlRedirectClientError": ((URL,), VIOLATION),
    "NonHttpUrlRedirectClientError": ((URL,), VIOLATION),
}


def _subclasses(of: type) -> Iterator[type]:
    yield of
    subclass: type
    for subclass in of.__subclasses__():
        yield from _subclasses(subclass)


def _aiohttp_classes() -> dict[str, type]:
    return {
        found.__name__: found
        for found in _subclasses(aiohttp.ClientError)
        if found.__module__.startswith("aiohttp.")
    }


def failure_of(error: Exception) -> Failure:
    return failure_of_aiohttp(error, URL, TIMEOUTS)


def test_every_exception_of_aiohttp_is_in_the_table() -> None:
    assert set(_aiohttp_classes()) <= set(EXPECTED)


@pytest.mark.parametrize("name", sorted(_aiohttp_classes()))
def test_every_exception_of_aiohttp_is_the_expected_failure(name: str) -> None:
    arguments, kind = EXPECTED[name]
    failure = failure_of(_aiohttp_classes()[name](*arguments))
    assert failure.kind is kind
    assert "s3cret" not in failure.detail
    assert "registry.example.com/v2/x" in failure.detail
    assert failure.detail.isprintable()


def test_every_exception_of_aiohttp_is_caught() -> None:
    caught = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
    for name in client_exceptions.__all__:
        if not name.startswith("WS"):  # no web sockets here
            assert issubclass(getattr(client_exceptions, name), caught)


@pytest.mark.parametrize(
    ("error", "kind", "detail"),
    [
        (TimeoutError(), TIMEOUT, "took longer than 120 s to respond"),
        (http1_parser.SilentError(), TIMEOUT, "sent nothing for 30 s"),
        (http1_parser.NoConnectionInTimeError(), TIMEOUT, "within 10 s"),
        (http1_parser.NoConnectionError(111, "Connection refused"), CONNECT,
         "no connection to https://registry.example.com/v2/x: Connection refused"),
        (http1_parser.UnansweredError(), CONNECT, "closed the connection without"),
        (http1_parser.BrokenOffError(), CONNECT, "is incomplete or damaged"),
        (http1_parser.NotHttpError("Invalid\x1b"), VIOLATION, "is not HTTP/1.1"),
        (socket.gaierror(-2, "Name unknown"), DNS, "does not resolve: Name unknown"),
        (_CERTIFICATE, TLS, "ca_file"),
        (aiohttp.SocketTimeoutError(), TIMEOUT, "sent nothing for 30 s"),
        (aiohttp.ConnectionTimeoutError("x"), TIMEOUT, "within 10 s"),
        (ConnectionResetError(104, "Connection reset by peer"), CONNECT, "reset"),
        (OSError(24, "Too many open files"), FailureKind.INTERRUPTED, "ulimit -n"),
        (ValueError("bad"), VIOLATION, "ValueError"),
        (UnicodeError("label too long"), VIOLATION, "UnicodeError"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), TLS,
         "--plain-http"),
        (aiohttp.ClientConnectorCertificateError(_KEY, _CERTIFICATE), TLS, "ca_file"),
        (aiohttp.ClientConnectorError(_KEY, _OS), CONNECT, "Connection refused"),
    ],
)  # fmt: skip
def test_the_detail_of_a_failure_says_what_happened(
    error: Exception, kind: FailureKind, detail: str
) -> None:
    failure = failure_of(error)
    assert failure.kind is kind
    assert detail in failure.detail
    assert failure.detail.isprintable()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (_refused(9, "not yet valid"), FailureReason.CERTIFICATE_NOT_YET_VALID),
        (_refused(10, "has expired"), FailureReason.CERTIFICATE_EXPIRED),
        (_refused(62, "Hostname mismatch"), FailureReason.CERTIFICATE_WRONG_NAME),
        (_refused(64, "IP mismatch"), FailureReason.CERTIFICATE_WRONG_NAME),
        (_refused(85, "Missing Key Id"), FailureReason.CERTIFICATE_NOT_RFC5280),
        (_refused(18, "self-signed"), FailureReason.UNTRUSTED_CA),
        (_alert("WRONG_VERSION_NUMBER"), FailureReason.NOT_TLS),
        (
            _alert("TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            FailureReason.CLIENT_CERTIFICATE_REQUIRED,
        ),
        (
            _alert("SSLV3_ALERT_BAD_CERTIFICATE"),
            FailureReason.CLIENT_CERTIFICATE_REJECTED,
        ),
        (_alert("UNEXPECTED_EOF"), None),
        (socket.gaierror(-2, "Name unknown"), FailureReason.UNKNOWN_HOST),
        (socket.gaierror(-3, "Try again"), FailureReason.LOOKUP_TIMEOUT),
        (
            http1_parser.NoConnectionError(111, "refused"),
            FailureReason.CONNECTION_REFUSED,
        ),
        (http1_parser.NoConnectionInTimeError(), FailureReason.CONNECT_TIMEOUT),
        (http1_parser.SilentError(), FailureReason.READ_TIMEOUT),
        (aiohttp.ClientConnectorError(_KEY, _OS), FailureReason.CONNECTION_REFUSED),
        (aiohttp.ConnectionTimeoutError("x"), FailureReason.CONNECT_TIMEOUT),
    ],
)
def test_the_reason_of_a_failure_comes_from_the_exception_and_brings_its_advice(
    error: Exception, reason: FailureReason | None
) -> None:
    failure = failure_of(error)
    assert failure.reason is reason
    if reason is not None and reason.advice is not None:
        assert failure.detail.endswith(f"; {reason.advice}")


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientProxyConnectionError(_KEY, _OS),
        aiohttp.ClientConnectorDNSError(_KEY, socket.gaierror(-2, "Name unknown")),
    ],
)
def test_a_proxy_that_is_not_there_is_the_reason_not_the_registry(
    error: Exception,
) -> None:
    proxy = Proxy(origin=origin_of("http://proxy.example:3128"), named_by="proxy")
    failure = failure_of_aiohttp(error, URL, TIMEOUTS, proxy)
    assert failure.reason is FailureReason.PROXY_UNREACHABLE
    assert "the proxy http://proxy.example:3128 (proxy)" in failure.detail
    assert "registry.example.com" not in failure.detail


def test_a_name_that_resolves_to_a_forbidden_address_is_refused() -> None:
    refused = RefusedAddressError("evil.example resolves to 127.0.0.1")
    failure = failure_of(aiohttp.ClientConnectorDNSError(_KEY, refused))
    assert failure.kind is FailureKind.REALM_REFUSED
    assert "evil.example resolves to 127.0.0.1" in failure.detail


def test_the_content_of_a_response_is_not_quoted() -> None:
    error = aiohttp.ClientResponseError(
        _INFO, (), status=400, message="Invalid header value: b's3cret'"
    )
    assert "s3cret" not in failure_of(error).detail


# -- invalid responses over a real connection ----------------------------------

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


async def _ask(raw_response: bytes, *, use_http1: bool) -> Response | Failure:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw_response)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        url = f"http://{host}:{port}/v2/"
        timeouts = Timeouts(connect_s=HANG_S, read_s=HANG_S, request_s=HANG_S)
        async with aclosing(
            Transport(
                origin=origin_of(url),
                max_in_flight=2,
                timeouts=timeouts,
                use_http1=use_http1,
            )
        ) as transport:
            return await transport.request("GET", url, headers={}, max_bytes=1000)


@pytest.fixture(params=[True, False], ids=["http1", "aiohttp"])
def ask(request: pytest.FixtureRequest) -> Callable[[bytes], Response | Failure]:
    """Requests to a server that sends these bytes, over http1 and over aiohttp."""
    return lambda raw_response: asyncio.run(_ask(raw_response, use_http1=request.param))


Ask = Callable[[bytes], Response | Failure]


@pytest.mark.parametrize(
    ("raw_response", "kind"),
    [
        (b"", CONNECT),
        (OK, CONNECT),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", VIOLATION),
        (b"\x16\x03\x01\x00\x00", VIOLATION),
        (OK + b"Content-Length: 50\r\n\r\n{}", CONNECT),
        (OK + b"Content-Length: abc\r\n\r\n{}", VIOLATION),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", VIOLATION),
        (OK + b"X: " + b"a" * 100_000 + b"\r\n\r\n", VIOLATION),
        (OK + b"X: a\r\n" * 40_000 + b"\r\n", VIOLATION),
        (OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n", VIOLATION),
        (CHUNKED + b"10\r\nabc", CONNECT),
        (CHUNKED + b"zz\r\nabc\r\n", VIOLATION),
        (CHUNKED + b"3\r\nabcdef\r\n", VIOLATION),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", CONNECT),
        (OK + b"Content-Length: 1001\r\n\r\n", FailureKind.TOO_LARGE),
        (CHUNKED + b"3e9\r\n" + b"a" * 1001 + b"\r\n0\r\n\r\n", FailureKind.TOO_LARGE),
        (b"HTTP/1.1 307 x\r\nContent-Length: 0\r\n\r\n", FailureKind.REDIRECT_REFUSED),
        *(
            (
                b"HTTP/1.1 307 x\r\nContent-Length: 0\r\nLocation: "
                + location
                + b"\r\n\r\n",
                FailureKind.REDIRECT_REFUSED,
            )
            for location in (
                b"http://[::1", b"http://a:99999/", b"ftp://example.com/",
                b"http://user:pw@example.com/", b"http://169.254.169.254/",
                b"http://0xa9fea9fe/", b"http://[::ffff:169.254.169.254]/",
            )
        ),
    ],
)  # fmt: skip
def test_an_invalid_response_is_a_failure(
    ask: Ask, raw_response: bytes, kind: FailureKind
) -> None:
    outcome = ask(raw_response)
    assert isinstance(outcome, Failure)
    assert outcome.kind is kind
    assert outcome.detail.isprintable()


ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
GO = (
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
)


@pytest.mark.parametrize(("raw_response", "status"), [(ALERT, None), (GO, 400)])
def test_a_tls_server_that_is_sent_plain_http_is_recognised(
    ask: Ask, raw_response: bytes, status: int | None
) -> None:
    outcome = ask(raw_response)
    assert isinstance(outcome, Failure)
    assert outcome.reason is FailureReason.PLAIN_HTTP_TO_TLS
    assert (outcome.kind, outcome.status) == (FailureKind.TLS, status)
    assert outcome.detail.endswith(
        "/v2/ does not accept plain HTTP; the server expects TLS: use --no-plain-http"
        " (plain_http = false in the configuration), and --ca-file for a private CA"
    )


def test_a_400_for_another_reason_is_returned(ask: Ask) -> None:
    outcome = ask(b"HTTP/1.0 400 Bad Request\r\n\r\nname invalid")
    assert isinstance(outcome, Response)


def test_no_exception_of_the_parser_escapes(ask: Ask) -> None:
    # They are no ClientError, so the client would not catch one.
    assert not issubclass(http_exceptions.HttpProcessingError, aiohttp.ClientError)
    for cut in range(0, 60, 3):
        outcome = ask((CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")[:cut])
        assert isinstance(outcome, Failure | Response)


@pytest.mark.parametrize("status", [204, 304, 404, 500, 599])
def test_a_response_of_any_status_is_returned(ask: Ask, status: int) -> None:
    outcome = ask(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status)
    assert isinstance(outcome, Response)
    assert outcome.status == status


def test_the_body_of_an_error_response_is_capped(ask: Ask) -> None:
    outcome = ask(b"HTTP/1.1 500 x\r\nContent-Length: 200000\r\n\r\n" + b"a" * 200_000)
    assert isinstance(outcome, Response)
    assert (outcome.status, outcome.body) == (500, b"")


def test_a_host_that_has_answered_in_plain_http_is_not_suspected_of_tls() -> None:
    url, error = "http://registry.example.com/v2/", http1_parser.UnansweredError()
    first = failures.failure_of(error, url, TIMEOUTS)
    later = failures.failure_of(error, url, TIMEOUTS, has_answered=True)
    hint = "; if the server expects TLS, use --no-plain-http"
    assert first.detail == later.detail + hint


async def _answer_once(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: list[bytes]
) -> None:
    seen.append(await reader.readuntil(b"\r\n\r\n"))
    if len(seen) == 1:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n")
        writer.write(b"\r\n")
    writer.close()
    await writer.wait_closed()


def test_the_transport_knows_that_a_host_has_answered() -> None:
    async def main() -> list[Response | Failure]:
        seen: list[bytes] = []
        server = await asyncio.start_server(
            lambda reader, writer: _answer_once(reader, writer, seen), "127.0.0.1", 0
        )
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        transport = Transport(origin=origin_of(url), max_in_flight=1, timeouts=TIMEOUTS)
        found = [
            await transport.request("GET", url, headers={}, max_bytes=100)
            for _ in range(2)
        ]
        await transport.aclose()
        server.close()
        await server.wait_closed()
        return found

    first, second = asyncio.run(main())
    assert isinstance(first, Response)
    assert isinstance(second, Failure)
    assert second.detail.endswith("closed the connection without a response")
