"""Authorizations for a product's API, from the login of its registry.

The login is sent to the registry's own origin, to the configured `api_url`, or to the
API that is known to belong to a registry (Docker Hub).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum

import orjson

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.model import AccessState
from auditor.registry.auth.authorization import (
    ANONYMOUS,
    Authorization,
    access_without_token,
)
from auditor.registry.auth.token_service import MAX_TOKEN_RESPONSE_BYTES, basic_header
from auditor.registry.request import RequestKind, RequestSender
from auditor.util.single_flight import SingleFlight
from auditor.wire.challenge import Challenge
from auditor.wire.credential import Credential, Login

# Quay's user name for an OAuth token ("Using robot accounts and access tokens").
_OAUTH_USER = "$oauthtoken"


class LoginMethod(Enum):
    """How an API takes a login."""

    BASIC = "basic"
    BEARER = "bearer"  # the password is a token
    OAUTH_TOKEN = "oauth token"  # the same, if the user name is `$oauthtoken`
    EXCHANGE = "exchange"  # the API exchanges the login for a token


class ApiLogin:
    """Authorizations for one API. `credential` gives the credential of a repository."""

    def __init__(
        self,
        method: LoginMethod,
        *,
        api_url: str,
        sender: RequestSender,
        credential: Callable[[str], Awaitable[Credential | Failure | None]],
    ) -> None:
        self._method = method
        self._token_url = f"{api_url}/v2/auth/token"
        self._sender = sender
        self._credential = credential
        self._rejected: dict[Login, Failure] = {}
        self._tokens: dict[Login, Authorization] = {}
        self._flights: SingleFlight[Login, Authorization | Failure] = SingleFlight()

    async def authorization(self, name: str) -> Authorization | Failure:
        """An authorization for a repository; anonymous without a usable login."""
        login = await self._credential(name)
        if isinstance(login, Failure):
            return login
        if not isinstance(login, Login) or self._expected_instead(login) is not None:
            return ANONYMOUS
        if self._method is LoginMethod.EXCHANGE:
            return await self._flights.run(login, lambda: self._token(login))
        if login in self._rejected:
            return self._rejected[login]
        if self._method is LoginMethod.BASIC:
            return _authorization(basic_header(login), login)
        return _authorization(f"Bearer {login.password.reveal()}", login)

    async def unused_login(self, name: str) -> str | None:
        """Why a configured credential is not sent for a repository.

        None if there is no credential, or if it is sent.
        """
        credential = await self._credential(name)
        if credential is None or isinstance(credential, Failure):
            return None
        expected = self._expected_instead(credential)
        if expected is None:
            return None
        account = f" of {credential.username!r}" if credential.username else ""
        return f"the login{account} was not used, because the API expects {expected}"

    def _expected_instead(self, credential: Credential) -> str | None:
        """What the API expects, if it does not take this credential."""
        if not isinstance(credential, Login):
            return "a user name and a password"
        is_oauth = credential.username == _OAUTH_USER
        if self._method is LoginMethod.OAUTH_TOKEN and not is_oauth:
            return f"an OAuth token, with the user name {_OAUTH_USER}"
        return None

    async def after_401(
        self, refused: Authorization, name: str
    ) -> Authorization | Failure:
        """Another authorization, if the refused one was an exchanged token.

        A password that was refused is not sent again: that locks accounts.
        """
        current = await self.authorization(name)
        if isinstance(current, Failure) or current.header != refused.header:
            return current  # a helper gave another login, or the token was renewed
        login = await self._credential(name)
        if current.header is None or not isinstance(login, Login):
            return _denied("the API requires a login, and none that fits is configured")
        if self._tokens.pop(login, None) is not None:
            return await self.authorization(name)
        failure = _denied(f"the API rejected the login of {login.username!r}")
        return self._rejected.setdefault(login, failure)

    async def _token(self, login: Login) -> Authorization | Failure:
        """A token of Docker Hub ("Create access token"); it is valid for minutes."""
        if known := self._tokens.get(login) or self._rejected.get(login):
            return known
        body = {"identifier": login.username, "secret": login.password.reveal()}
        response = await self._sender.send(
            RequestKind.TOKEN,
            "POST",
            self._token_url,
            headers={"Content-Type": "application/json"},
            body=orjson.dumps(body),
            max_bytes=MAX_TOKEN_RESPONSE_BYTES,
            redirects=False,
        )
        if isinstance(response, Failure):
            failure = response.at(Stage.TOKEN)
            if response.status == 401:
                self._rejected[login] = failure
            return failure
        try:
            token = parse_access_token(response.body)
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail, stage=Stage.TOKEN)
        self._tokens[login] = _authorization(f"Bearer {token}", login)
        return self._tokens[login]


class ApiAuthorizer:
    """The authorizer of one repository or namespace (see `Authorizer`)."""

    __slots__ = ("_login", "_name")

    def __init__(self, login: ApiLogin, name: str) -> None:
        self._login = login
        self._name = name

    def cached(self) -> Authorization | None:
        """Always None: listings are too few to need it."""
        return None

    async def authorization(self) -> Authorization | Failure:
        """A valid one, fetched if needed."""
        return await self._login.authorization(self._name)

    async def after_401(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure:
        """Another one, after `refused` was answered with a 401."""
        del challenge
        return await self._login.after_401(refused, self._name)


def parse_access_token(body: bytes) -> str:
    """The `access_token` of a response; raises `ProtocolError` if there is none.

    It may contain what RFC 6750 section 2.1 allows in the Authorization field.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"the token response is not JSON: {error.msg}") from None
    token = document.get("access_token") if isinstance(document, dict) else None
    if (
        not isinstance(token, str)
        or not token
        or not token.isascii()
        or not token.isprintable()
        or " " in token
    ):
        raise ProtocolError("the token response contains no token")
    return token


def _denied(detail: str) -> Failure:
    return Failure(
        kind=FailureKind.DENIED, stage=Stage.LIST, status=401, detail=f"{detail} (401)"
    )


def _authorization(header: str, login: Login) -> Authorization:
    return Authorization(
        header=header,
        # Not of an image: no record shows the source of the credential.
        access=access_without_token(AccessState.UNVERIFIABLE, subject=login.username),
    )
