"""Azure Container Registry: `/acr/v1`."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import DemoTokenService
from tests.support.products.pages import after_last
from tests.support.products.routes import PUSHED, Routes, below, routes


def acr_api(content: DemoContent, tokens: DemoTokenService | None = None) -> Routes:
    """Azure: `n` and `last`, `Link`, the tokens of the registry."""

    def catalog(request: web.Request) -> web.Response:
        names, headers = after_last(request, below(content, ""))
        return web.json_response({"repositories": names}, headers=headers)

    def tags(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        repository = content.repositories.get(name)
        if repository is None:
            return web.json_response({"errors": [{"code": "NAME_UNKNOWN"}]}, status=404)
        names, headers = after_last(request, sorted(repository.tags))
        entries = [
            {
                "name": tag,
                "digest": repository.tags[tag],
                "createdTime": PUSHED,
                "lastUpdateTime": PUSHED,
                "signed": False,
            }
            for tag in names
        ]
        body: dict[str, Any] = {"imageName": name, "tags": entries}
        return web.json_response(body, headers=headers)

    def manifests(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        repository = content.repositories.get(name)
        if repository is None:
            return web.json_response({"errors": [{"code": "NAME_UNKNOWN"}]}, status=404)
        digests, headers = after_last(request, sorted(repository.manifests))
        entries = []
        for digest in digests:
            entry: dict[str, Any] = {
                "digest": digest,
                "imageSize": len(repository.manifests[digest].raw),
                "createdTime": PUSHED,
                "lastUpdateTime": PUSHED,
                "mediaType": repository.manifests[digest].media_type,
            }
            tags = [tag for tag, named in repository.tags.items() if named == digest]
            entries.append(entry | ({"tags": sorted(tags)} if tags else {}))
        body: dict[str, Any] = {"imageName": name, "manifests": entries}
        return web.json_response(body, headers=headers)

    def refusal(request: web.Request) -> web.Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if tokens is None or tokens.claims(token) is not None:
            return None
        return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)

    return routes(
        {
            "/acr/v1/_catalog": catalog,
            "/acr/v1/{name:.+}/_tags": tags,
            "/acr/v1/{name:.+}/_manifests": manifests,
        },
        refusal,
    )
