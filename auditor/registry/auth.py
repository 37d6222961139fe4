"""The authorization for each scope of one registry."""

from __future__ import annotations

from auditor.errors import Failure, FailureKind, Stage
from auditor.protocol.challenge import Challenge
from auditor.protocol.scope import Scope
from auditor.records import Access, AccessState
from auditor.registry.authorization import ANONYMOUS, Authorization
from auditor.registry.clock import Clock
from auditor.registry.credentials import Credential
from auditor.registry.plan import HostPlan, Plan, Scheme
from auditor.registry.token_service import TokenService, basic_header
from auditor.registry.tokens import TokenKey, TokenStore


class HostAuth:
    """Authorizations for one registry with one credential.

    A credential that is a `Failure` exists and cannot be used: it is only missed
    where the host asks for one.
    """

    def __init__(
        self,
        *,
        plan: HostPlan,
        credential: Credential | Failure | None,
        service: TokenService,
        clock: Clock,
    ) -> None:
        self.plan = plan
        self._credential = credential
        self._clock = clock
        self.tokens = TokenStore(service.fetch, clock=clock)

    def for_scope(self, scope: Scope) -> ScopeAuth:
        """The authorizer for requests that need `scope`."""
        return ScopeAuth(self, scope)

    @property
    def account(self) -> str | None:
        """The user name that goes with token requests; null: anonymous."""
        credential = self._credential
        return credential.username if isinstance(credential, Credential) else None

    async def grant(self, scope: Scope) -> Authorization | Failure:
        """An authorization for `scope`."""
        plan = await self.plan.get()
        if isinstance(plan, Failure):
            return plan
        if plan.scheme in {Scheme.NONE, Scheme.UNKNOWN}:
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
        lacks = "pull" if self._scope.type == "repository" else str(self._scope)
        return Failure(
            kind=FailureKind.NO_PULL_GRANT,
            stage=Stage.TOKEN,
            detail=f"the token grants {who} {has} on {self._scope.name}, not {lacks}",
        )

    async def again(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure:
        """Another one, after `refused` was answered 401 with `challenge`."""
        if refused.key is not None and refused.token is not None:
            self._host.tokens.discard(refused.key, refused.token)
        if challenge is not None:
            self._host.plan.learn(challenge)
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
        plan = self._host.plan.known()
        if plan is None:
            return True
        if plan.scheme is not Scheme.BEARER:
            return False
        return self._host.tokens.wanted(self._host.key(plan, self._scope))
