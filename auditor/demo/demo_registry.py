"""The demo's registry: read-only, in memory, with the pages of distribution 2.8.

    content = DemoContent()
    content.add("team/app", image("app"), "latest")
    async with serve(registry_app(DemoRegistry(content))) as base_url:
        ...

OCI distribution spec 1.1: ping, manifests, blobs, tags, referrers; the catalog is
distribution's. Manifests are returned whatever the client accepts.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import field
from itertools import chain
from typing import Any, Protocol
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from auditor.demo.image_builder import (
    BuiltBlob,
    BuiltImage,
    BuiltManifest,
    Family,
    PlacedImage,
    manifest_descriptor,
)
from auditor.fast_dataclass import dataclass

# OCI distribution spec 1.1, "Pulling manifests": <name>, but with upper case, which is
# then not found.
_NAME = r"{name:[A-Za-z0-9]+(?:[._/-]+[A-Za-z0-9]+)*}"
# distribution 2.8, "Listing Repositories".
DEFAULT_PAGE = 100
MAX_PAGE = 1000
HOST = "127.0.0.1"
# A handler that still runs at shutdown is not waited for.
_SHUTDOWN_TIMEOUT_S = 0.1


class AccessControl(Protocol):
    """Decides whether a request is allowed."""

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        """The response to a request that may not have this scope; None allows it.

        The scope is None for `/v2/`, which takes any valid credential.
        """

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The routes that it adds to those of the registry."""


@dataclass(slots=True)
class DemoRepository:
    """One repository. Its dictionaries may be changed while the registry runs.

    `layer_sizes` are those of the layers, which have no bytes.
    """

    manifests: dict[str, BuiltManifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, BuiltBlob] = field(default_factory=dict)
    layer_sizes: dict[str, int] = field(default_factory=dict)

    def add(self, image: BuiltImage, tags: Iterable[str] = ()) -> BuiltImage:
        """Add an image under these tags; returns it."""
        self.manifests.update((one.digest, one) for one in image.manifests)
        self.blobs.update((one.digest, one) for one in image.blobs)
        self.tags.update(dict.fromkeys(tags, image.root.digest))
        self.layer_sizes.update(
            (layer.digest, layer.size or 0)
            for platform in image.content.platforms
            for layer in platform.layers or ()
        )
        return image

    def find(self, reference: str) -> BuiltManifest | None:
        """The manifest of a tag or a digest."""
        return self.manifests.get(self.tags.get(reference, reference))

    def referrers(self, digest: str) -> list[BuiltManifest]:
        """The manifests with this digest as subject, in the order they were added."""
        return [one for one in self.manifests.values() if one.subject == digest]


@dataclass(slots=True)
class DemoContent:
    """Everything in one registry, by repository name."""

    repositories: dict[str, DemoRepository] = field(default_factory=dict)

    @classmethod
    def of(cls, *sets: Iterable[PlacedImage]) -> DemoContent:
        """A registry with these images."""
        content = cls()
        for placed in chain(*sets):
            content.add(placed.repository, placed.image, *placed.tags)
        return content

    def repository(self, name: str) -> DemoRepository:
        """The repository of this name; it is created if it does not exist."""
        return self.repositories.setdefault(name, DemoRepository())

    def add(self, repository: str, image: BuiltImage, *tags: str) -> BuiltImage:
        """Add an image to a repository, under tags; returns it."""
        return self.repository(repository).add(image, tags)


def registry_app(
    registry: DemoRegistry,
    *,
    access: AccessControl | None,
    routes: Iterable[web.AbstractRouteDef] = (),
    middlewares: Iterable[Middleware] = (),
) -> web.Application:
    """A web application for `registry`; changes to its content show at once.

    Without `access`, every request is allowed. `routes` are matched before those of
    the registry; `middlewares` get every request, for unknown paths too.
    """
    app = web.Application(middlewares=[*middlewares, _version_header])
    if access is not None:
        app.add_routes(access.routes())
    app.add_routes(routes)
    pull = "repository:{name}:pull"
    for path, scope, handler in (
        ("/v2/", None, registry.ping),
        ("/v2/_catalog", "registry:catalog:*", registry.catalog),
        (f"/v2/{_NAME}/tags/list", pull, registry.tags),
        (f"/v2/{_NAME}/manifests/{{reference}}", pull, registry.manifest),
        (f"/v2/{_NAME}/blobs/{{digest}}", pull, registry.blob),
        (f"/v2/{_NAME}/referrers/{{digest}}", pull, registry.referrers),
    ):
        # `web.get` adds HEAD too.
        app.add_routes([web.get(path, _with_access(handler, access, scope))])
    return app


def _with_access(
    handler: Handler, access: AccessControl | None, scope: str | None
) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", "")
        requested = scope and scope.replace("{name}", name)
        refusal = None if access is None else access.refusal(request, requested)
        return refusal or await handler(request)

    return handle


@web.middleware
async def _version_header(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
    return response


class DemoRegistry:
    """The handlers of a registry. Tests override what products do in another way."""

    max_page = MAX_PAGE
    default_page = DEFAULT_PAGE

    def __init__(self, content: DemoContent) -> None:
        self.content = content

    async def ping(self, request: web.Request) -> web.Response:
        """`/v2/`"""
        del request
        return web.json_response({})

    async def manifest(self, request: web.Request) -> web.Response:
        """The manifest of a tag or a digest."""
        reference = request.match_info["reference"]
        repository = self.repository(request)
        manifest = repository.find(reference) if repository else None
        if repository is None or manifest is None:
            by_digest = reference.startswith("sha256:")
            detail = {"Revision" if by_digest else "Tag": reference}
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown", detail)
        return self.manifest_response(request, repository, manifest)

    def manifest_response(
        self, request: web.Request, repository: DemoRepository, manifest: BuiltManifest
    ) -> web.Response:
        """The response with a manifest of a repository."""
        del repository
        headers = {
            "Content-Type": manifest.media_type,
            "Etag": f'"{manifest.digest}"',
            "Docker-Content-Digest": manifest.digest,
        }
        if request.headers.get("If-None-Match", "").strip('"') == manifest.digest:
            return web.Response(status=304, headers=headers)
        return web.Response(body=manifest.raw, headers=headers)

    async def blob(self, request: web.Request) -> web.Response:
        """A config, or the headers of a layer, which has no bytes."""
        digest = request.match_info["digest"]
        repository = self.repository(request)
        blob = repository.blobs.get(digest) if repository else None
        if blob is None:
            size = repository.layer_sizes.get(digest) if repository else None
            if size is not None and (response := _layer(request, digest, size)):
                return response
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry", digest)
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "Etag": f'"{digest}"',
        }
        return web.Response(body=blob.content, headers=headers)

    async def tags(self, request: web.Request) -> web.Response:
        """A page of the tags of a repository; without `n`, all of them."""
        name = request.match_info["name"]
        repository = self.repository(request)
        if repository is None:
            message = "repository name not known to registry"
            return error(404, "NAME_UNKNOWN", message, {"name": name})
        tags = sorted(repository.tags)
        count = request.query.get("n", "")
        if count and not count.isdecimal():
            return _invalid_page_size(count)
        size = min(int(count), self.max_page) if count else len(tags)
        return self.page(request, "tags", tags, size, name=name)

    async def catalog(self, request: web.Request) -> web.Response:
        """A page of the repositories."""
        count = request.query.get("n", "")
        size = int(count) if count.isdecimal() else self.default_page
        if size > self.max_page:
            return _invalid_page_size(count)
        return self.page(
            request, "repositories", sorted(self.content.repositories), size
        )

    async def referrers(self, request: web.Request) -> web.Response:
        """The referrers of a digest, filtered by `artifactType` if that is given."""
        repository = self.repository(request)
        digest = request.match_info["digest"]
        referrers = repository.referrers(digest) if repository else []
        artifact_type = request.query.get("artifactType")
        headers = {}
        if artifact_type is not None:
            referrers = [one for one in referrers if one.artifact_type == artifact_type]
            headers["OCI-Filters-Applied"] = "artifactType"
        return self.referrers_response(request, referrers, headers)

    def referrers_response(
        self,
        request: web.Request,
        referrers: list[BuiltManifest],
        headers: dict[str, str],
    ) -> web.Response:
        """An index of these referrers."""
        del request
        document = {
            "schemaVersion": 2,
            "mediaType": Family.OCI.index,
            "manifests": [_referrer(one) for one in referrers],
        }
        return web.json_response(
            document, content_type=Family.OCI.index, headers=headers
        )

    def repository(self, request: web.Request) -> DemoRepository | None:
        """The repository in the request's path."""
        return self.content.repositories.get(request.match_info["name"])

    def page(
        self,
        request: web.Request,
        key: str,
        entries: list[str],
        size: int,
        **others: str,
    ) -> web.Response:
        """The sorted entries after the parameter `last`, with a link to the next."""
        last = request.query.get("last", "")
        rest = [entry for entry in entries if entry > last]
        shown = rest[:size]
        headers = {}
        if shown and len(rest) > size:
            target = f"{request.path}?last={quote(shown[-1], safe='')}&n={size}"
            headers = self.link(request, target)
        return web.json_response({**others, key: shown}, headers=headers)

    def link(self, request: web.Request, target: str) -> dict[str, str]:
        """The header field that names the next page."""
        del request
        return {"Link": f'<{target}>; rel="next"'}


def error(status: int, code: str, message: str, detail: object = None) -> web.Response:
    """An error body (OCI distribution spec 1.1, "Error Codes")."""
    errors = [{"code": code, "message": message, "detail": detail}]
    return web.json_response({"errors": errors}, status=status)


def _layer(request: web.Request, digest: str, size: int) -> web.Response | None:
    """The response to HEAD, or to a request for the first byte; None for all bytes."""
    headers = {"Docker-Content-Digest": digest}
    if request.method == "HEAD":
        return web.Response(headers={**headers, "Content-Length": str(size)})
    if request.headers.get("Range") != "bytes=0-0":
        return None
    if size == 0:
        return web.Response(status=416, headers={"Content-Range": "bytes */0"})
    headers["Content-Range"] = f"bytes 0-0/{size}"
    return web.Response(status=206, body=b"\0", headers=headers)


def _invalid_page_size(count: str) -> web.Response:
    message = "invalid number of results requested"
    return error(400, "PAGINATION_NUMBER_INVALID", message, {"n": count})


def _referrer(manifest: BuiltManifest) -> dict[str, Any]:
    entry = manifest_descriptor(manifest)
    if manifest.artifact_type is not None:
        entry["artifactType"] = manifest.artifact_type
    if manifest.annotations:
        entry["annotations"] = dict(manifest.annotations)
    return entry


# -- server ----------------------------------------------------------------------


@asynccontextmanager
async def serve(
    app: web.Application,
    *,
    host: str = HOST,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Serve `app` in this event loop; yields its base URL. Port 0 is any free port.

    A handler is cancelled when its client disconnects. Raises OSError if the port is
    in use.
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
