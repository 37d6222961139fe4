"""Docker Trusted Registry, today Mirantis Secure Registry: `/api/v0`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import DemoAccount
from tests.support.products.routes import PUSHED, Routes, basic, below, routes


def dtr_api(content: DemoContent, accounts: Iterable[DemoAccount] = ()) -> Routes:
    """Docker Trusted Registry: `X-Next-Page-Start`, Basic."""

    def repositories(request: web.Request) -> web.Response:
        namespace = request.match_info.get("namespace", "")
        entries = [
            {"id": name, "namespace": owner, "name": short, "visibility": "private"}
            for name in below(content, namespace)
            for owner, _, short in [name.partition("/")]
        ]
        return _started(request, entries, "id", wrap="repositories")

    def tags(request: web.Request) -> web.Response:
        name = "{namespace}/{name}".format(**request.match_info)
        repository = content.repositories.get(name)
        if repository is None:
            code = {"code": "NO_SUCH_REPOSITORY", "message": "no such repository"}
            return web.json_response({"errors": [code]}, status=404)
        entries = [
            {
                "name": tag,
                "digest": digest,
                "updatedAt": PUSHED,
                "manifest": {"mediaType": repository.manifests[digest].media_type},
            }
            for tag, digest in sorted(repository.tags.items())
        ]
        return _started(request, entries, "name")

    prefix = "/api/v0/repositories"
    return routes(
        {
            prefix: repositories,
            f"{prefix}/{{namespace}}": repositories,
            f"{prefix}/{{namespace}}/{{name}}/tags": tags,
        },
        basic(accounts),
    )


def _started(
    request: web.Request, entries: list[dict[str, Any]], key: str, *, wrap: str = ""
) -> web.Response:
    """A page that begins with `pageStart`; the header names the next start."""
    start = request.query.get("pageStart", "")
    rest = [entry for entry in entries if entry[key] >= start]
    size = int(request.query["pageSize"])
    headers = {"X-Next-Page-Start": rest[size][key] if len(rest) > size else ""}
    if request.query.get("count") == "true":
        headers["X-Resource-Count"] = str(len(entries))
    shown = rest[:size]
    return web.json_response({wrap: shown} if wrap else shown, headers=headers)
