"""The embedded registry: reading, as docker-registry 2.8 does it, out of memory.

OCI distribution spec 1.1: ping, manifests, blobs, tags, referrers; the catalog is
distribution's. Negotiation of manifests follows distribution 2.8
(`registry/handlers/manifests.go`): a Docker list that the client does not accept is
answered with its linux/amd64 child and that child's digest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from auditor.fast_dataclass import dataclass
from auditor.sandbox.access import Access, Open
from auditor.sandbox.built import BuiltManifest, Family, manifest_descriptor
from auditor.sandbox.content import Content, Repository
from auditor.sandbox.negotiate import Refusal, accepted_types, negotiate

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
