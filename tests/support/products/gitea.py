"""Gitea and Forgejo: `/api/v1/packages`."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from auditor.demo.demo_registry import DemoContent, DemoRepository
from auditor.demo.demo_tokens import DemoAccount
from tests.support.products.pages import linked
from tests.support.products.routes import PUSHED, Routes, basic, below, routes, untagged


def gitea_api(content: DemoContent, accounts: Iterable[DemoAccount] = ()) -> Routes:
    """Gitea: a package for each version of an image, `Link`, `X-Total-Count`."""

    def packages(request: web.Request) -> web.Response:
        # Gitea, models/user: owners are looked up by their name in lower case.
        owner = request.match_info["owner"].lower()
        entries = [
            {
                "owner": {"login": owner.title()},
                "name": name.partition("/")[2],
                "version": version,
                "created_at": PUSHED,
            }
            for name in below(content, owner)
            if request.query.get("q", "") in name.partition("/")[2]
            for version in _versions(content.repositories[name])
        ]
        return linked(request, entries, "limit")

    return routes({"/api/v1/packages/{owner}": packages}, basic(accounts))


def _versions(repository: DemoRepository) -> list[str]:
    """Tags, and digests: also of what was pushed by its digest before it got a tag."""
    tags = sorted(repository.tags.items())
    return [one for pair in tags for one in pair] + untagged(repository)
