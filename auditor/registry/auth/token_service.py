"""The token service of one registry, asked for one scope at a time.

Sources: distribution, "Token Authentication Specification" (GET with Basic) and
"OAuth2 Token Authentication" (POST with a refresh token).
"""

from __future__ import annotations

import base64
from collections.abc import Container
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.registry.auth.authorization import HeldToken, TokenKey
from auditor.registry.auth.credentials import Found
from auditor.registry.auth.docker_config import TOKEN_USER
from auditor.registry.request import Exchange, RequestKind
from auditor.util.clock import Clock
from auditor.wire.challenge import parse_scope
from auditor.wire.login import Credential, IdentityToken, Login
from auditor.wire.response import Response
from auditor.wire.retry_policy import failure_of
from auditor.wire.token import access_of, parse_token_answer, refresh_form
from auditor.wire.url_policy import Origin, check_realm, token_url

if TYPE_CHECKING:
    from auditor.oci.jws import KeySet
    from auditor.util.secret import Secret

# A token answer is a JWT and a few fields; the largest seen hold some dozen grants.
MAX_TOKEN_ANSWER_BYTES = 64 * 1024
# What says no to a login: 401, and 400 from ECR's public service when it has expired.
_REFUSALS = frozenset({400, 401})
# What services without POST answer to one: GCR 404, Artifactory 401, ACR 400 where
# it does not know the grant, others 405 (containerd, remotes/docker/authorizer.go).
_NO_POST = frozenset({400, 401, 404, 405})


class TokenService:
    """Fetches tokens with one login, or anonymously without one.

    A user and a password are sent by GET with Basic. An identity token is sent by
    POST, and where a service does not take that, by GET as a password is.
    """

    def __init__(
        self,
        *,
        origin: Origin,
        settings: RegistrySettings,
        found: Found | None,
        keys: KeySet | None,
        exchange: Exchange,
        clock: Clock,
    ) -> None:
        self._origin = origin
        self._settings = settings
        self._login = None if found is None else found.login
        self._source = None if found is None else found.source
        self._keys = keys
        self._exchange = exchange
        self._clock = clock
        self._rejected: Failure | None = None
        self._accepted = False
        self._first_login = anyio.Lock()
        self._posts = isinstance(self._login, IdentityToken)
        self._rotates = False

    async def fetch(self, key: TokenKey) -> HeldToken | Failure:
        """The token for the one scope of `key`.

        A login is tried by one request before others follow, and one that was
        refused is not sent again: asking on with a wrong password locks accounts.
        """
        outcome = await self._fetch_once_accepted(key)
        return outcome.at(Stage.TOKEN) if isinstance(outcome, Failure) else outcome

    async def _fetch_once_accepted(self, key: TokenKey) -> HeldToken | Failure:
        if self._login is not None and (self._rotates or not self._accepted):
            async with self._first_login:
                if self._rotates or (not self._accepted and self._rejected is None):
                    # A token that is replaced with each use is used by one at a time.
                    return await self._request_token(key)
        if self._rejected is not None:
            return self._rejected
        return await self._request_token(key)

    async def _request_token(self, key: TokenKey) -> HeldToken | Failure:
        try:
            realm = allowed_realm(
                key.realm, registry=self._origin, settings=self._settings
            )
            scope = parse_scope(key.scope) if key.scope else None
            url = token_url(realm, service=key.service, scope=scope)
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail)
        sent_at = self._clock.monotonic()
        answer = await self._ask(realm, url, key)
        if isinstance(answer, Failure):
            return answer
        if answer.status in _REFUSALS:
            return self._refusal(answer)
        self._accepted = True
        try:
            given = parse_token_answer(answer.body)
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail, status=answer.status)
        self._take_over(given.refresh_token)
        value = given.token.reveal()
        return HeldToken(
            authorization="Bearer " + value,
            access=access_of(
                value,
                scope.name if scope else "",
                resource=scope.type if scope else "repository",
                verified=self._verified(value, key.service),
                credential=self._source,
            ),
            obtained_at=sent_at,
            expires_at=sent_at + given.expires_in_s,
        )

    async def _ask(self, realm: str, url: str, key: TokenKey) -> Response | Failure:
        login = self._login
        if isinstance(login, IdentityToken) and self._posts:
            tried = self._accepted
            answer = await self._send(
                "POST",
                realm,
                body=refresh_form(login.token, service=key.service, scope=key.scope),
                wanted=_REFUSALS if tried else _NO_POST,
            )
            if isinstance(answer, Failure) or tried or answer.status not in _NO_POST:
                return answer
            self._posts = False
        return await self._send(
            "GET", url, login=login, wanted=_REFUSALS if login else {401}
        )

    async def _send(
        self,
        method: str,
        url: str,
        *,
        wanted: Container[int],
        login: Login | None = None,
        body: bytes | None = None,
    ) -> Response | Failure:
        headers = {}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if login is not None:
            headers["Authorization"] = basic_header(login)
        return await self._exchange.send(
            RequestKind.TOKEN,
            method,
            url,
            headers=headers,
            max_bytes=MAX_TOKEN_ANSWER_BYTES,
            body=body,
            redirects=False,
            wanted=wanted,
        )

    def _refusal(self, answer: Response) -> Failure:
        refusal = failure_of(answer)
        login = self._login
        if login is None:
            return _said(refusal, "the token service wants a credential")
        if isinstance(login, Credential):
            what = f"the user name and password of {login.username!r}"
        else:
            whose = f" of {login.username!r}" if login.username else ""
            what = f"the identity token{whose}"
        if answer.status == 400:
            # ECR's public token service; or it is the scope that it does not like.
            return replace(
                refusal,
                kind=FailureKind.DENIED,
                detail=f"the token service refuses to answer {what}, which may have"
                f" expired ({refusal.detail})",
            )
        refused = _said(refusal, f"the token service refuses {what}")
        if not self._accepted:  # else it is this scope that is refused
            self._rejected = refused
        return refused

    def _take_over(self, refresh_token: Secret | None) -> None:
        """Use the identity token that came in place of ours (RFC 6749 section 6)."""
        login = self._login
        if (
            isinstance(login, IdentityToken)
            and self._posts
            and refresh_token is not None
            and refresh_token != login.token
        ):
            self._login = replace(login, token=refresh_token)
            self._rotates = True

    def _verified(self, token: str, service: str | None) -> bool:
        if self._keys is None:
            return False
        # Loads the cryptography library, which only those with keys need.
        from auditor.oci.jws import verify_token  # noqa: PLC0415

        return verify_token(
            token,
            self._keys,
            audience=service,
            issuer=None,
            now=self._clock.epoch(),
        ).verified


def allowed_realm(realm: str, *, registry: Origin, settings: RegistrySettings) -> str:
    """The realm, if a login may be sent there; else `ProtocolError(REALM_REFUSED)`."""
    if realm == settings.token_url:
        return realm  # the user's own word
    return check_realm(realm, registry=registry, allowed_hosts=settings.realm_hosts)


def basic_header(login: Login) -> str:
    """The Authorization field for Basic (RFC 7617, UTF-8).

    A token takes the place of the password; docker's name for such a user stands for
    one that is not known.
    """
    secret = login.password if isinstance(login, Credential) else login.token
    pair = f"{login.username or TOKEN_USER}:{secret.reveal()}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")


def _said(failure: Failure, meaning: str) -> Failure:
    return Failure(
        kind=failure.kind,
        detail=f"{meaning} ({failure.status})",
        status=failure.status,
        attempts=failure.attempts,
    )
