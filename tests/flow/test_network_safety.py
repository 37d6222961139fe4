"""Hostile servers: what is sent to them, and what they cannot make the client do."""

from __future__ import annotations

import asyncio
import gzip
import socket
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from auditor.config import ListerName
from auditor.demo.demo_registry import DemoContent
from auditor.errors import Failure, FailureKind
from auditor.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from auditor.registry.transport import transport as network_transport
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.transport import Transport
from auditor.wire.redirect import Redirects
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of
from tests.flow.harness import ADMIN, MANIFESTS, TAGS, TOKENS, lab, service, simple
from tests.patience import HANG_S
from tests.scripted_server import (
    LONG_TIMEOUTS,
    OK,
    Script,
    drip,
    endless,
    http_response,
    redirect_to,
    respond,
    scripted_server,
    transport_to,
)
from tests.support.fault_actions import Answer as Says
from tests.support.products import Routes, dtr_api, harbor_api

pytestmark = pytest.mark.anyio
ELSEWHERE = origin_of("https://registry.example.com")
SECRETS = {"Authorization": "Bearer s3cret", "X-Custom": "s3cret", "Accept": "*/*"}
CAP = 100_000
# What the kernel may buffer before it notices that the response is not read.
BUFFERS = 32 * 1024 * 1024


async def _ask(
    script: Script,
    *,
    as_registry: bool,
    use_http1: bool = True,
    timeouts: Timeouts = LONG_TIMEOUTS,
    max_bytes: int = CAP,
) -> Response | Failure:
    """The outcome of one request, to the registry or to a host that it names."""
    with anyio.fail_after(HANG_S):
        async with (
            scripted_server(script) as server,
            transport_to(
                server.origin if as_registry else replace(server.origin, port=9),
                timeouts,
                use_http1=use_http1,
            ) as transport,
        ):
            return await transport.request(
                "GET", f"{server.url}/v2/", headers={}, max_bytes=max_bytes
            )


Ask = Callable[..., Awaitable[Response | Failure]]


ROUTES = {
    "the registry": partial(_ask, as_registry=True),
    "a host that it names": partial(_ask, as_registry=False),
    "over aiohttp": partial(_ask, as_registry=False, use_http1=False),
}


@pytest.fixture(params=ROUTES)
def ask(request: pytest.FixtureRequest) -> Ask:
    """Requests over http1, over http1 with the SSRF guard, and over aiohttp."""
    return ROUTES[request.param]


@pytest.fixture(params=[True, False], ids=["http1", "aiohttp"])
def elsewhere(request: pytest.FixtureRequest) -> Callable[..., aclosing[Transport]]:
    """Transports for a registry elsewhere, which names hosts on this machine."""
    return partial(transport_to, ELSEWHERE, use_http1=request.param)


# -- addresses of host names -------------------------------------------------------

REFUSED = [
    "127.0.0.1", "127.8.8.8", "::1", "0.0.0.1", "::", "169.254.169.254", "169.254.1.1",
    "fe80::1", "fd00:ec2::254", "fd00:ec2::23", "100.100.100.200", "224.0.0.1",
    "255.255.255.255",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254",  # IPv4-mapped
    "::127.0.0.1", "::ffff:0:127.0.0.1",  # IPv4-compatible, IPv4-translated
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1",  # NAT64
    "2002:7f00:1::",  # 6to4
]  # fmt: skip


def _resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let every name resolve to these addresses. Returns the resolved names."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **more: Any) -> list[Any]:
        if host == "127.0.0.1":  # not a name
            return list(real(host, port, *args, **more))
        asked.append(host)
        outcome: list[Any] = []
        for address in addresses:
            six = ":" in address
            family = socket.AF_INET6 if six else socket.AF_INET
            place = (address, port, 0, 0) if six else (address, port)
            outcome.append((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place))
        return outcome

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("address", REFUSED)
async def test_a_name_that_resolves_to_a_refused_address_is_not_connected_to(
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: Callable[..., aclosing[Transport]],
) -> None:
    asked = _resolves_to(monkeypatch, address)
    async with scripted_server(respond(http_response(b"{}"))) as server:
        async with elsewhere() as transport:
            outcome = await transport.request(
                "GET",
                f"http://tokens.example.net:{server.port}/token",
                headers=SECRETS,
                max_bytes=CAP,
                redirects=Redirects.REFUSED,
            )
        assert server.connections == 0
    assert asked == ["tokens.example.net"]
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.REALM_REFUSED
    assert "tokens.example.net resolves to" in outcome.detail


async def test_one_refused_address_among_others_is_enough(
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: Callable[..., aclosing[Transport]],
) -> None:
    _resolves_to(monkeypatch, "203.0.113.7", "127.0.0.1")
    async with elsewhere() as transport:
        outcome = await transport.request(
            "GET", "http://tokens.example.net/", headers={}, max_bytes=CAP
        )
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.REALM_REFUSED


@pytest.mark.parametrize(
    "host", ["2130706433", "0177.0.0.1", "0x7f.1", "127.1", "localhost", "a.localhost"]
)
async def test_a_loopback_address_in_another_spelling_is_not_connected_to(
    host: str, elsewhere: Callable[..., aclosing[Transport]]
) -> None:
    async with scripted_server(respond(http_response(b"{}"))) as server:
        async with elsewhere() as transport:
            await transport.request(
                "GET", f"http://{host}:{server.port}/", headers={}, max_bytes=CAP
            )
        assert server.connections == 0


async def test_a_host_in_realm_hosts_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: Callable[..., aclosing[Transport]],
) -> None:
    _resolves_to(monkeypatch, "127.0.0.1")
    async with scripted_server(respond(http_response(b"{}"))) as server:
        allowed = frozenset({"tokens.example.net"})
        async with elsewhere(allowed_hosts=allowed) as transport:
            outcome = await transport.request(
                "GET",
                f"http://tokens.example.net:{server.port}/",
                headers={},
                max_bytes=CAP,
            )
    assert isinstance(outcome, Response)


async def test_a_redirect_to_a_name_with_a_refused_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scripted_server(respond(http_response(b"{}"))) as inside:
        location = f"http://cdn.example.net:{inside.port}/blob"
        async with scripted_server(respond(redirect_to(location))) as server:
            _resolves_to(monkeypatch, "169.254.169.254")
            async with transport_to(server.origin) as transport:
                outcome = await transport.request(
                    "GET", f"{server.url}/blob", headers=SECRETS, max_bytes=CAP
                )
        assert inside.connections == 0
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.REDIRECT_REFUSED
    assert "169.254.169.254, a cloud metadata address" in outcome.detail


async def test_requests_to_further_hosts_go_over_aiohttp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network_transport, "MAX_OTHER_ORIGINS", 1)
    async with (
        scripted_server(respond(http_response(b"{}"))) as one,
        scripted_server(respond(http_response(b"[]"))) as two,
        transport_to(replace(one.origin, port=9)) as transport,
    ):
        for server, content in ((one, b"{}"), (two, b"[]"), (one, b"{}")):
            outcome = await transport.request(
                "GET", f"{server.url}/", headers={}, max_bytes=CAP
            )
            assert isinstance(outcome, Response)
            assert outcome.body == content


# -- redirects ---------------------------------------------------------------------


async def test_a_redirect_to_another_origin_keeps_only_accept() -> None:
    async with scripted_server(respond(http_response(b"blob"))) as other:
        location = f"{other.url}/blob?signature=x"
        async with (
            scripted_server(respond(redirect_to(location))) as server,
            transport_to(server.origin) as transport,
        ):
            outcome = await transport.request(
                "GET", f"{server.url}/blob", headers=SECRETS, max_bytes=CAP
            )
        assert isinstance(outcome, Response)
        assert outcome.body == b"blob"
        assert "s3cret" in str(server.fields())
        assert other.fields().keys() == {
            "host", "accept", "user-agent", "accept-encoding",
        }  # fmt: skip


async def test_a_redirect_back_to_the_origin_does_not_restore_the_headers() -> None:
    home = ""

    async def back(request: bytes, writer: asyncio.StreamWriter) -> None:
        del request
        writer.write(redirect_to(f"{home}/again"))

    async with scripted_server(back) as other:
        answers = redirect_to(f"{other.url}/away"), http_response(b"home")
        async with scripted_server(respond(*answers)) as server:
            home = server.url
            async with transport_to(server.origin) as transport:
                outcome = await transport.request(
                    "GET", f"{server.url}/blob", headers=SECRETS, max_bytes=CAP
                )
            assert isinstance(outcome, Response)
            assert outcome.body == b"home"
            assert "authorization" in server.fields(0)
            assert "authorization" not in server.fields(1)


async def test_next_pages_at_another_host_get_no_token() -> None:
    here_has, there_has = simple(["team/a:1"]), simple(["team/a:1", "team/a:2"])
    async with (
        lab(here_has, tokens=service(ADMIN), login=ADMIN) as here,
        lab(there_has) as there,
    ):
        away = f"http://{there.host}/v2/team/a/tags/list?n=1"
        here.faults.on("GET", TAGS, Says(307, {"Location": away}))
        outcome = await here.audit(here.ref("team/a:*"), page_size=1)
        assert [one.target for one in there.faults.log] == [
            "/v2/team/a/tags/list?n=1", "/v2/team/a/tags/list?last=1&n=1",
        ]  # fmt: skip
        assert not any("Authorization" in one.headers for one in there.faults.log)
    assert outcome.references == [here.ref("team/a:1"), here.ref("team/a:2")]


@pytest.mark.parametrize(
    ("lister", "api", "path"),
    [
        (ListerName.HARBOR, harbor_api, "/api/v2.0/projects/team/repositories"),
        (ListerName.DTR, dtr_api, "/api/v0/repositories/team"),
    ],
)
async def test_next_pages_of_a_product_api_at_another_host_get_no_password(
    lister: ListerName, api: Callable[[DemoContent], Routes], path: str
) -> None:
    content = simple(["team/a:1", "team/b:1"])
    async with (
        lab(content, login=ADMIN, routes=api(content)) as here,
        lab(content, routes=api(content)) as there,
    ):
        size = "pageSize=1" if lister is ListerName.DTR else "page_size=1"
        away = f"http://{there.host}{path}?{size}"
        here.faults.on("GET", path, Says(307, {"Location": away}))
        outcome = await here.audit(here.ref("team/*:*"), page_size=1, lister=lister)
        (asked,) = here.faults.requests("GET", path)
        assert asked.headers["Authorization"].startswith("Basic ")
        assert len(there.targets(path)) == 2
        assert not any("Authorization" in one.headers for one in there.faults.log)
    listing = outcome.summary.listings.shown[0]
    assert (listing.repositories, listing.pages) == (2, 2)


async def test_a_redirect_loop_ends() -> None:
    async with scripted_server(respond(redirect_to("/v2/"))) as server:
        async with transport_to(server.origin) as transport:
            outcome = await transport.request(
                "GET", f"{server.url}/v2/", headers=SECRETS, max_bytes=CAP
            )
        assert len(server.requests) == 6
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.REDIRECT_REFUSED


@pytest.mark.parametrize("host", ["127.0.0.1", "registry.example.com"])
async def test_a_redirect_with_a_user_name_is_refused(host: str, ask: Ask) -> None:
    async with scripted_server(respond(b"")) as other:
        location = f"http://user:s3cret@{host}:{other.port}/"
        outcome = await ask(respond(redirect_to(location)))
        assert other.connections == 0
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.REDIRECT_REFUSED
    assert "s3cret" not in outcome.detail


async def test_a_request_with_a_credential_is_not_redirected() -> None:
    async with scripted_server(respond(http_response(b"{}"))) as other:
        async with (
            scripted_server(respond(redirect_to(f"{other.url}/"))) as server,
            transport_to(server.origin) as transport,
        ):
            outcome = await transport.request(
                "GET",
                f"{server.url}/token",
                headers=SECRETS,
                max_bytes=CAP,
                redirects=Redirects.REFUSED,
            )
        assert other.connections == 0
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.REDIRECT_REFUSED


# -- what is not sent -------------------------------------------------------------


async def test_cookies_are_not_kept() -> None:
    lines = b"Set-Cookie: session=s3cret; Path=/", b"Set-Cookie2: a=b"
    async with scripted_server(respond(http_response(b"{}", *lines))) as server:
        async with transport_to(server.origin) as transport:
            for _ in range(3):
                await transport.request(
                    "GET", f"{server.url}/v2/", headers={}, max_bytes=CAP
                )
        assert len(server.requests) == 3
        assert all(b"s3cret" not in request for request in server.requests)


async def test_netrc_is_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login user password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    async with scripted_server(respond(http_response(b"{}"))) as server:
        async with transport_to(server.origin) as transport:
            await transport.request(
                "GET", f"{server.url}/v2/", headers={}, max_bytes=CAP
            )
        assert "authorization" not in server.fields()


@pytest.mark.parametrize(
    "token", ["a\r\nX-Injected: 1", "a\nb", "a\x00b", "a b", "ä", "", 7, ["a"], {}]
)
async def test_a_token_that_is_no_header_value_is_rejected(token: object) -> None:
    async with lab(simple(["team/app:1"]), tokens=service()) as here:
        here.faults.on(
            "GET", TOKENS, Says(200, {}, orjson.dumps({"token": token})), forever=True
        )
        outcome = await here.audit(here.ref("team/app:1"))
        assert here.faults.count("GET", MANIFESTS) == 0
    assert outcome.failure.failure == "token_rejected"


# -- names that end up in paths ----------------------------------------------------

ODD = [
    "../../../admin", "sha256:../../x", "a/../b", "a%2f..%2fb", "a?x=1", "a#b",
    "a\r\nb",
]  # fmt: skip


@pytest.mark.parametrize("tag", [*ODD, "", ".", "..", "-a", "a" * 129])
async def test_an_invalid_tag_of_a_listing_is_not_requested(tag: str) -> None:
    async with lab(simple(["team/app:1"])) as here:
        body = orjson.dumps({"name": "team/app", "tags": [tag, "1"]})
        here.faults.on("GET", TAGS, Says(200, {}, body))
        outcome = await here.audit(here.ref("team/app:*"))
        assert here.targets(MANIFESTS) == ["/v2/team/app/manifests/1"]
    assert outcome.kinds == ["image", "incomplete_listing"]


@pytest.mark.parametrize("digest", [*ODD, "sha256:" + "A" * 64, "sha256:" + "a" * 63])
@pytest.mark.parametrize("place", ["child", "config"])
async def test_an_invalid_digest_is_not_requested(digest: str, place: str) -> None:
    one = {"mediaType": OCI_MANIFEST, "digest": digest, "size": 2}
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": OCI_INDEX}
    if place == "child":
        document["manifests"] = [one]
    else:
        document["mediaType"] = OCI_MANIFEST
        document |= {"config": one | {"mediaType": OCI_CONFIG}, "layers": []}
    async with lab(simple(["team/app:1"])) as here:
        here.faults.on("GET", MANIFESTS, Says(200, {}, orjson.dumps(document)))
        outcome = await here.audit(here.ref("team/app:1"))
        assert here.faults.count() == 2  # the ping and the tag
    assert outcome.failure.failure == "protocol_violation"


# -- endless responses -------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(endless(OK, b"X: a\r\n" * 100), id="header fields"),
        pytest.param(endless(OK + b"X: ", b"a" * 1000), id="one header field"),
        pytest.param(endless(OK, b"a" * 1000), id="one header name"),
        pytest.param(endless(b"HTTP/1.1 200 ", b"a" * 1000), id="the status line"),
        pytest.param(endless(b"", b"a" * 1000), id="no status line"),
        pytest.param(endless(OK + b"X: a\r\n", b" a\r\n" * 100), id="a folded field"),
    ],
)
async def test_an_endless_head_is_a_failure(script: Script, ask: Ask) -> None:
    outcome = await ask(script)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.PROTOCOL_VIOLATION
    assert outcome.detail.isprintable()


@pytest.mark.parametrize("status", [b"100 x", b"103 x", b"199 x"])
async def test_endless_interim_responses_time_out(status: bytes, ask: Ask) -> None:
    quick = replace(LONG_TIMEOUTS, request_s=0.2)
    outcome = await ask(
        endless(b"", b"HTTP/1.1 " + status + b"\r\n\r\n"), timeouts=quick
    )
    assert isinstance(outcome, Failure)
    assert outcome.kind in {FailureKind.TIMEOUT, FailureKind.PROTOCOL_VIOLATION}


async def test_interim_responses_are_skipped(ask: Ask) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    outcome = await ask(respond(early * 5 + http_response(b"{}")))
    assert isinstance(outcome, Response)
    assert (outcome.status, outcome.body) == (200, b"{}")
    assert outcome.headers.get("Link") is None


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(endless(OK + b"\r\n", b"a" * 10_000), id="until the end"),
        pytest.param(endless(CHUNKED, b"3e8\r\n" + b"a" * 1000 + b"\r\n"), id="chunks"),
        pytest.param(endless(CHUNKED, b"1\r\na\r\n" * 100), id="small chunks"),
        pytest.param(
            respond(OK + b"Content-Length: 99999999999\r\n\r\n"), id="declared"
        ),
    ],
)
async def test_an_endless_body_is_read_up_to_its_cap(script: Script, ask: Ask) -> None:
    outcome = await ask(script)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TOO_LARGE


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(endless(CHUNKED + b"1;x=", b"a" * 1000), id="a chunk extension"),
        pytest.param(endless(CHUNKED, b"0" * 1000), id="a chunk size"),
        pytest.param(endless(CHUNKED + b"0\r\n", b"X: a\r\n" * 100), id="trailers"),
    ],
)
async def test_endless_bytes_between_chunks_are_bounded(
    script: Script, ask: Ask
) -> None:
    """Some parsers skip these bytes without keeping them: the timeout is the bound."""
    quick = replace(LONG_TIMEOUTS, request_s=0.2)
    tracemalloc.start()
    try:
        outcome = await ask(script, timeouts=quick)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(outcome, Failure)
    assert peak < BUFFERS


@pytest.mark.parametrize("status", [b"401 x", b"404 x", b"500 x"])
async def test_an_error_with_an_endless_body_keeps_its_status(
    status: bytes, ask: Ask
) -> None:
    start = b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    outcome = await ask(endless(start, b"3e8\r\n" + b"a" * 1000 + b"\r\n"))
    assert isinstance(outcome, Response)
    assert outcome.status == int(status[:3])
    assert outcome.body == b""


# -- decompression bombs -----------------------------------------------------------

GROWN = 64 * 1024 * 1024


def _deflated(*, raw: bool = False) -> bytes:
    pack = zlib.compressobj(9, zlib.DEFLATED, -15 if raw else 15)
    zeros = b"\0" * (1024 * 1024)
    pieces = [pack.compress(zeros) for _ in range(GROWN // len(zeros))]
    return b"".join(pieces) + pack.flush()


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    """Some 64 KB that decode to 64 MiB, by content coding."""
    zipped = gzip.compress(b"\0" * GROWN, 1)
    return {
        "gzip": zipped,
        "x-gzip": zipped,
        "deflate": _deflated(),
        "deflate raw": _deflated(raw=True),
        "gzip, gzip": gzip.compress(zipped),
    }


@pytest.mark.parametrize(
    "coding", ["gzip", "x-gzip", "deflate", "deflate raw", "gzip, gzip"]
)
async def test_a_decompression_bomb_is_stopped_at_the_cap(
    coding: str, bombs: dict[str, bytes], ask: Ask
) -> None:
    body = bombs[coding]
    line = b"Content-Encoding: " + coding.removesuffix(" raw").encode()
    tracemalloc.start()
    try:
        outcome = await ask(respond(http_response(body, line)), max_bytes=1024 * 1024)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Content that is not decoded cannot be parsed.
    assert isinstance(outcome, Failure) or outcome.body == body
    assert peak < GROWN / 4


@pytest.mark.parametrize(
    "coding", [b"br", b"zstd", b"compress", b"gzip, br", b"x" * 99]
)
async def test_an_unrequested_coding_is_a_failure_or_left_alone(
    coding: bytes, ask: Ask
) -> None:
    outcome = await ask(
        respond(http_response(b"hello", b"Content-Encoding: " + coding))
    )
    assert isinstance(outcome, Failure) or outcome.body == b"hello"


@pytest.mark.parametrize(
    "coding", [b"gzip", b"aws-chunked,gzip", b"aws-chunked\r\nContent-Encoding: x-gzip"]
)
async def test_compressed_content_is_read_although_not_requested(
    coding: bytes, ask: Ask
) -> None:
    packed = gzip.compress(b'{"tags":[]}')
    outcome = await ask(respond(http_response(packed, b"Content-Encoding: " + coding)))
    assert isinstance(outcome, Response)
    assert outcome.body == b'{"tags":[]}'


# -- slow responses ----------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(OK + b"X: a\r\n" * 100, id="in the head"),
        pytest.param(http_response(b"a" * 1000), id="in the body"),
        pytest.param(CHUNKED + b"1\r\na\r\n" * 100, id="in chunks"),
    ],
)
async def test_a_trickling_response_times_out(data: bytes, ask: Ask) -> None:
    # No pause is as long as the read timeout; the request has its own timeout.
    timeouts = replace(LONG_TIMEOUTS, request_s=0.25)
    outcome = await ask(drip(data, interval_s=0.02), timeouts=timeouts)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TIMEOUT
    assert "took longer than 0.25 s" in outcome.detail


# -- two responses to one request --------------------------------------------------


async def test_a_second_response_does_not_answer_the_next_request() -> None:
    """The second response to a request is not taken for that to the next request."""
    poisoned = http_response(b"good") + http_response(b"poison")
    async with (
        scripted_server(respond(poisoned, http_response(b"next"))) as server,
        transport_to(server.origin) as transport,
    ):
        outcome = [
            await transport.request(
                "GET", f"{server.url}/{number}", headers={}, max_bytes=CAP
            )
            for number in range(2)
        ]
    bodies = [one.body for one in outcome if isinstance(one, Response)]
    assert b"poison" not in bodies
    assert bodies[-1] == b"next"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Content-Length: 4\r\nContent-Length: 5",
        b"Content-Length: 4, 5",
        b"Content-Length: +4",
        b"Content-Length: 0x4",
        b"Content-Length: -4",
        b"Content-Length : 4",
        b"Transfer-Encoding: gzip, chunked, chunked",
        b"Transfer-Encoding: \x0bchunked",
    ],
)
async def test_a_response_with_two_lengths_does_not_poison_the_next(
    head: bytes,
) -> None:
    answers = (
        OK + head + b"\r\n\r\ngood" + http_response(b"poison"),
        http_response(b"next"),
    )
    async with (
        scripted_server(respond(*answers)) as server,
        transport_to(server.origin) as transport,
    ):
        outcome = [
            await transport.request(
                "GET", f"{server.url}/{number}", headers={}, max_bytes=CAP
            )
            for number in range(2)
        ]
    first, second = outcome
    assert isinstance(first, Failure) or first.body != b"good" + http_response(
        b"poison"
    )
    assert isinstance(second, Response)
    assert second.body == b"next"
