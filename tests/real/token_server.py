"""The sandbox token service as a program of its own, for real registries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler

from auditor.demo.registry import serve_in_thread
from auditor.demo.tokens import (
    ANONYMOUS,
    Account,
    TokenService,
    basic_credential,
    token_app,
)

PUSHER = Account("pusher", "a pusher's password", {"*": ("*",)})
AUDITOR = Account(
    "auditor", "p:ss wörd", {"team/*": ("pull",), "public/*": ("pull", "push")}
)
EVERYONE = Account(ANONYMOUS, "", {"public/*": ("pull",)})
DTR_PATH = "/auth/v2/token/"


@dataclass(slots=True)
class TokenServer:
    """A token service that listens at `url`, and what it was asked."""

    service: TokenService
    url: str = ""
    asked: list[tuple[str, str | None, str]] = field(default_factory=list)
    """Path, user and scope of each GET, in order."""

    @property
    def realm(self) -> str:
        """What the registry's challenge shall name."""
        return self.url + "/token"


@contextmanager
def running_token_server() -> Iterator[TokenServer]:
    """A token service on a free port, with a new key and the accounts above."""
    server = TokenServer(
        TokenService(
            accounts=[PUSHER, AUDITOR, EVERYONE],
            service="registry of the tests",
            issuer="token service of the tests",
        )
    )

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "GET":
            user, _ = basic_credential(request) or (None, "")
            server.asked.append((request.path, user, request.query.get("scope", "")))
        return await handler(request)

    app = token_app(server.service)
    app.middlewares.append(note)
    with serve_in_thread(app) as url:
        server.url = url
        yield server
