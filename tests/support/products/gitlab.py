"""GitLab's container registry: `/api/v4`."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from aiohttp import web

from auditor.demo.demo_registry import DemoContent
from tests.support.products.pages import numbered
from tests.support.products.routes import Routes, bearer, below, routes


def gitlab_api(content: DemoContent, token: str | None = None) -> Routes:
    """GitLab: groups by their whole path, `x-next-page`, `x-total`, a token."""

    def repositories(request: web.Request) -> web.Response:
        encoded = request.raw_path.partition("/groups/")[2].partition("/registry/")[0]
        if "/" in encoded:
            return web.json_response({"error": "404 Not Found"}, status=404)
        names = below(content, unquote(encoded))
        entries = [{"id": index, "path": name} for index, name in enumerate(names)]
        return _numbered(request, entries, "per_page")

    path = "/api/v4/groups/{group:.+}/registry/repositories"
    return routes({path: repositories}, bearer(token, {"message": "401 Unauthorized"}))


def _numbered(
    request: web.Request, entries: list[dict[str, Any]], size_name: str
) -> web.Response:
    """A numbered page with the number of the next in a header."""
    shown, following = numbered(request, entries, size_name)
    headers = {"x-total": str(len(entries)), "x-next-page": str(following or "")}
    return web.json_response(shown, headers=headers)
