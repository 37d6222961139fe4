"""Catalogs that require another scope than `registry:catalog:*` (zot with tokens)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from auditor.demo.demo_tokens import BearerAccess, DemoAccount
from tests.flow.harness import TOKENS, Lab, lab, service, simple

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1", "team/web:1"]
CATALOG = "/v2/_catalog"
REGISTRY_SCOPE = "registry:catalog:*"


@dataclass(frozen=True, slots=True)
class CatalogRequires:
    """As BearerAccess, with another scope for the catalog."""

    access: BearerAccess
    catalog_scope: str

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        other = self.catalog_scope if scope == REGISTRY_SCOPE else scope
        return self.access.refusal(request, other)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return self.access.routes()


def scopes_asked(here: Lab) -> list[str]:
    asked = [parse_qs(one.query) for one in here.faults.requests("GET", TOKENS)]
    return [scope for one in asked for scope in one.get("scope", [])]


def reader(*names: str) -> DemoAccount:
    return DemoAccount("me", "secret", dict.fromkeys((*names, "team/*"), ("pull",)))


@pytest.mark.parametrize("scope", ["repository::pull", "registry:catalog:pull"])
@pytest.mark.parametrize("grants_registry_scope", [True, False])
async def test_the_scope_of_the_catalog_s_challenge_is_followed(
    scope: str, grants_registry_scope: bool
) -> None:
    name = scope.split(":")[1]
    login = reader(name)
    if grants_registry_scope:
        login = DemoAccount("me", "secret", {"*": ("*",)})
    tokens = service(login)
    access = CatalogRequires(BearerAccess(tokens), scope)
    async with lab(simple(NAMES), access=access, login=login) as here:
        tokens.clock = here.clock.epoch
        outcome = await here.audit(here.ref("**:*"), page_size=1)
        if name == "" or not grants_registry_scope:
            assert scopes_asked(here)[:2] == [REGISTRY_SCOPE, scope]
        # One 401 for all pages.
        refused = [one for one in here.answered(401) if CATALOG in one]
        assert len(refused) <= 1
    assert outcome.kinds == ["image"] * len(NAMES)


@pytest.mark.parametrize(
    "scope", ["repository:secret/app:pull", "repository::push", REGISTRY_SCOPE]
)
async def test_another_resource_or_a_wider_scope_is_not_requested(scope: str) -> None:
    login = reader("secret/app")
    tokens = service(login)
    access = CatalogRequires(BearerAccess(tokens), scope)
    async with lab(simple(NAMES), access=access, login=login) as here:
        tokens.clock = here.clock.epoch
        outcome = await here.audit(here.ref("**:*"))
        assert set(scopes_asked(here)) == {REGISTRY_SCOPE}
        assert here.faults.count("GET", CATALOG) == 1
    assert outcome.kinds == ["no_pull_grant"]


async def test_a_catalog_that_is_open_despite_the_token_is_listed() -> None:
    login = reader()
    tokens = service(login)

    @web.middleware
    async def open_catalog(
        request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if request.path == CATALOG:
            return web.json_response({"repositories": ["team/app"]})
        return await handler(request)

    async with lab(
        simple(NAMES), tokens=tokens, login=login, dialect=[open_catalog]
    ) as here:
        outcome = await here.audit(here.ref("**:*"))
    assert outcome.kinds == ["image"]
