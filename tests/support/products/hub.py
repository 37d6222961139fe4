"""Docker Hub: `https://hub.docker.com/v2`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import DemoAccount
from tests.support.products.pages import numbered
from tests.support.products.routes import PUSHED, Routes, below, routes


def hub_api(content: DemoContent, accounts: Iterable[DemoAccount] = ()) -> Routes:
    """Docker Hub: whole URLs in `next`, a token for user and password."""
    accounts = list(accounts)
    tokens: set[str] = set()

    async def issue_token(request: web.Request) -> web.Response:
        login = await request.json()
        for one in accounts:
            if (one.name, one.password) == (login["identifier"], login["secret"]):
                tokens.add(f"hub-{len(tokens)}")
                return web.json_response({"access_token": f"hub-{len(tokens) - 1}"})
        return web.json_response({"message": "incorrect credentials"}, status=401)

    def refusal(request: web.Request) -> web.Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not accounts or (scheme == "Bearer" and token in tokens):
            return None
        return web.json_response({"message": "authentication required"}, status=401)

    def repositories(request: web.Request) -> web.Response:
        namespace = request.match_info["namespace"]
        entries = [
            {"namespace": namespace, "name": name.partition("/")[2]}
            for name in below(content, namespace)
        ]
        return _paged(request, entries, "page_size")

    def tags(request: web.Request) -> web.Response:
        name = "{namespace}/{name}".format(**request.match_info)
        repository = content.repositories.get(name)
        if repository is None:
            return web.json_response({"message": "object not found"}, status=404)
        entries = [
            {
                "name": tag,
                "digest": digest,
                "media_type": repository.manifests[digest].media_type,
                "tag_last_pushed": PUSHED,
                "images": [{"architecture": "amd64", "os": "linux", "size": 1234}],
            }
            for tag, digest in sorted(repository.tags.items())
        ]
        return _paged(request, entries, "page_size")

    prefix = "/v2/namespaces/{namespace}/repositories"
    return [
        web.post("/v2/auth/token", issue_token),
        *routes({prefix: repositories, f"{prefix}/{{name}}/tags": tags}, refusal),
    ]


def _paged(
    request: web.Request, entries: list[dict[str, Any]], size_name: str
) -> web.Response:
    """A numbered page in an object, with the whole URL of the next."""
    shown, following = numbered(request, entries, size_name)
    url = following and str(request.url.update_query(page=following))
    return web.json_response({"count": len(entries), "next": url, "results": shown})
