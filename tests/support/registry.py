"""A registry with the behaviour of other products, and with Basic authentication.

app = registry_app(content, access=Basic([account]), behaviour=Behaviour(links=False))
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Middleware

from auditor.demo import demo_registry
from auditor.demo.demo_registry import (
    DEFAULT_PAGE,
    HOST,
    MAX_PAGE,
    AccessControl,
    DemoContent,
    DemoRegistry,
    serve,
)
from auditor.demo.demo_tokens import (
    DemoAccount,
    basic_credential,
    split_scope,
    unauthorized,
)
from auditor.demo.image_builder import BuiltManifest


@dataclass(frozen=True, slots=True)
class Basic:
    """Basic authentication at the registry itself."""

    accounts: Iterable[DemoAccount]
    challenge: str = 'Basic realm="demo registry"'

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        """401 for an unknown user; 403 for a user without the grant."""
        credential = basic_credential(request)
        for account in self.accounts:
            if (account.name, account.password) == credential:
                break
        else:
            return unauthorized(self.challenge)
        if scope is None:
            return None
        _, name, actions = split_scope(scope)
        if account.granted(name, actions):
            return None
        error = {"code": "DENIED", "message": "requested access is denied"}
        return web.json_response({"errors": [error]}, status=403)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What differs between registries.

    `tags_pages` False is distribution 2.8, which ignores `n` for tags. `max_page`
    limits a page: more is refused (400) for the catalog and reduced for tags.
    `absolute_links` puts whole URLs into `Link`; without `links` there is none, so that
    a listing is truncated silently. `referrers_page` is the number of referrers in a
    response, None for all.
    """

    tags_pages: bool = True
    default_page: int = DEFAULT_PAGE
    max_page: int = MAX_PAGE
    absolute_links: bool = False
    links: bool = True
    digest_header: bool = True
    referrers: bool = True
    referrers_page: int | None = None


class BehavingRegistry(DemoRegistry):
    """The demo's registry with a `Behaviour`."""

    def __init__(self, content: DemoContent, behaviour: Behaviour) -> None:
        super().__init__(content)
        self.behaviour = behaviour
        self.max_page = behaviour.max_page
        self.default_page = behaviour.default_page

    def manifest_headers(self, manifest: BuiltManifest) -> dict[str, str]:
        headers = super().manifest_headers(manifest)
        if not self.behaviour.digest_header:
            del headers["Docker-Content-Digest"]
        return headers

    async def tags(self, request: web.Request) -> web.Response:
        repository = self.repository(request)
        if repository is None or self.behaviour.tags_pages:
            return await super().tags(request)
        name = request.match_info["name"]
        return web.json_response({"name": name, "tags": sorted(repository.tags)})

    async def referrers(self, request: web.Request) -> web.Response:
        if not self.behaviour.referrers:
            return web.Response(status=404, text="404 page not found\n")
        return await super().referrers(request)

    def referrers_response(
        self,
        request: web.Request,
        referrers: list[BuiltManifest],
        headers: dict[str, str],
    ) -> web.Response:
        first = int(request.query.get("first", "0"))
        after = first + (self.behaviour.referrers_page or len(referrers))
        if after < len(referrers):
            headers["Link"] = f'<{request.path}?first={after}>; rel="next"'
        return super().referrers_response(request, referrers[first:after], headers)

    def link(self, request: web.Request, target: str) -> dict[str, str]:
        if not self.behaviour.links:
            return {}
        if self.behaviour.absolute_links:
            target = f"{request.scheme}://{request.host}{target}"
        return super().link(request, target)


def registry_app(
    content: DemoContent,
    *,
    access: AccessControl | None = None,
    behaviour: Behaviour | None = None,
    routes: Iterable[web.AbstractRouteDef] = (),
    middlewares: Iterable[Middleware] = (),
) -> web.Application:
    """A registry with this content; changes to it show at once.

    Without `access`, every request is allowed. `routes` are those of a product's API;
    `middlewares` get every request (`Faults.middleware`).
    """
    registry = BehavingRegistry(content, behaviour or Behaviour())
    return demo_registry.registry_app(
        registry, access=access, routes=routes, middlewares=middlewares
    )


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
        except BaseException as exc:  # noqa: BLE001 - raised again in the caller's thread
            failure = exc
        finally:
            ready.set()

    thread = threading.Thread(target=main, name="registry", daemon=True)
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
