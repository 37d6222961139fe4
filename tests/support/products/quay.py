"""Quay: `/api/v1`."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from auditor.demo.demo_registry import DemoContent
from tests.support.products.routes import PUSHED_EPOCH, Routes, bearer, below, routes


def quay_api(content: DemoContent, token: str | None = None) -> Routes:
    """Quay: `next_page` and `has_additional`, an OAuth token or nothing."""

    def repositories(request: web.Request) -> web.Response:
        namespace = request.query["namespace"]
        entries = [
            {"namespace": namespace, "name": name.partition("/")[2], "kind": "image"}
            for name in below(content, namespace)
        ]
        entries.append({"namespace": namespace, "name": "app", "kind": "application"})
        start = int(request.query.get("next_page", "opaque-0").partition("-")[2])
        body: dict[str, Any] = {"repositories": entries[start : start + 2]}
        if start + 2 < len(entries):
            body["next_page"] = f"opaque-{start + 2}"
        return web.json_response(body)

    def tags(request: web.Request) -> web.Response:
        repository = content.repositories.get(request.match_info["name"])
        if repository is None:
            return web.json_response({"detail": "Not Found"}, status=404)
        entries = [
            {
                "name": tag,
                "manifest_digest": digest,
                "is_manifest_list": False,
                "size": 1234,
                "start_ts": PUSHED_EPOCH,
            }
            for tag, digest in sorted(repository.tags.items())
        ]
        page, size = int(request.query["page"]), int(request.query["limit"])
        return web.json_response(
            {
                "tags": entries[(page - 1) * size : page * size],
                "page": page,
                "has_additional": page * size < len(entries),
            }
        )

    return routes(
        {
            "/api/v1/repository": repositories,
            "/api/v1/repository/{name:.+}/tag/": tags,
        },
        bearer(token, {"error_message": "Unauthorized"}),
    )
