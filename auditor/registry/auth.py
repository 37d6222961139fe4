"""How one host wants to be asked, and the authorization for each scope.

One `/v2/` ping per host tells it (distribution-spec, "API version check"), or the
configuration does. After that no request is sent that is known to be answered 401.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.protocol.challenge import Challenge, parse_challenges, preferred
from auditor.protocol.decide import RETRYABLE_STATUSES, failure_of
from auditor.protocol.realm import Origin, check_realm, token_url
from auditor.protocol.scope import Scope, parse_scope
from auditor.protocol.token import access_of, parse_token_answer
from auditor.records import Access, AccessState
from auditor.registry.authorization import ANONYMOUS, Authorization
from auditor.registry.clock import Clock
from auditor.registry.credentials import Credential
from auditor.registry.exchange import Exchange, RequestKind
from auditor.registry.single_flight import SingleFlight
from auditor.registry.tokens import HeldToken, TokenKey, TokenStore

if TYPE_CHECKING:
    from auditor.protocol.keys import KeySet

# A token answer is a JWT and a few fields; the largest seen hold some dozen grants.
MAX_TOKEN_ANSWER_BYTES = 64 * 1024
# A host whose ping failed is given this long before somebody tries again.
DEAD_HOST_S = 30.0
# Everything final but 2xx that a ping may say: 401 is the usual answer, and some
# products answer 403 or 404 there and serve manifests all the same.
_PING_STATUSES = frozenset(range(300, 500)) - RETRYABLE_STATUSES


class Scheme(StrEnum):
    """How the host wants to be asked."""

    NONE = "none"
    BASIC = "basic"
    BEARER = "bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the challenge or the configuration says."""

    scheme: Scheme
    realm: str | None = None
    service: str | None = None


class HostAuth:
    """Authorizations for one registry with one credential."""

    def __init__(
        self,
        *,
        ping_url: str,
        origin: Origin,
        settings: RegistrySettings,
        credential: Credential | Failure | None,
        keys: KeySet | None,
        exchange: Exchange,
        token_exchange: Exchange,
        clock: Clock,
    ) -> None:
        self._ping_url = ping_url
        self._origin = origin
        self._settings = settings
        self._credential = credential
        self._keys = keys
        self._exchange = exchange
        self._token_exchange = token_exchange
        self._clock = clock
        self._plan: Plan | None = None
        if settings.token_url:
            self._plan = Plan(
                scheme=Scheme.BEARER,
                realm=settings.token_url,
                service=settings.service or urlsplit(ping_url).netloc,
            )
        self._dead: tuple[Failure, float] | None = None
        self._rejected: Failure | None = None
        self._accepted = False
        self._first_login = anyio.Lock()
        self._pings: SingleFlight[str, Plan | Failure] = SingleFlight()
        self.tokens = TokenStore(self._fetch_token, clock=clock)

    def for_scope(self, scope: Scope) -> ScopeAuth:
        """The authorizer for requests that need `scope`."""
        return ScopeAuth(self, scope)

    @property
    def account(self) -> str | None:
        """The user name that goes with token requests; null: anonymous."""
        credential = self._credential
        return credential.username if isinstance(credential, Credential) else None

    # -- the plan --------------------------------------------------------------

    def known_plan(self) -> Plan | None:
        """The plan, if it is known without asking."""
        return self._plan

    async def plan(self) -> Plan | Failure:
        """How the host wants to be asked; a ping where that is not known."""
        if self._plan is not None:
            return self._plan
        if self._dead is not None and self._clock.monotonic() < self._dead[1]:
            return self._dead[0]
        return await self._pings.run("ping", self._ping)

    async def _ping(self) -> Plan | Failure:
        answer = await self._exchange.send(
            RequestKind.PING,
            "GET",
            self._ping_url,
            headers={},
            max_bytes=MAX_TOKEN_ANSWER_BYTES,
            wanted=_PING_STATUSES,
        )
        if isinstance(answer, Failure):
            self._dead = (answer, self._clock.monotonic() + DEAD_HOST_S)
            return answer
        plan = Plan(scheme=Scheme.NONE)
        if answer.status == 401:
            values = answer.headers.getall("WWW-Authenticate", ())
            challenge = preferred(parse_challenges(values))
            if challenge is not None:
                plan = self._plan_of(challenge)
        self._plan = plan
        return plan

    def _plan_of(self, challenge: Challenge) -> Plan:
        if challenge.scheme == "basic":
            return Plan(scheme=Scheme.BASIC)
        return Plan(
            scheme=Scheme.BEARER,
            realm=challenge.parameters["realm"],
            service=self._settings.service or challenge.parameters.get("service"),
        )

    def learn(self, challenge: Challenge) -> None:
        """Take over what a 401 says, unless the configuration has said it."""
        if not self._settings.token_url:
            self._plan = self._plan_of(challenge)

    # -- authorizations --------------------------------------------------------------

    async def grant(self, scope: Scope) -> Authorization | Failure:
        """An authorization for `scope`."""
        plan = await self.plan()
        if isinstance(plan, Failure):
            return plan
        if plan.scheme is Scheme.NONE:
            return ANONYMOUS
        if isinstance(self._credential, Failure):
            return self._credential
        if plan.scheme is Scheme.BASIC:
            return self._basic()
        key = self.key(plan, scope)
        token = await self.tokens.get(key)
        if isinstance(token, Failure):
            return token
        return Authorization(
            header=token.authorization,
            access=token.access,
            key=key,
            token=token,
        )

    def key(self, plan: Plan, scope: Scope) -> TokenKey:
        """What the token for `scope` is held under."""
        return TokenKey(
            account=self.account,
            realm=plan.realm or "",
            service=plan.service,
            scope=str(scope),
        )

    def _basic(self) -> Authorization | Failure:
        credential = self._credential
        if not isinstance(credential, Credential):
            return Failure(
                kind=FailureKind.DENIED,
                stage=Stage.TOKEN,
                status=401,
                detail="the registry asks for a user name and a password,"
                " and none is configured for it",
            )
        return Authorization(
            header=basic_header(credential),
            basic=True,
            access=Access(
                state=AccessState.UNVERIFIABLE,
                actions=(),
                subject=credential.username,
                issuer=None,
                verified=False,
            ),
        )

    # -- tokens ----------------------------------------------------------------

    async def _fetch_token(self, key: TokenKey) -> HeldToken | Failure:
        outcome = await self.request_token(key)
        return outcome.at(Stage.TOKEN) if isinstance(outcome, Failure) else outcome

    async def request_token(self, key: TokenKey) -> HeldToken | Failure:
        """Ask the token service for the one scope of `key`.

        A password is tried by one request before others follow, and one that was
        refused is not sent again: asking on with a wrong one locks accounts.
        """
        if isinstance(self._credential, Credential) and not self._accepted:
            async with self._first_login:
                if self._rejected is None:
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
        answer = await self._token_exchange.send(
            RequestKind.TOKEN,
            "GET",
            url,
            headers={"Authorization": basic_header(credential)}
            if isinstance(credential, Credential)
            else {},
            max_bytes=MAX_TOKEN_ANSWER_BYTES,
            redirects=False,
            wanted={401},
        )
        if isinstance(answer, Failure):
            return answer
        if answer.status == 401:
            refusal = failure_of(answer)
            if not isinstance(credential, Credential):
                return _said(refusal, "the token service wants a credential")
            refused = _said(
                refusal,
                "the token service refuses the user name and password of"
                f" {credential.username!r}",
            ).at(Stage.TOKEN)
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


class ScopeAuth:
    """The authorizer of one scope (see `authorization.Authorizer`)."""

    __slots__ = ("_host", "_scope")

    def __init__(self, host: HostAuth, scope: Scope) -> None:
        self._host = host
        self._scope = scope

    async def authorization(self) -> Authorization | Failure:
        """One that is good now.

        A token that does not grant what the scope asks for is the failure
        `NO_PULL_GRANT`: asking with it would only be answered 401 or 403.
        """
        granted = await self._host.grant(self._scope)
        if (
            isinstance(granted, Failure)
            or granted.access.state is not AccessState.DENIED
        ):
            return granted
        subject = granted.access.subject
        who = f"{subject!r}" if subject else "the anonymous user"
        has = ", ".join(granted.access.actions) or "nothing"
        return Failure(
            kind=FailureKind.NO_PULL_GRANT,
            stage=Stage.TOKEN,
            detail=f"the token grants {who} {has} on {self._scope.name}, not pull",
        )

    async def again(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure:
        """Another one, after `refused` was answered 401 with `challenge`."""
        if refused.key is not None and refused.token is not None:
            self._host.tokens.discard(refused.key, refused.token)
        if challenge is not None:
            self._host.learn(challenge)
        renewed = await self.authorization()
        if isinstance(renewed, Authorization) and renewed.header is None:
            return Failure(
                kind=FailureKind.DENIED,
                status=401,
                detail="the registry asks for a credential and does not say how (401)",
            )
        return renewed

    def wanted(self) -> bool:
        """Whether it would pay to fetch the token ahead of its use."""
        plan = self._host.known_plan()
        if plan is None:
            return True
        if plan.scheme is not Scheme.BEARER:
            return False
        return self._host.tokens.wanted(self._host.key(plan, self._scope))


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
