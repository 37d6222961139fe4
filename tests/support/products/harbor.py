"""Harbor: `/api/v2.0`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from auditor.demo.demo_registry import DemoContent, DemoRepository
from auditor.demo.demo_tokens import DemoAccount
from auditor.oci.attachments import is_digest_tag
from tests.support.products.pages import linked
from tests.support.products.routes import (
    PULLED,
    PUSHED,
    Routes,
    basic,
    below,
    children,
    routes,
    untagged,
)


def harbor_api(content: DemoContent, accounts: Iterable[DemoAccount] = ()) -> Routes:
    """Harbor: `Link`, `X-Total-Count`, names encoded twice, Basic."""

    def repositories(request: web.Request) -> web.Response:
        names = below(content, request.match_info.get("project", ""))
        return linked(request, [{"name": name} for name in names], "page_size")

    def artifacts(request: web.Request) -> web.Response:
        # aiohttp has decoded once; a name that was encoded only once has a slash now.
        name = unquote(request.match_info["name"])
        repository = content.repositories.get(f"{request.match_info['project']}/{name}")
        if repository is None or "/" in request.match_info["name"]:
            return web.json_response({"errors": [{"code": "NOT_FOUND"}]}, status=404)
        # Attachments are accessories of their artifact, and not artifacts in the list.
        accessories = {
            digest for tag, digest in repository.tags.items() if is_digest_tag(tag)
        }
        entries = [
            _artifact(repository, digest)
            for digest in dict.fromkeys([*repository.tags.values()])
            if digest not in accessories
        ]
        # Neither children of indexes nor accessories, by their subject.
        used = children(repository)
        alone = [
            _artifact(repository, digest)
            for digest in untagged(repository)
            if digest not in used and repository.manifests[digest].subject is None
        ]
        return linked(request, entries + alone, "page_size")

    prefix = "/api/v2.0"
    return routes(
        {
            f"{prefix}/repositories": repositories,
            f"{prefix}/projects/{{project}}/repositories": repositories,
            f"{prefix}/projects/{{project}}/repositories/{{name}}/artifacts": artifacts,
        },
        basic(accounts),
    )


def _artifact(repository: DemoRepository, digest: str) -> dict[str, Any]:
    tags = [tag for tag, named in sorted(repository.tags.items()) if named == digest]
    return {
        "digest": digest,
        "media_type": "application/vnd.oci.image.config.v1+json",
        "manifest_media_type": repository.manifests[digest].media_type,
        "size": 1234,
        "extra_attrs": {"os": "linux", "created": PUSHED},
        # Harbor writes null, not an empty list.
        "pull_time": PULLED,
        "push_time": PUSHED,
        "tags": [
            {"name": tag, "push_time": PUSHED, "pull_time": "0001-01-01T00:00:00.000Z"}
            for tag in tags
        ]
        or None,
    }
