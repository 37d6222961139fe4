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

import orjson
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
    DemoRepository,
    error,
    serve,
)
from auditor.demo.demo_tokens import (
    DemoAccount,
    basic_credential,
    split_scope,
    unauthorized,
)
from auditor.demo.image_builder import BuiltManifest, Family


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
        return error(403, "DENIED", "requested access is denied")

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
    """The demo's registry with a `Behaviour`, and distribution's negotiation."""

    def __init__(self, content: DemoContent, behaviour: Behaviour) -> None:
        super().__init__(content)
        self.behaviour = behaviour
        self.max_page = behaviour.max_page
        self.default_page = behaviour.default_page

    def manifest_response(
        self, request: web.Request, repository: DemoRepository, manifest: BuiltManifest
    ) -> web.Response:
        chosen = negotiate(
            repository,
            manifest,
            accepts=_accepted_types(request.headers.getall("Accept", [])),
            by_tag=request.match_info["reference"] in repository.tags,
        )
        if isinstance(chosen, web.Response):
            return chosen
        response = super().manifest_response(request, repository, chosen)
        if not self.behaviour.digest_header:
            del response.headers["Docker-Content-Digest"]
        return response

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


# -- negotiation, as in distribution's registry/handlers/manifests.go -------------


def _accepted_types(accept: Iterable[str]) -> set[str]:
    """The media types of all `Accept` lines, without parameters (RFC 9110 12.5.1)."""
    return {
        item.partition(";")[0].strip().lower()
        for line in accept
        for item in line.split(",")
    }


def negotiate(
    repository: DemoRepository,
    manifest: BuiltManifest,
    *,
    accepts: set[str],
    by_tag: bool,
) -> BuiltManifest | web.Response:
    """The manifest to return, or the error if none is acceptable.

    OCI types must be accepted. Docker types are converted, for tags only: of a list,
    the linux/amd64 child is returned.
    """
    if manifest.media_type in accepts:
        return manifest
    if manifest.media_type == Family.OCI.manifest:
        return _not_accepted("OCI manifest", "OCI manifests")
    if manifest.media_type == Family.OCI.index:
        return _not_accepted("OCI index", "OCI indexes")
    if not by_tag:
        return manifest
    if manifest.media_type == Family.DOCKER.index:
        child = _default_child(repository, manifest)
        if child is None:
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        manifest = child
    # Distribution does not check whether the client accepts an OCI child.
    if manifest.media_type != Family.DOCKER.manifest or manifest.media_type in accepts:
        return manifest
    # Distribution converts a Docker manifest to schema 1 for a client that accepts
    # nothing newer. That takes the layers' bytes; without them it responds with this.
    return error(400, "MANIFEST_INVALID", "manifest invalid")


def _not_accepted(found: str, kind: str) -> web.Response:
    message = f"{found} found, but accept header does not support {kind}"
    return error(404, "MANIFEST_UNKNOWN", message)


def _default_child(
    repository: DemoRepository, manifest_list: BuiltManifest
) -> BuiltManifest | None:
    """The linux/amd64 entry of a Docker manifest list, if it exists."""
    for entry in orjson.loads(manifest_list.raw)["manifests"]:
        platform = entry.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
            return repository.manifests.get(entry["digest"])
    return None
