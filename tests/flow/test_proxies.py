"""Proxies: which requests go through them, and what they see."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from auditor.errors import UsageError
from auditor.registry.transport.aiohttp_client import AiohttpResolver
from tests.certificates import Authority
from tests.clock import advance_loop, settle
from tests.flow.forward_proxy import ForwardProxy, forward_proxy
from tests.flow.harness import ADMIN, Lab, lab, service, simple
from tests.support.fault_actions import Answer
from tests.support.silent_resolver import silent_resolver

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1", "team/app:2"]
# Names that only the proxy can resolve (RFC 2606 section 2).
REGISTRY, ELSEWHERE = "registry.test", "auth.test"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
PAIR = base64.b64encode(b"me:hunter2").decode()


@pytest.fixture(autouse=True)
def no_proxies_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@asynccontextmanager
async def behind_proxy(
    *, tls: Any = None, tokens: Any = None, **proxy: Any
) -> AsyncIterator[tuple[Lab, ForwardProxy]]:
    """A registry that is known as `REGISTRY`, to the proxy alone."""
    async with lab(simple(NAMES), tokens=tokens, tls=tls) as here:
        names = {REGISTRY: here.host, ELSEWHERE: here.host}
        here.host = REGISTRY
        async with forward_proxy(names, **proxy) as through:
            yield here, through


async def test_plain_http_requests_are_sent_to_the_proxy() -> None:
    async with behind_proxy(tokens=service()) as (here, through):
        outcome = await here.audit(
            *map(here.ref, NAMES), proxy=f"http://{through.address}", plain_http=True
        )
        assert here.faults.count() == len(through.seen)
    assert outcome.kinds == ["image", "image"]
    assert through.seen[0] == f"GET http://{REGISTRY}/v2/"


async def test_https_goes_through_a_tunnel_without_secrets(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server(REGISTRY)
    async with behind_proxy(tls=tls, tokens=service()) as (here, through):
        outcome = await here.audit(
            *map(here.ref, NAMES),
            proxy=f"http://{through.address}",
            ca_file=str(authority.file),
        )
        assert here.faults.count("GET", "/token") == 1
    assert outcome.kinds == ["image", "image"]
    assert set(through.seen) == {f"CONNECT {REGISTRY}:443"}
    assert "Authorization" not in "".join(through.heads)


@pytest.mark.parametrize("over_tls", [False, True])
async def test_the_proxy_can_be_reached_over_https(
    tmp_path: Path, over_tls: bool
) -> None:
    authority = Authority(tmp_path)
    async with (
        lab(
            simple(NAMES), tls=authority.server(REGISTRY) if over_tls else None
        ) as here,
        forward_proxy(
            {REGISTRY: here.host}, tls=authority.server("127.0.0.1")
        ) as through,
    ):
        here.host = REGISTRY
        outcome = await here.audit(
            *map(here.ref, NAMES),
            proxy=f"https://{through.address}",
            ca_file=str(authority.file),
            plain_http=not over_tls,
        )
        assert through.seen
    assert outcome.kinds == ["image", "image"]


@pytest.mark.parametrize("over_tls", [False, True])
async def test_the_password_of_the_proxy_is_sent_to_the_proxy_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over_tls: bool
) -> None:
    authority = Authority(tmp_path)
    settings: dict[str, Any] = {"plain_http": True}
    tls = None
    if over_tls:
        tls = authority.server(REGISTRY)
        settings = {"ca_file": str(authority.file)}
    async with behind_proxy(
        tls=tls, tokens=service(), authorization=f"Basic {PAIR}"
    ) as (here, through):
        variable = "HTTPS_PROXY" if over_tls else "HTTP_PROXY"
        monkeypatch.setenv(variable, f"http://me:hunter2@{through.address}")
        outcome = await here.audit(*map(here.ref, NAMES), **settings)
        for one in here.faults.log:
            assert "Proxy-Authorization" not in one.headers
            assert one.headers.get("Authorization") != f"Basic {PAIR}"
    assert outcome.kinds == ["image", "image"]
    assert "hunter2" not in repr(outcome)
    assert PAIR not in repr(outcome)


@pytest.mark.parametrize("scheme", ["https", "httPs", "HTTPS"])
async def test_a_scheme_in_capitals_does_not_leak_the_password_of_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """The proxy knows who asks; its password was sent through the tunnel as well."""
    authority = Authority(tmp_path)
    tls = authority.server(REGISTRY)
    async with behind_proxy(tls=tls, tokens=service()) as (here, through):
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@{through.address}")
        to = f"{scheme}://{REGISTRY}/v2/team/app/manifests/2"
        here.faults.on("GET", "*/manifests/1", Answer(307, {"Location": to}))
        realm = f'Bearer realm="{scheme}://{REGISTRY}/token",service="demo"'
        here.faults.on("GET", "/v2/", Answer(401, {"WWW-Authenticate": realm}))
        outcome = await here.audit(here.ref(NAMES[0]), ca_file=str(authority.file))
        assert here.faults.count("GET", "*/manifests/2") == 1
        for one in here.faults.log:
            assert "Proxy-Authorization" not in one.headers
    assert outcome.kinds == ["image"]


@pytest.mark.parametrize("over_tls", [False, True])
async def test_a_407_says_where_the_password_of_the_proxy_goes(over_tls: bool) -> None:
    settings: dict[str, Any] = {} if over_tls else {"plain_http": True}
    async with behind_proxy(authorization=f"Basic {PAIR}") as (here, through):
        url = f"http://{through.address}"
        failure = (await here.audit(here.ref(NAMES[0]), proxy=url, **settings)).failure
    assert (failure.failure, failure.status) == ("denied", 407)
    assert failure.detail == (
        f"the proxy http://{through.address} (proxy) refused to connect (407);"
        " put the proxy's user name and password into HTTPS_PROXY"
        " (http://USER:PASSWORD@HOST:PORT)"
    )


async def test_a_proxy_that_cannot_reach_the_registry_is_named() -> None:
    async with behind_proxy(refuses=504) as (here, through):
        failure = (
            await here.audit(
                here.ref(NAMES[0]), proxy=f"http://{through.address}", tries=1
            )
        ).failure
    assert (failure.failure, failure.status) == ("server_error", 504)
    assert "refused to connect (504)" in failure.detail


async def test_an_unreachable_proxy_is_named() -> None:
    async with behind_proxy() as (here, through):
        pass
    failure = (
        await here.audit(here.ref(NAMES[0]), proxy=f"http://{through.address}", tries=1)
    ).failure
    assert failure.failure == "connect"
    assert f"no connection to the proxy http://{through.address}" in failure.detail


async def test_loopback_is_reached_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lab(simple(NAMES)) as here, forward_proxy({}) as through:
        monkeypatch.setenv("ALL_PROXY", through.address)
        assert (await here.audit(here.ref(NAMES[0]))).kinds == ["image"]
        assert through.seen == []


async def test_an_unsupported_proxy_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://me:hunter2@127.0.0.1:1080")
    async with lab(simple(NAMES)) as here:
        assert (await here.audit(here.ref(NAMES[0]))).kinds == ["image"]
        here.host = REGISTRY
        with pytest.raises(ExceptionGroup) as caught:
            await here.audit(here.ref(NAMES[0]))
    message = str(leaf(caught.value))
    assert message.startswith("ALL_PROXY names a proxy that is neither http nor https")
    assert "hunter2" not in message


def leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, UsageError)
    return error


# -- what a registry names is checked behind a proxy, too --------------------------


async def test_a_token_service_resolved_by_the_proxy_must_prove_its_name(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    tokens = service(realm=f"https://{ELSEWHERE}/token")
    tls = authority.server(REGISTRY, ELSEWHERE)
    async with behind_proxy(tls=tls, tokens=tokens) as (here, through):
        settings: dict[str, Any] = {
            "proxy": f"http://{through.address}",
            "ca_file": str(authority.file),
        }
        outcome = await here.audit(here.ref(NAMES[0]), **settings)
        assert f"CONNECT {ELSEWHERE}:443" in through.seen
    assert outcome.kinds == ["image"]
    # A host without a certificate for the name gets no request.
    tls = authority.server(REGISTRY)
    async with behind_proxy(tls=tls, tokens=tokens) as (here, through):
        settings["proxy"] = f"http://{through.address}"
        failure = (await here.audit(here.ref(NAMES[0]), **settings)).failure
        assert here.faults.count("GET", "/token") == 0
    assert failure.failure == "tls"


async def test_a_name_that_only_the_proxy_resolves_is_looked_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Behind a proxy, the DNS server often does not even refuse.
    silent = "silent-auth.test"
    names = [f"team/app{number}:1" for number in range(6)]
    authority = Authority(tmp_path)
    tls = authority.server(REGISTRY, silent)
    tokens = service(realm=f"https://{silent}/token")
    waited: list[str] = []
    resolve = AiohttpResolver.resolve

    async def counted(self: AiohttpResolver, host: str, *more: Any) -> Any:
        waited.append(host)
        return await resolve(self, host, *more)

    monkeypatch.setattr(AiohttpResolver, "resolve", counted)
    async with lab(simple(names), tokens=tokens, tls=tls) as here:
        hosts = {REGISTRY: here.host, silent: here.host}
        here.host = REGISTRY
        async with forward_proxy(hosts) as through:
            with silent_resolver() as resolver:

                async def time_out() -> None:
                    while silent not in resolver.asked:
                        await anyio.lowlevel.checkpoint()
                    await settle()
                    advance_loop(60)

                async with anyio.create_task_group() as group:
                    group.start_soon(time_out)
                    outcome = await here.audit(
                        *map(here.ref, names),
                        proxy=f"http://{through.address}",
                        ca_file=str(authority.file),
                        connect_timeout_s=60,
                        workers=1,
                    )
                assert resolver.asked.count(silent) == 1
    assert outcome.kinds == ["image"] * 6
    assert here.faults.count("GET", "/token") == 6
    assert waited.count(silent) < 6


async def test_a_plain_http_token_service_resolved_by_the_proxy_is_refused() -> None:
    tokens = service(realm=f"http://{ELSEWHERE}/token")
    async with behind_proxy(tokens=tokens) as (here, through):
        settings: dict[str, Any] = {
            "proxy": f"http://{through.address}",
            "plain_http": True,
        }
        failure = (await here.audit(here.ref(NAMES[0]), **settings)).failure
        assert here.faults.count("GET", "/token") == 0
        assert failure.failure == "realm_refused"
        assert "its address cannot be checked" in failure.detail
        settings["realm_hosts"] = (ELSEWHERE,)
        outcome = await here.audit(here.ref(NAMES[0]), **settings)
    assert outcome.kinds == ["image"]


@pytest.mark.parametrize(
    "realm", ["http://localhost:1/token", "http://169.254.169.254/"]
)
async def test_a_refused_address_is_not_requested_through_a_proxy(realm: str) -> None:
    async with behind_proxy(tokens=service()) as (here, through):
        challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="demo"'}
        here.faults.on("GET", "/v2/", Answer(401, challenge), forever=True)
        settings: dict[str, Any] = {
            "proxy": f"http://{through.address}",
            "plain_http": True,
        }
        failure = (await here.audit(here.ref(NAMES[0]), **settings)).failure
        assert len(through.seen) == 1
    assert failure.failure == "realm_refused"
    assert ADMIN.password not in repr(failure)
