"""Runs a sandbox application on the loopback interface.

    content = Content()
    content.add("team/app", index([image("app"), image("app", platform="linux/arm64")]),
                "latest")
    accounts = [Account("admin", "secret", {"*": ("*",)})]
    app = registry_app(content, access=Bearer(TokenService(accounts=accounts)))
    async with serve(app) as base_url:          # "http://127.0.0.1:40123"
        ...

Tests without an event loop of their own use `serve_in_thread` the same way.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

HOST = "127.0.0.1"
# At the end nobody is waited for: a handler that still runs is held by a fault.
_SHUTDOWN_TIMEOUT_S = 0.1


@asynccontextmanager
async def serve(
    app: web.Application,
    *,
    host: str = HOST,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Serve `app` in this event loop; yields its base URL. Port 0 is any free one.

    Handlers are cancelled when their client goes away. Raises OSError for a port
    that is taken.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,
        shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls)
        await site.start()
        bound = runner.addresses[0][1]
        yield f"{'https' if tls else 'http'}://{host}:{bound}"
    finally:
        await runner.cleanup()


@contextmanager
def serve_in_thread(
    app: web.Application,
    *,
    host: str = HOST,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """Serve `app` from an event loop in a thread of its own; yields its base URL."""
    url = ""
    failure: BaseException | None = None
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready = threading.Event()

    async def run() -> None:
        nonlocal url
        async with serve(app, host=host, port=port, tls=tls) as base_url:
            url = base_url
            ready.set()
            await stop.wait()

    def main() -> None:
        nonlocal failure
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(run())
        except BaseException as exc:  # noqa: BLE001
            failure = exc
        finally:
            ready.set()

    thread = threading.Thread(target=main, name="sandbox", daemon=True)
    thread.start()
    ready.wait()
    if failure is not None:
        thread.join()
        raise failure
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
