"""A request for which no kept connection may be reused, in both clients."""

from __future__ import annotations

import pytest
from aiohttp import web

from auditor.demo.demo_registry import serve
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.transport import Transport
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("use_http1", [True, False])
@pytest.mark.parametrize("path", ["/", "/moved"])
async def test_a_new_connection_is_new_also_after_a_redirect(
    path: str, use_http1: bool
) -> None:
    ports: list[int] = []

    async def here(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response(text="here")

    async def moved(request: web.Request) -> web.Response:
        await here(request)
        return web.Response(status=307, headers={"Location": "/"})

    app = web.Application()
    app.add_routes([web.get("/", here), web.get("/moved", moved)])
    async with serve(app) as url:
        transport = Transport(
            origin=origin_of(url),
            max_in_flight=4,
            timeouts=Timeouts(connect_s=30, read_s=30, request_s=30),
            use_http1=use_http1,
        )
        for new_connection in (False, False, True, True):
            response = await transport.request(
                "GET",
                url + path,
                headers={},
                max_bytes=100,
                new_connection=new_connection,
            )
            assert isinstance(response, Response)
        await transport.aclose()
    hops = 1 if path == "/" else 2
    kept, new = ports[: 2 * hops], ports[2 * hops :]
    assert len(set(kept)) == 1
    assert len(set(new) - set(kept)) == len(new) == 2 * hops
