"""The token service of one registry, asked for one scope at a time.

Source: distribution, "Token Authentication Specification" (GET with Basic).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import anyio

from auditor.config import RegistrySettings
from auditor.errors import Failure, ProtocolError, Stage
from auditor.protocol.decide import failure_of
from auditor.protocol.realm import Origin, check_realm, token_url
from auditor.protocol.scope import parse_scope
from auditor.protocol.token import access_of, parse_token_answer
from auditor.registry.clock import Clock
from auditor.registry.credentials import Credential
from auditor.registry.exchange import Exchange, RequestKind
from auditor.registry.tokens import HeldToken, TokenKey

if TYPE_CHECKING:
    from auditor.protocol.keys import KeySet

# A token answer is a JWT and a few fields; the largest seen hold some dozen grants.
MAX_TOKEN_ANSWER_BYTES = 64 * 1024


class TokenService:
    """Fetches tokens with one credential, or anonymously without one."""

    def __init__(
        self,
        *,
        origin: Origin,
        settings: RegistrySettings,
        credential: Credential | None,
        keys: KeySet | None,
        exchange: Exchange,
        clock: Clock,
    ) -> None:
        self._origin = origin
        self._settings = settings
        self._credential = credential
        self._keys = keys
        self._exchange = exchange
        self._clock = clock
        self._rejected: Failure | None = None
        self._accepted = False
        self._first_login = anyio.Lock()

    async def fetch(self, key: TokenKey) -> HeldToken | Failure:
        """The token for the one scope of `key`.

        A password is tried by one request before others follow, and one that was
        refused is not sent again: asking on with a wrong one locks accounts.
        """
        outcome = await self._fetch_once_accepted(key)
        return outcome.at(Stage.TOKEN) if isinstance(outcome, Failure) else outcome

    async def _fetch_once_accepted(self, key: TokenKey) -> HeldToken | Failure:
        if self._credential is not None and not self._accepted:
            async with self._first_login:
                if not self._accepted and self._rejected is None:
                    return await self._request_token(key)
        if self._rejected is not None:
            return self._rejected
        return await self._request_token(key)

    async def _request_token(self, key: TokenKey) -> HeldToken | Failure:
        try:
            realm = self._checked_realm(key.realm)
            scope = parse_scope(key.scope) if key.scope else None
            url = token_url(realm, service=key.service, scope=scope)
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail)
        credential = self._credential
        sent_at = self._clock.monotonic()
        answer = await self._exchange.send(
            RequestKind.TOKEN,
            "GET",
            url,
            headers={"Authorization": basic_header(credential)} if credential else {},
            max_bytes=MAX_TOKEN_ANSWER_BYTES,
            redirects=False,
            wanted={401},
        )
        if isinstance(answer, Failure):
            return answer
        if answer.status == 401:
            refusal = failure_of(answer)
            if credential is None:
                return _said(refusal, "the token service wants a credential")
            refused = _said(
                refusal,
                "the token service refuses the user name and password of"
                f" {credential.username!r}",
            )
            if not self._accepted:  # else it is this scope that is refused
                self._rejected = refused
            return refused
        self._accepted = True
        try:
            given = parse_token_answer(answer.body)
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail, status=answer.status)
        value = given.token.reveal()
        return HeldToken(
            authorization="Bearer " + value,
            access=access_of(
                value,
                scope.name if scope else "",
                resource=scope.type if scope else "repository",
                verified=self._verified(value, key.service),
            ),
            obtained_at=sent_at,
            expires_at=sent_at + given.expires_in_s,
        )

    def _checked_realm(self, realm: str) -> str:
        if realm == self._settings.token_url:
            return realm  # the user's own word
        return check_realm(
            realm, registry=self._origin, allowed_hosts=self._settings.realm_hosts
        )

    def _verified(self, token: str, service: str | None) -> bool:
        if self._keys is None:
            return False
        # Loads the cryptography library, which only those with keys need.
        from auditor.protocol.keys import verify_token  # noqa: PLC0415

        return verify_token(
            token,
            self._keys,
            audience=service,
            issuer=None,
            now=self._clock.epoch(),
        ).verified


def basic_header(credential: Credential) -> str:
    """The Authorization field for Basic (RFC 7617, UTF-8)."""
    pair = f"{credential.username}:{credential.password.reveal()}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")


def _said(failure: Failure, meaning: str) -> Failure:
    return Failure(
        kind=failure.kind,
        detail=f"{meaning} ({failure.status})",
        status=failure.status,
        attempts=failure.attempts,
    )
