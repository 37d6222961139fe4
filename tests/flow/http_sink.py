"""An HTTP server that records what it is sent, for notifications and metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from auditor.demo.demo_registry import serve


@dataclass
class Sink:
    """The URL of the server, and each request: method, path with query, body."""

    url: str = ""
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.seen]


@asynccontextmanager
async def http_sink(status: int = 200) -> AsyncIterator[Sink]:
    """A server that answers every request with this status."""
    sink = Sink()

    async def receive(request: web.Request) -> web.Response:
        sink.seen.append((request.method, request.path_qs, await request.read()))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receive)
    async with serve(app) as url:
        sink.url = url
        yield sink
