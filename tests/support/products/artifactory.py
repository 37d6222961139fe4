"""Artifactory: `/artifactory/api/docker/KEY/v2`."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import DemoAccount
from tests.support.products.pages import after_last
from tests.support.products.routes import Routes, basic, below, routes


def artifactory_api(
    content: DemoContent, accounts: Iterable[DemoAccount] = ()
) -> Routes:
    """Artifactory: the catalog of a repository of its own, without its key."""

    def catalog(request: web.Request) -> web.Response:
        key = request.match_info["key"]
        names = [name.removeprefix(f"{key}/") for name in below(content, key)]
        shown, headers = after_last(request, names)
        return web.json_response({"repositories": shown}, headers=headers)

    return routes(
        {"/artifactory/api/docker/{key}/v2/_catalog": catalog}, basic(accounts)
    )
