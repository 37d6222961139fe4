"""The token service at an origin of its own, for real registries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler

from auditor.demo.demo_tokens import ANONYMOUS, DemoAccount, basic_credential
from tests.support.registry import serve_in_thread
from tests.support.token_service import FakeTokenService, token_app

PUSHER = DemoAccount("pusher", "a pusher's password", {"*": ("*",)})
AUDITOR = DemoAccount(
    "auditor", "p:ss wörd", {"team/*": ("pull",), "public/*": ("pull", "push")}
)
EVERYONE = DemoAccount(ANONYMOUS, "", {"public/*": ("pull",)})
DTR_PATH = "/auth/v2/token/"


@dataclass(slots=True)
class TokenServer:
    """A token service at `url`, and the requests it got."""

    service: FakeTokenService
    url: str = ""
    asked: list[tuple[str, str | None, str]] = field(default_factory=list)
    """Path, user and scope of each GET, in order."""

    @property
    def realm(self) -> str:
        """The realm of the registry's challenge."""
        return self.url + "/token"


@contextmanager
def running_token_server() -> Iterator[TokenServer]:
    """A token service on a free port, with a new key and the accounts above."""
    server = TokenServer(
        FakeTokenService(
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
