"""How registry products differ from the specification, each in a middleware.

    lab(content, dialect=[no_digest_header(), json_as_text()])

They change the responses of the registry for some paths, and can be combined.
`docs/registries/index.md` lists what each product does.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from fnmatch import fnmatchcase

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from auditor.demo.demo_registry import error
from auditor.demo.demo_tokens import split_scope
from tests.support.fault_actions import body_of, real_answer
from tests.support.token_service import FakeTokenService

MANIFESTS = "/v2/*/manifests/*"
TAGS = "/v2/*/tags/list"
CATALOG = "/v2/_catalog"

# Changes a response before it is sent.
Change = Callable[[web.Request, web.Response], web.Response]


def changed(path: str, change: Change) -> Middleware:
    """Change the responses for these paths (fnmatch)."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        real = await real_answer(request, handler)
        if not fnmatchcase(request.path, path):
            return real
        headers = real.headers.copy()
        headers.popall("Content-Length", None)
        copy = web.Response(status=real.status, headers=headers, body=body_of(real))
        return change(request, copy)

    return middleware


def no_digest_header(path: str = MANIFESTS) -> Middleware:
    """ECR, Red Hat: no `Docker-Content-Digest`."""

    def change(request: web.Request, response: web.Response) -> web.Response:
        del request
        response.headers.popall("Docker-Content-Digest", None)
        return response

    return changed(path, change)


def json_as_text(path: str = MANIFESTS) -> Middleware:
    """ECR: documents are `text/plain`."""

    def change(request: web.Request, response: web.Response) -> web.Response:
        del request
        response.headers["Content-Type"] = "text/plain; charset=utf-8"
        return response

    return changed(path, change)


def links(path: str, rewrite: Callable[[str, web.Request], str]) -> Middleware:
    """Products with another form of `Link`. `rewrite` returns its target."""

    def change(request: web.Request, response: web.Response) -> web.Response:
        link = response.headers.get("Link")
        if link is not None:
            target = link.partition("<")[2].partition(">")[0]
            response.headers["Link"] = f'<{rewrite(target, request)}>; rel="next"'
        return response

    return changed(path, change)


def opaque_cursors(path: str = TAGS) -> Middleware:
    """Quay: the next page has an opaque cursor."""
    known: dict[str, str] = {}

    @web.middleware
    async def read(request: web.Request, handler: Handler) -> web.StreamResponse:
        cursor = request.query.get("next_page")
        if cursor is None or not fnmatchcase(request.path, path):
            return await handler(request)
        if cursor not in known:
            return error(400, "PAGINATION_INVALID", "no such cursor")
        url = request.rel_url.with_query(known[cursor])
        return await handler(request.clone(rel_url=url))

    def rewrite(target: str, request: web.Request) -> str:
        cursor = f"gAAAAA=={len(known)}"
        known[cursor] = target.partition("?")[2]
        return str(request.rel_url.with_query(next_page=cursor, n=1))

    write = links(path, rewrite)

    @web.middleware
    async def both(request: web.Request, handler: Handler) -> web.StreamResponse:
        async def inner(one: web.Request) -> web.StreamResponse:
            return await read(one, handler)

        return await write(request, inner)

    return both


def challenges(path: str, rewrite: Callable[[str], list[str]]) -> Middleware:
    """Products with another challenge. `rewrite` returns its lines, or none."""

    def change(request: web.Request, response: web.Response) -> web.Response:
        del request
        for line in response.headers.popall("WWW-Authenticate", []):
            for other in rewrite(line):
                response.headers.add("WWW-Authenticate", other)
        return response

    return changed(path, change)


def placeholder_scope(path: str = "*") -> Middleware:
    """GHCR: the scope of a challenge is an example."""

    def rewrite(line: str) -> list[str]:
        bare = line.partition(",scope=")[0]
        return [f'{bare},scope="repository:user/image:pull"']

    return challenges(path, rewrite)


def denied_without_challenge() -> Middleware:
    """GHCR: the response to an insufficient token is DENIED, without a challenge."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        real = await real_answer(request, handler)
        if real.status == 401 and "Authorization" in request.headers:
            return error(403, "DENIED", "requested access to the resource is denied")
        return real

    return middleware


def no_challenge(path: str = MANIFESTS) -> Middleware:
    """Google: a 401 without a challenge."""
    return challenges(path, lambda _: [])


def no_quality() -> Middleware:
    """Google: an `Accept` with `q=` is an error."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if any("q=" in line for line in request.headers.getall("Accept", [])):
            return error(400, "MANIFEST_INVALID", "no acceptable manifest")
        return await handler(request)

    return middleware


def no_head(status: int = 405) -> Middleware:
    """GitHub Enterprise Server: no HEAD for manifests."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(status=status)
        return await handler(request)

    return middleware


def tag_lists_require(action: str, tokens: FakeTokenService) -> Middleware:
    """ACR: listing tags requires another action than pulling."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not fnmatchcase(request.path, TAGS):
            return await handler(request)
        scope = f"repository:{request.path[4:-10]}:{action}"
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if tokens.allows(token, scope):
            return await handler(request)
        kind, name, (wanted,) = split_scope(scope)
        detail = [{"Type": kind, "Name": name, "Action": wanted}]
        refusal = error(401, "UNAUTHORIZED", "authentication required", detail)
        challenge = (
            f'Bearer realm="http://{request.host}{tokens.realm}",'
            f'service="{tokens.service}",scope="{scope}",error="insufficient_scope"'
        )
        refusal.headers["WWW-Authenticate"] = challenge
        return refusal

    return middleware


def with_entries(path: str, key: str, *more: object) -> Middleware:
    """Artifactory, Nexus: nulls and digests among the names of a listing."""

    def change(request: web.Request, response: web.Response) -> web.Response:
        del request
        document = json.loads(body_of(response))
        if key in document:
            document[key] = [*more, *document[key]]
            response.body = json.dumps(document).encode()
        return response

    return changed(path, change)


def x_gzip(path: str = "/v2/*") -> Middleware:
    """pulp: a compressed body, also if it was not requested."""

    def change(request: web.Request, response: web.Response) -> web.Response:
        del request
        response.body = gzip.compress(body_of(response))
        response.headers["Content-Encoding"] = "x-gzip"
        return response

    return changed(path, change)


def codes_as_text() -> Middleware:
    """Red Hat: the code of an error is its status as text."""

    def change(request: web.Request, response: web.Response) -> web.Response:
        del request
        if response.status >= 400:
            entry = {"code": str(response.status), "message": "Not Found"}
            response.body = json.dumps({"errors": [entry]}).encode()
        return response

    return changed("/v2/*", change)


def plain_404() -> Middleware:
    """Red Hat: a 404 is a line of text."""

    def change(request: web.Request, response: web.Response) -> web.Response:
        del request
        if response.status == 404:
            return web.Response(status=404, text="404 page not found\n")
        return response

    return changed("/v2/*", change)
