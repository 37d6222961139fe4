"""Nexus Repository: `/service/rest/v1`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from auditor.demo.demo_registry import DemoContent, DemoRepository
from auditor.demo.demo_tokens import DemoAccount
from tests.support.products.routes import PUSHED, Routes, basic, below, routes, untagged

_PAGE = 2


def nexus_api(content: DemoContent, accounts: Iterable[DemoAccount] = ()) -> Routes:
    """Nexus: components of the repository `docker`, continuation tokens, Basic."""

    def components(request: web.Request) -> web.Response:
        wanted = request.query.get("name")
        items = [
            _component(name, tag, content.repositories[name])
            for name in below(content, "")
            if wanted in {None, name}
            for tag in [
                *sorted(content.repositories[name].tags),
                *untagged(content.repositories[name]),
            ]
        ]
        if request.query["repository"] != "docker":
            items = []
        start = int(request.query.get("continuationToken", "0"))
        following = start + _PAGE
        body: dict[str, Any] = {
            "items": items[start:following],
            "continuationToken": str(following) if following < len(items) else None,
        }
        return web.json_response(body)

    prefix = "/service/rest/v1"
    return routes(
        {f"{prefix}/components": components, f"{prefix}/search": components},
        basic(accounts),
    )


def _component(name: str, tag: str, repository: DemoRepository) -> dict[str, Any]:
    digest = repository.tags.get(tag, tag)
    return {
        "name": name,
        "version": tag,
        "format": "docker",
        "assets": [
            {
                "path": f"v2/{name}/manifests/{tag}",
                "checksum": {"sha256": digest.partition(":")[2]},
                "contentType": repository.manifests[digest].media_type,
                "lastModified": PUSHED,
            }
        ],
    }
