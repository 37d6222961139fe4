"""How a product's API is asked with the login that its registry has.

The login goes to the registry's own origin, to the `api_url` of the configuration,
which is the user's own word, or to the API that is known to belong to a registry.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.model import AccessState
from auditor.registry.auth.authorization import ANONYMOUS, Authorization, access_untold
from auditor.registry.auth.token_service import MAX_TOKEN_ANSWER_BYTES, basic_header
from auditor.registry.products import Login
from auditor.registry.request import Exchange, RequestKind
from auditor.util.single_flight import SingleFlight
from auditor.wire.challenge import Challenge
from auditor.wire.login import Credential
from auditor.wire.login import Login as Kept

# Quay's name for the user of an OAuth token ("Using robot accounts and access tokens").
_OAUTH_USER = "$oauthtoken"


class ApiLogin:
    """Authorizations for one API. `account` gives the login for a repository."""

    def __init__(
        self,
        way: Login,
        *,
        api_url: str,
        exchange: Exchange,
        account: Callable[[str], Awaitable[Kept | Failure | None]],
    ) -> None:
        self._way = way
        self._token_url = f"{api_url}/v2/auth/token"
        self._exchange = exchange
        self._account = account
        self._rejected: dict[str, Failure] = {}
        self._exchanged: dict[tuple[str, str], Authorization] = {}
        self._exchanges: SingleFlight[tuple[str, str], Authorization | Failure] = (
            SingleFlight()
        )

    def for_repository(self, name: str) -> ApiAuth:
        """The authorizer for what is asked of a repository or a namespace."""
        return ApiAuth(self, name)

    async def authorization(self, name: str) -> Authorization | Failure:
        """What to ask for that repository with; anonymous without a login for it."""
        login = await self._account(name)
        if isinstance(login, Failure):
            return login
        if self._wants_else(login) is not None:
            return ANONYMOUS
        assert isinstance(login, Credential)
        password = login.password.reveal()
        match self._way:
            case Login.BASIC:
                return self._fixed(basic_header(login), login)
            case Login.BEARER | Login.OAUTH_TOKEN:
                return self._fixed(f"Bearer {password}", login)
            case Login.EXCHANGE:
                return await self._exchanges.run(
                    (login.username, password), lambda: self._exchanged_for(login)
                )

    async def passed_over(self, name: str) -> str | None:
        """Why there is a login for that repository and it was asked for as anybody;
        null: there is none, or it was used."""
        login = await self._account(name)
        if login is None or isinstance(login, Failure):
            return None
        wants = self._wants_else(login)
        if wants is None:
            return None
        whose = f" of {login.username!r}" if login.username else ""
        return f"the login{whose} was not used: the API takes {wants}"

    def _wants_else(self, login: Kept | None) -> str | None:
        """What the API takes, where this is not it."""
        if not isinstance(login, Credential):
            return "a user name and a password"  # a registry's tokens say nothing to it
        if self._way is Login.OAUTH_TOKEN and login.username != _OAUTH_USER:
            return f"an OAuth token, with the user name {_OAUTH_USER}"
        return None

    def _fixed(self, header: str, login: Credential) -> Authorization | Failure:
        return self._rejected.get(header) or _authorization(header, login.username)

    async def again(self, refused: Authorization, name: str) -> Authorization | Failure:
        """Another one, after one was refused: only an exchanged one can be renewed.

        A password that was refused is not sent again: that locks accounts.
        """
        header = refused.header
        if header is None:
            return _denied(
                "it asks for a login, and the registry has none that it would take"
            )
        kept = [key for key, held in self._exchanged.items() if held.header == header]
        for key in kept:
            del self._exchanged[key]
        if kept:
            return await self.authorization(name)
        who = refused.access.subject
        failure = _denied(f"it refuses the login of {who!r}")
        return self._rejected.setdefault(header, failure)

    async def _exchanged_for(self, login: Credential) -> Authorization | Failure:
        key = (login.username, login.password.reveal())
        known = self._exchanged.get(key) or self._rejected.get(key[1])
        return known or await self._exchange_for(login)

    async def _exchange_for(self, login: Credential) -> Authorization | Failure:
        """Docker Hub API, "Create access token": good for minutes, renewed by a 401."""
        body = {"identifier": login.username, "secret": login.password.reveal()}
        answer = await self._exchange.send(
            RequestKind.TOKEN,
            "POST",
            self._token_url,
            headers={"Content-Type": "application/json"},
            body=orjson.dumps(body),
            max_bytes=MAX_TOKEN_ANSWER_BYTES,
            redirects=False,
        )
        password = login.password.reveal()
        if isinstance(answer, Failure):
            failure = answer.at(Stage.TOKEN)
            if answer.status == 401:
                self._rejected[password] = failure
            return failure
        try:
            token = _access_token(answer.body)
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail, stage=Stage.TOKEN)
        made = _authorization(f"Bearer {token}", login.username)
        self._exchanged[login.username, password] = made
        return made


class ApiAuth:
    """The authorizer of one repository (see `authorization.Authorizer`)."""

    __slots__ = ("_login", "_name")

    def __init__(self, login: ApiLogin, name: str) -> None:
        self._login = login
        self._name = name

    def at_hand(self) -> Authorization | None:
        """Nothing: lists are few, and are asked for anew."""
        return None

    async def authorization(self) -> Authorization | Failure:
        """One that is good now."""
        return await self._login.authorization(self._name)

    async def again(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure:
        """Another one, after `refused` was answered 401."""
        del challenge
        return await self._login.again(refused, self._name)


def _access_token(body: bytes) -> str:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"the token answer is not JSON: {error.msg}") from None
    token = document.get("access_token") if isinstance(document, dict) else None
    # RFC 6750 section 2.1: what may stand in the field, and nothing else.
    if not isinstance(token, str) or not token or not token.isascii() or " " in token:
        raise ProtocolError("the token answer holds no token")
    if not token.isprintable():
        raise ProtocolError("the token answer holds no token")
    return token


def _denied(detail: str) -> Failure:
    return Failure(
        kind=FailureKind.DENIED, stage=Stage.LIST, status=401, detail=f"{detail} (401)"
    )


def _authorization(header: str, username: str | None) -> Authorization:
    return Authorization(
        header=header,
        # Of a list: no record says where the credential stands.
        access=access_untold(AccessState.UNVERIFIABLE, subject=username),
    )
