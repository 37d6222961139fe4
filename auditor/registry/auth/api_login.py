"""Authorizations for a product's API, from the login of its registry.

The login is sent to the registry's own origin, to the configured `api_url`, or to the
API that is known to belong to a registry (Docker Hub).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import field
from enum import Enum

import orjson

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import Access, AccessState
from auditor.registry.auth.authorization import ANONYMOUS, Authorization
from auditor.registry.auth.token_service import MAX_TOKEN_RESPONSE_BYTES, basic_header
from auditor.registry.request import RequestKind, RequestSender
from auditor.util.single_flight import SingleFlight
from auditor.wire.challenge import Challenge
from auditor.wire.credential import Credential, Login
from auditor.wire.token import is_bearer_token

# Quay's user name for an OAuth token ("Using robot accounts and access tokens").
_OAUTH_USER = "$oauthtoken"


class LoginMethod(Enum):
    """How an API takes a login."""

    BASIC = "basic"
    BEARER = "bearer"  # the password is a token
    OAUTH_TOKEN = "oauth token"  # the same, if the user name is `$oauthtoken`
    EXCHANGE = "exchange"  # the API exchanges the login for a token


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAuthorizer:
    """The `Authorizer` of the repository or namespace `name` at one API.

    `replace` gives one for another name, with the same tokens and rejected logins.
    `credential` gives the credential of a repository.
    """

    method: LoginMethod
    api_url: str
    sender: RequestSender
    credential: Callable[[str], Awaitable[Credential | Failure | None]]
    name: str = ""
    rejected: dict[Login, Failure] = field(default_factory=dict)
    tokens: dict[Login, Authorization] = field(default_factory=dict)
    flights: SingleFlight[Login, Authorization | Failure] = field(
        default_factory=SingleFlight
    )

    def cached(self) -> Authorization | None:
        """Always None: listings are too few to need it."""
        return None

    async def authorization(self) -> Authorization | Failure:
        """A valid one, fetched if needed; anonymous without a usable login."""
        login = await self.credential(self.name)
        if isinstance(login, Failure):
            return login
        if not isinstance(login, Login) or self._expected_instead(login) is not None:
            return ANONYMOUS
        if self.method is LoginMethod.EXCHANGE:
            return await self.flights.run(login, lambda: self._token(login))
        if login in self.rejected:
            return self.rejected[login]
        if self.method is LoginMethod.BASIC:
            return _authorization(basic_header(login), login)
        return _authorization(f"Bearer {login.password.reveal()}", login)

    async def unused_login(self) -> str | None:
        """Why the configured credential is not sent; None without one, or if it is."""
        credential = await self.credential(self.name)
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
        if self.method is LoginMethod.OAUTH_TOKEN and not is_oauth:
            return f"an OAuth token, with the user name {_OAUTH_USER}"
        return None

    async def after_401(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure:
        """Another authorization, if the refused one was an exchanged token.

        A password that was refused is not sent again: that locks accounts.
        """
        del challenge
        current = await self.authorization()
        if isinstance(current, Failure) or current.header != refused.header:
            return current  # a helper gave another login, or the token was renewed
        login = await self.credential(self.name)
        if current.header is None or not isinstance(login, Login):
            return _denied("the API requires a login, and none that fits is configured")
        if self.tokens.pop(login, None) is not None:
            return await self.authorization()
        failure = _denied(f"the API rejected the login of {login.username!r}")
        return self.rejected.setdefault(login, failure)

    async def _token(self, login: Login) -> Authorization | Failure:
        """A token of Docker Hub ("Create access token"); it is valid for minutes."""
        if known := self.tokens.get(login) or self.rejected.get(login):
            return known
        body = {"identifier": login.username, "secret": login.password.reveal()}
        response = await self.sender.send(
            RequestKind.TOKEN,
            "POST",
            f"{self.api_url}/v2/auth/token",
            headers={"Content-Type": "application/json"},
            body=orjson.dumps(body),
            max_bytes=MAX_TOKEN_RESPONSE_BYTES,
            redirects=False,
        )
        if isinstance(response, Failure):
            failure = response.at(Stage.TOKEN)
            if response.status == 401:
                self.rejected[login] = failure
            return failure
        try:
            token = parse_access_token(response.body)
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail, stage=Stage.TOKEN)
        self.tokens[login] = _authorization(f"Bearer {token}", login)
        return self.tokens[login]


def parse_access_token(body: bytes) -> str:
    """The `access_token` of a response; raises `ProtocolError` if there is none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"the token response is not JSON: {error.msg}") from None
    token = document.get("access_token") if isinstance(document, dict) else None
    if not is_bearer_token(token):
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
        access=Access(state=AccessState.UNVERIFIABLE, subject=login.username),
    )
