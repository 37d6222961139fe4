"""What the APIs of all products share: who may ask, and what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import DemoAccount, basic_credential

Routes = list[web.AbstractRouteDef]
Handler = Callable[[web.Request], web.Response]
# Null where the request may be answered.
Refusal = Callable[[web.Request], web.Response | None]

PUSHED = "2026-08-05T10:00:00Z"
PUSHED_EPOCH = 1_785_924_000


def routes(handlers: Mapping[str, Handler], refusal: Refusal) -> Routes:
    """GET routes by path, for whom `refusal` has nothing against."""

    def guarded(handler: Handler) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.Response:
            return refusal(request) or handler(request)

        return answer

    return [web.get(path, guarded(handler)) for path, handler in handlers.items()]


def basic(accounts: Iterable[DemoAccount]) -> Refusal:
    """Refuse what has no login of these; without any, everybody may ask."""
    known = [(one.name, one.password) for one in accounts]

    def refusal(request: web.Request) -> web.Response | None:
        if not known or basic_credential(request) in known:
            return None
        return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)

    return refusal


def bearer(token: str | None, body: Mapping[str, str]) -> Refusal:
    """Refuse what does not bear this token; without one, everybody may ask."""

    def refusal(request: web.Request) -> web.Response | None:
        if token is None or request.headers.get("Authorization") == f"Bearer {token}":
            return None
        return web.json_response(dict(body), status=401)

    return refusal


def below(content: DemoContent, path: str) -> list[str]:
    """The repositories below a path; below "" they all are."""
    prefix = f"{path}/" if path else ""
    return [name for name in sorted(content.repositories) if name.startswith(prefix)]
