"""The embedded registry: reading, as docker-registry 2.8 does it, out of memory.

OCI distribution spec 1.1: ping, manifests, blobs, tags, referrers; the catalog is
distribution's. Negotiation of manifests follows distribution 2.8
(`registry/handlers/manifests.go`): a Docker list that the client does not accept is
answered with its linux/amd64 child and that child's digest.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import field
from typing import Any, Protocol
from urllib.parse import quote

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from auditor.demo.images import (
    Blob,
    BuiltImage,
    BuiltManifest,
    Family,
    Placed,
    manifest_descriptor,
)
from auditor.demo.tokens import (
    Account,
    TokenService,
    basic_credential,
    split_scope,
    unauthorized,
)
from auditor.fast_dataclass import dataclass

# -- access --
# How a sandbox registry decides whether a request may pass.
#
# Distribution docs, "Configuring a registry: auth", and the challenges of its
# `silly`, `htpasswd` and `token` access controllers (RFC 6750, RFC 7617).


class Access(Protocol):
    """An access controller."""

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        """The answer to a request that may not have this scope; None lets it pass.

        The scope is None for `/v2/`, which anyone with a valid credential may ask.
        """

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The routes that this controller adds to the registry's own."""


class Open:
    """Everyone may read everything."""

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        """Never."""
        del request, scope
        return None

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """None."""
        return ()


@dataclass(frozen=True, slots=True)
class Basic:
    """Basic authentication at the registry itself."""

    accounts: Iterable[Account]
    challenge: str = 'Basic realm="sandbox registry"'

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        """401 for an unknown user; 403 for a user without the grant."""
        credential = basic_credential(request)
        for one in self.accounts:
            if (one.name, one.password) == credential:
                break
        else:
            return unauthorized(self.challenge)
        if scope is None:
            return None
        _, name, actions = split_scope(scope)
        if one.granted(name, actions):
            return None
        error = {"code": "DENIED", "message": "requested access is denied"}
        return web.json_response({"errors": [error]}, status=403)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """None."""
        return ()


@dataclass(frozen=True, slots=True)
class Bearer:
    """Tokens of a token service, which is served at the registry's own origin.

    Where the service's `realm` is a whole URL, the challenge names that.
    """

    tokens: TokenService

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        """401 with a Bearer challenge, as distribution's token controller says it."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        error = None
        if scheme.lower() == "bearer":
            if scope is None:
                allowed = None if self.tokens.claims(token) is None else True
            else:
                allowed = self.tokens.allows(token, scope)
            if allowed:
                return None
            error = "invalid_token" if allowed is None else "insufficient_scope"
        return unauthorized(self._challenge(request, scope, error), _detail(scope))

    def _challenge(
        self, request: web.Request, scope: str | None, error: str | None
    ) -> str:
        # Under the name that the client used, as a proxy in front would have it.
        origin = URL(f"{request.scheme}://{request.host}")
        parameters = {
            "realm": str(origin.join(URL(self.tokens.realm))),
            "service": self.tokens.service,
            "scope": scope,
            "error": error,
        }
        return "Bearer " + ",".join(
            f'{name}="{value}"' for name, value in parameters.items() if value
        )

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The token service's routes."""
        return self.tokens.routes()


def _detail(scope: str | None) -> object:
    if scope is None:
        return None
    kind, name, actions = split_scope(scope)
    return [
        {"Type": kind, "Class": "", "Name": name, "Action": action}
        for action in actions
    ]


# -- content --
# What an in-memory registry holds: repositories of manifests, tags and blobs.


@dataclass(slots=True)
class Repository:
    """One repository. Change its dictionaries freely: every request reads them."""

    manifests: dict[str, BuiltManifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, Blob] = field(default_factory=dict)
    # Layers have sizes here and no bytes.
    layer_sizes: dict[str, int] = field(default_factory=dict)

    def add(self, image: BuiltImage, tags: Iterable[str] = ()) -> BuiltImage:
        """Put an image here, under these tags; returns it."""
        self.manifests.update((one.digest, one) for one in image.manifests)
        self.blobs.update((one.digest, one) for one in image.blobs)
        self.tags.update(dict.fromkeys(tags, image.root.digest))
        self.layer_sizes.update(
            (layer.digest, layer.size or 0)
            for platform in image.truth.platforms
            for layer in platform.layers or ()
        )
        return image

    def find(self, reference: str) -> BuiltManifest | None:
        """The manifest of a tag or a digest."""
        return self.manifests.get(self.tags.get(reference, reference))

    def referrers(self, digest: str) -> list[BuiltManifest]:
        """The manifests whose subject is this digest, in the order they were added."""
        return [one for one in self.manifests.values() if one.subject == digest]


@dataclass(slots=True)
class Content:
    """Everything that one registry holds, by repository name."""

    repositories: dict[str, Repository] = field(default_factory=dict)

    @classmethod
    def of(cls, *sets: Iterable[Placed]) -> Content:
        """A registry that holds these images."""
        content = cls()
        for placed in sets:
            content.place(placed)
        return content

    def repository(self, name: str) -> Repository:
        """The repository of this name, made if it is new."""
        return self.repositories.setdefault(name, Repository())

    def add(self, repository: str, image: BuiltImage, *tags: str) -> BuiltImage:
        """Put an image into a repository, under tags; returns it."""
        return self.repository(repository).add(image, tags)

    def place(self, images: Iterable[Placed]) -> None:
        """Put many images into their repositories."""
        for one in images:
            self.add(one.repository, one.image, *one.tags)


# -- negotiate --
# Which manifest a registry answers, given what the client accepts.
#
# As distribution 2.8 decides it (`registry/handlers/manifests.go`). It converts a
# Docker manifest to schema 1 for a client that accepts nothing newer, where it has the
# layers; there are none here, and what it answers then is MANIFEST_INVALID.


@dataclass(frozen=True, slots=True)
class Refusal:
    """A manifest that is there, but not for this client."""

    status: int
    code: str
    message: str


_NO_OCI_MANIFESTS = Refusal(
    404,
    "MANIFEST_UNKNOWN",
    "OCI manifest found, but accept header does not support OCI manifests",
)
_NO_OCI_INDEXES = Refusal(
    404,
    "MANIFEST_UNKNOWN",
    "OCI index found, but accept header does not support OCI indexes",
)
_NO_CHILD = Refusal(404, "MANIFEST_UNKNOWN", "manifest unknown")
_NOT_CONVERTED = Refusal(400, "MANIFEST_INVALID", "manifest invalid")


def accepted_types(accept: Iterable[str]) -> set[str]:
    """The media types of all `Accept` lines, without parameters (RFC 9110 12.5.1)."""
    return {
        item.partition(";")[0].strip().lower()
        for line in accept
        for item in line.split(",")
    }


def negotiate(
    repository: Repository, found: BuiltManifest, *, accepts: set[str], by_tag: bool
) -> BuiltManifest | Refusal:
    """The manifest to answer.

    OCI types must be accepted. Docker types are rewritten, for tags only: a list
    becomes its linux/amd64 child.
    """
    if found.media_type in accepts:
        return found
    if found.media_type == Family.OCI.manifest:
        return _NO_OCI_MANIFESTS
    if found.media_type == Family.OCI.index:
        return _NO_OCI_INDEXES
    if not by_tag:
        return found
    if found.media_type == Family.DOCKER.manifest:
        return _NOT_CONVERTED
    if found.media_type != Family.DOCKER.index:
        return found
    child = _default_child(repository, found)
    # Distribution does not ask whether the client accepts an OCI child.
    if child is None or child.media_type != Family.DOCKER.manifest:
        return child or _NO_CHILD
    return child if child.media_type in accepts else _NOT_CONVERTED


def _default_child(
    repository: Repository, manifest_list: BuiltManifest
) -> BuiltManifest | None:
    """The linux/amd64 entry of a Docker manifest list, if the registry has it."""
    for entry in orjson.loads(manifest_list.raw)["manifests"]:
        platform = entry.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
            return repository.manifests.get(entry["digest"])
    return None


# OCI distribution spec 1.1, "Pulling manifests": <name>, here with upper case let
# through to be refused by what is stored.
_NAME = r"{name:[A-Za-z0-9]+(?:[._/-]+[A-Za-z0-9]+)*}"
_DEFAULT_PAGE = 100
_MAX_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Where registries differ.

    `tags_pages` False is distribution 2.8, which ignores `n` for tags; `max_page`
    caps a page: more is refused (400) for the catalog and cut for tags.
    `referrers_page` is how many referrers an answer holds, null: all.
    `absolute_links` writes whole URLs into `Link`, which without `links` is
    left out: the list is cut and nobody is told. `digest_header` can be left out.
    """

    tags_pages: bool = True
    default_page: int = _DEFAULT_PAGE
    max_page: int = _MAX_PAGE
    absolute_links: bool = False
    links: bool = True
    digest_header: bool = True
    referrers: bool = True
    referrers_page: int | None = None


def registry_app(
    content: Content,
    *,
    access: Access | None = None,
    behaviour: Behaviour | None = None,
    routes: Iterable[web.AbstractRouteDef] = (),
    middlewares: Iterable[Middleware] = (),
) -> web.Application:
    """A registry that serves `content`; changes to it show at once.

    `routes` are a product's own, such as its API; they come first.

    `middlewares` see every request first, unknown paths too (`Faults.middleware`).
    """
    access = access or Open()
    registry = _Registry(content=content, behaviour=behaviour or Behaviour())
    app = web.Application(middlewares=[*middlewares, _version_header])
    app.add_routes(access.routes())
    app.add_routes(routes)
    for path, scope, handler in (
        ("/v2/", None, registry.ping),
        ("/v2/_catalog", "registry:catalog:*", registry.catalog),
        (f"/v2/{_NAME}/tags/list", "repository:{name}:pull", registry.tags),
        (
            f"/v2/{_NAME}/manifests/{{reference}}",
            "repository:{name}:pull",
            registry.manifest,
        ),
        (f"/v2/{_NAME}/blobs/{{digest}}", "repository:{name}:pull", registry.blob),
        (
            f"/v2/{_NAME}/referrers/{{digest}}",
            "repository:{name}:pull",
            registry.referrers,
        ),
    ):
        # `web.get` answers HEAD too.
        app.add_routes([web.get(path, _guarded(handler, access, scope))])
    return app


def _guarded(handler: Handler, access: Access, scope: str | None) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", "")
        wanted = scope and scope.replace("{name}", name)
        return access.refusal(request, wanted) or await handler(request)

    return guarded


@web.middleware
async def _version_header(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
    return response


def error(status: int, code: str, message: str, detail: object = None) -> web.Response:
    """An error body (OCI distribution spec 1.1, "Error Codes")."""
    errors = [{"code": code, "message": message, "detail": detail}]
    return web.json_response({"errors": errors}, status=status)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Registry:
    content: Content
    behaviour: Behaviour

    async def ping(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({})

    async def manifest(self, request: web.Request) -> web.Response:
        reference = request.match_info["reference"]
        repository = self._repository(request)
        manifest = repository.find(reference) if repository else None
        if repository is None or manifest is None:
            by_digest = reference.startswith("sha256:")
            detail = {"Revision" if by_digest else "Tag": reference}
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown", detail)
        answer = negotiate(
            repository,
            manifest,
            accepts=accepted_types(request.headers.getall("Accept", [])),
            by_tag=reference in repository.tags,
        )
        if isinstance(answer, Refusal):
            return error(answer.status, answer.code, answer.message)
        headers = {"Content-Type": answer.media_type, "Etag": f'"{answer.digest}"'}
        if self.behaviour.digest_header:
            headers["Docker-Content-Digest"] = answer.digest
        if request.headers.get("If-None-Match", "").strip('"') == answer.digest:
            return web.Response(status=304, headers=headers)
        return web.Response(body=answer.raw, headers=headers)

    async def blob(self, request: web.Request) -> web.Response:
        digest = request.match_info["digest"]
        repository = self._repository(request)
        blob = repository.blobs.get(digest) if repository else None
        if blob is None:
            size = repository.layer_sizes.get(digest) if repository else None
            if size is not None and (answer := _layer(request, digest, size)):
                return answer
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry", digest)
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "Etag": f'"{digest}"',
        }
        return web.Response(body=blob.content, headers=headers)

    async def tags(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        repository = self._repository(request)
        if repository is None:
            return error(
                404,
                "NAME_UNKNOWN",
                "repository name not known to registry",
                {"name": name},
            )
        tags = sorted(repository.tags)
        if not self.behaviour.tags_pages:
            return web.json_response({"name": name, "tags": tags})
        count = request.query.get("n", "")
        if count and not count.isdecimal():
            return _bad_page_size(count)
        page = min(int(count), self.behaviour.max_page) if count else len(tags)
        return self._page(request, "tags", tags, page, name=name)

    async def catalog(self, request: web.Request) -> web.Response:
        count = request.query.get("n", "")
        page = int(count) if count.isdecimal() else self.behaviour.default_page
        if page > self.behaviour.max_page:
            return _bad_page_size(count)
        names = sorted(self.content.repositories)
        return self._page(request, "repositories", names, page)

    async def referrers(self, request: web.Request) -> web.Response:
        repository = self._repository(request)
        if not self.behaviour.referrers:
            return web.Response(status=404, text="404 page not found\n")
        found = repository.referrers(request.match_info["digest"]) if repository else []
        wanted = request.query.get("artifactType")
        if wanted is not None:
            found = [one for one in found if one.artifact_type == wanted]
        headers = {"OCI-Filters-Applied": "artifactType"} if wanted else {}
        first = int(request.query.get("first", "0"))
        after = first + (self.behaviour.referrers_page or len(found))
        if after < len(found):
            headers["Link"] = f'<{request.path}?first={after}>; rel="next"'
        found = found[first:after]
        document = {
            "schemaVersion": 2,
            "mediaType": Family.OCI.index,
            "manifests": [_referrer(one) for one in found],
        }
        return web.json_response(
            document, content_type=Family.OCI.index, headers=headers
        )

    def _repository(self, request: web.Request) -> Repository | None:
        return self.content.repositories.get(request.match_info["name"])

    def _page(
        self,
        request: web.Request,
        key: str,
        entries: list[str],
        page: int,
        **others: str,
    ) -> web.Response:
        """One page of sorted names, after `last`, with a link to the next one."""
        last = request.query.get("last", "")
        rest = [one for one in entries if one > last]
        shown = rest[:page]
        headers = {}
        if shown and len(rest) > page:
            link = f"{request.path}?last={quote(shown[-1], safe='')}&n={page}"
            if self.behaviour.absolute_links:
                link = f"{request.scheme}://{request.host}{link}"
            if self.behaviour.links:
                headers["Link"] = f'<{link}>; rel="next"'
        return web.json_response({**others, key: shown}, headers=headers)


def _layer(request: web.Request, digest: str, size: int) -> web.Response | None:
    """What can be told of a layer without its bytes; null for who wants them."""
    headers = {"Docker-Content-Digest": digest}
    if request.method == "HEAD":
        return web.Response(headers={**headers, "Content-Length": str(size)})
    if request.headers.get("Range") != "bytes=0-0":
        return None
    if size == 0:
        return web.Response(status=416, headers={"Content-Range": "bytes */0"})
    headers["Content-Range"] = f"bytes 0-0/{size}"
    return web.Response(status=206, body=b"\0", headers=headers)


def _bad_page_size(count: str) -> web.Response:
    message = "invalid number of results requested"
    return error(400, "PAGINATION_NUMBER_INVALID", message, {"n": count})


def _referrer(manifest: BuiltManifest) -> dict[str, Any]:
    entry = manifest_descriptor(manifest)
    if manifest.artifact_type is not None:
        entry["artifactType"] = manifest.artifact_type
    if manifest.annotations:
        entry["annotations"] = dict(manifest.annotations)
    return entry


# -- server --
# Runs a sandbox application on the loopback interface.
#
#     content = Content()
#     content.add("team/app", index([image("app"), image("app", platform="linux/arm64")]),
#                 "latest")
#     accounts = [Account("admin", "secret", {"*": ("*",)})]
#     app = registry_app(content, access=Bearer(TokenService(accounts=accounts)))
#     async with serve(app) as base_url:          # "http://127.0.0.1:40123"
#         ...
#
# Tests without an event loop of their own use `serve_in_thread` the same way.

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
