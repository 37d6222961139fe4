"""How a sandbox registry decides whether a request may pass.

Distribution docs, "Configuring a registry: auth", and the challenges of its
`silly`, `htpasswd` and `token` access controllers (RFC 6750, RFC 7617).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from aiohttp import web
from yarl import URL

from auditor.demo.tokens import (
    Account,
    TokenService,
    basic_credential,
    split_scope,
    unauthorized,
)
from auditor.fast_dataclass import dataclass


class Access(Protocol):
    """An access controller."""

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        """The answer to a request that may not have this scope; None lets it pass.

        The scope is None for `/v2/`, which anyone with a valid credential may ask.
        """

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The routes that this controller adds to the registry's own."""


class Open:
    """Everyone may read everything."""

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        """Never."""
        del request, scope
        return None

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """None."""
        return ()


@dataclass(frozen=True, slots=True)
class Basic:
    """Basic authentication at the registry itself."""

    accounts: Iterable[Account]
    challenge: str = 'Basic realm="sandbox registry"'

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        """401 for an unknown user; 403 for a user without the grant."""
        credential = basic_credential(request)
        for one in self.accounts:
            if (one.name, one.password) == credential:
                break
        else:
            return unauthorized(self.challenge)
        if scope is None:
            return None
        _, name, actions = split_scope(scope)
        if one.granted(name, actions):
            return None
        error = {"code": "DENIED", "message": "requested access is denied"}
        return web.json_response({"errors": [error]}, status=403)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """None."""
        return ()


@dataclass(frozen=True, slots=True)
class Bearer:
    """Tokens of a token service, which is served at the registry's own origin.

    Where the service's `realm` is a whole URL, the challenge names that.
    """

    tokens: TokenService

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        """401 with a Bearer challenge, as distribution's token controller says it."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        error = None
        if scheme.lower() == "bearer":
            if scope is None:
                allowed = None if self.tokens.claims(token) is None else True
            else:
                allowed = self.tokens.allows(token, scope)
            if allowed:
                return None
            error = "invalid_token" if allowed is None else "insufficient_scope"
        return unauthorized(self._challenge(request, scope, error), _detail(scope))

    def _challenge(
        self, request: web.Request, scope: str | None, error: str | None
    ) -> str:
        # Under the name that the client used, as a proxy in front would have it.
        origin = URL(f"{request.scheme}://{request.host}")
        parameters = {
            "realm": str(origin.join(URL(self.tokens.realm))),
            "service": self.tokens.service,
            "scope": scope,
            "error": error,
        }
        return "Bearer " + ",".join(
            f'{name}="{value}"' for name, value in parameters.items() if value
        )

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The token service's routes."""
        return self.tokens.routes()


def _detail(scope: str | None) -> object:
    if scope is None:
        return None
    kind, name, actions = split_scope(scope)
    return [
        {"Type": kind, "Class": "", "Name": name, "Action": action}
        for action in actions
    ]
