"""GitHub: `/orgs/{org}/packages` and `/users/{user}/packages`."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from auditor.demo.demo_registry import DemoContent
from tests.support.products.pages import numbered
from tests.support.products.routes import PUSHED, Routes, bearer, below, routes


def ghcr_api(
    content: DemoContent, token: str | None = None, users: tuple[str, ...] = ()
) -> Routes:
    """GitHub: `Link` without a count, a token; `users` are no organisations."""

    def packages(request: web.Request) -> web.Response:
        if _is_elsewhere(request):
            return _not_found()
        owner = request.match_info["owner"].lower()
        entries = [
            {
                "name": name.partition("/")[2],
                "package_type": request.query["package_type"],
                "owner": {"login": owner.title()},
            }
            for name in below(content, owner)
        ]
        return _page(request, entries)

    def versions(request: web.Request) -> web.Response:
        # aiohttp has decoded the name, one segment of the path.
        name = f"{request.match_info['owner'].lower()}/{request.match_info['package']}"
        repository = content.repositories.get(name)
        if _is_elsewhere(request) or repository is None:
            return _not_found()
        entries = [
            {
                "name": digest,
                "updated_at": PUSHED,
                "metadata": {
                    "package_type": "container",
                    "container": {
                        "tags": [
                            tag
                            for tag, named in sorted(repository.tags.items())
                            if named == digest
                        ]
                    },
                },
            }
            for digest in repository.manifests
        ]
        return _page(request, entries)

    def _is_elsewhere(request: web.Request) -> bool:
        is_user = request.match_info["owner"].lower() in users
        return is_user is not (request.match_info["kind"] == "users")

    kind = "/{kind:orgs|users}/{owner}/packages"
    return routes(
        {kind: packages, f"{kind}/container/{{package}}/versions": versions},
        bearer(token, {"message": "Requires authentication"}),
    )


def _page(request: web.Request, entries: list[dict[str, Any]]) -> web.Response:
    shown, following = numbered(request, entries, "per_page")
    headers = {}
    if following is not None:
        target = request.rel_url.update_query(page=following)
        headers["Link"] = f'<{target}>; rel="next"'
    return web.json_response(shown, headers=headers)


def _not_found() -> web.Response:
    return web.json_response({"message": "Not Found"}, status=404)
