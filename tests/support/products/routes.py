"""What the APIs of all products share: logins, and repositories by namespace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from auditor.demo.demo_registry import DemoContent, DemoRepository
from auditor.demo.demo_tokens import DemoAccount, basic_credential

Routes = list[web.AbstractRouteDef]
Handler = Callable[[web.Request], web.Response]
# None if the request is allowed.
Refusal = Callable[[web.Request], web.Response | None]

PUSHED = "2026-08-05T10:00:00Z"
PUSHED_EPOCH = 1_785_924_000
PULLED = "2026-08-06T10:00:00.123Z"


def routes(handlers: Mapping[str, Handler], refusal: Refusal) -> Routes:
    """GET routes by path, for requests that `refusal` allows."""

    def guarded(handler: Handler) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.Response:
            return refusal(request) or handler(request)

        return answer

    return [web.get(path, guarded(handler)) for path, handler in handlers.items()]


def basic(accounts: Iterable[DemoAccount]) -> Refusal:
    """Refuse requests without one of these logins; without accounts, allow all."""
    known = [(one.name, one.password) for one in accounts]

    def refusal(request: web.Request) -> web.Response | None:
        if not known or basic_credential(request) in known:
            return None
        return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)

    return refusal


def bearer(token: str | None, body: Mapping[str, str]) -> Refusal:
    """Refuse requests without this token; without a token, allow all."""

    def refusal(request: web.Request) -> web.Response | None:
        if token is None or request.headers.get("Authorization") == f"Bearer {token}":
            return None
        return web.json_response(dict(body), status=401)

    return refusal


def below(content: DemoContent, path: str) -> list[str]:
    """The repositories below a path; "" is all of them."""
    prefix = f"{path}/" if path else ""
    return [name for name in sorted(content.repositories) if name.startswith(prefix)]


def untagged(repository: DemoRepository) -> list[str]:
    """The digests of the manifests without a tag, also children of indexes."""
    tagged = set(repository.tags.values())
    return [digest for digest in repository.manifests if digest not in tagged]


def children(repository: DemoRepository) -> set[str]:
    """The digests that an index of the repository names."""
    return {
        child["digest"]
        for manifest in repository.manifests.values()
        for child in json.loads(manifest.raw).get("manifests") or ()
    }
