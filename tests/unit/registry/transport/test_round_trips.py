"""What counts as the round trip of a request, in both clients."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from auditor.demo.demo_registry import serve
from auditor.registry.transport import aiohttp_client, http1, http1_connection
from auditor.registry.transport.aiohttp_client import _Connector
from auditor.registry.transport.http1 import Dialer
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.transport import Transport
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of

pytestmark = pytest.mark.anyio


class _Time:
    """Passes only where the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> _Time:
    time = _Time()
    for module in (aiohttp_client, http1, http1_connection):
        monkeypatch.setattr(module, "monotonic", time)
    return time


async def _round_trips(time: _Time, *paths: str, use_http1: bool) -> list[float | None]:
    """Those of requests to a host that takes 2 s for a redirect and 3 s otherwise."""

    async def here(_: web.Request) -> web.Response:
        time.now += 3
        return web.Response(text="here")

    async def moved(_: web.Request) -> web.Response:
        time.now += 2
        return web.Response(status=307, headers={"Location": "/"})

    app = web.Application()
    app.add_routes([web.get("/", here), web.get("/moved", moved)])
    found = []
    async with serve(app) as url:
        transport = Transport(
            origin=origin_of(url),
            max_in_flight=4,
            timeouts=Timeouts(connect_s=30, read_s=30, request_s=30),
            use_http1=use_http1,
        )
        for path in paths:
            response = await transport.request(
                "GET", url + path, headers={}, max_bytes=100
            )
            assert isinstance(response, Response)
            found.append(response.round_trip_s)
        await transport.aclose()
    return found


@pytest.mark.parametrize("use_http1", [True, False])
async def test_a_redirect_is_a_part_of_the_round_trip(
    time: _Time, use_http1: bool
) -> None:
    found = await _round_trips(time, "/", "/moved", use_http1=use_http1)
    assert found == [3, 5]


@pytest.mark.parametrize("use_http1", [True, False])
async def test_a_new_connection_is_no_part_of_the_round_trip(
    time: _Time, use_http1: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, dial = _Connector._create_connection, Dialer.dial

    async def slow_connect(*arguments: Any) -> Any:
        time.now += 7
        return await connect(*arguments)

    async def slow_dial(*arguments: Any) -> Any:
        time.now += 7
        return await dial(*arguments)

    monkeypatch.setattr(_Connector, "_create_connection", slow_connect)
    monkeypatch.setattr(Dialer, "dial", slow_dial)
    assert await _round_trips(time, "/", "/", use_http1=use_http1) == [3, 3]
    assert time.now == 1000 + 7 + 3 + 3
