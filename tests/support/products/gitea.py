"""Gitea and Forgejo: `/api/v1/packages`."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import DemoAccount
from tests.support.products.pages import linked
from tests.support.products.routes import Routes, basic, below, routes


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
            }
            for name in below(content, owner)
            for tag, digest in sorted(content.repositories[name].tags.items())
            for version in (tag, digest)
        ]
        return linked(request, entries, "limit")

    return routes({"/api/v1/packages/{owner}": packages}, basic(accounts))
