"""The authorization for each scope of one registry."""

from __future__ import annotations

from collections.abc import Callable

from auditor.errors import Failure, FailureKind, Stage
from auditor.protocol.challenge import Challenge
from auditor.protocol.credential import Credential, IdentityToken, RegistryToken
from auditor.protocol.scope import Scope, wider
from auditor.protocol.tokens.token import access_of
from auditor.records import Access, AccessState
from auditor.registry.access.accounts import Account, Accounts
from auditor.registry.access.authorization import ANONYMOUS, Authorization
from auditor.registry.access.credentials import Credentials, Found
from auditor.registry.access.token_service import TokenService, basic_header
from auditor.registry.access.tokens import MAX_TOKENS, HeldToken, TokenKey, TokenStore
from auditor.registry.clock import Clock
from auditor.registry.plan import HostPlan, Plan, Scheme


class HostAuth:
    """Authorizations for one registry, with a login for each part of it.

    A login that exists and cannot be used is a `Failure`: it is only missed where
    the host asks for one, and helpers are only asked then.
    """

    def __init__(
        self,
        *,
        registry: str,
        plan: HostPlan,
        credentials: Credentials,
        service: Callable[[Found | None], TokenService],
        clock: Clock,
    ) -> None:
        self.plan = plan
        self.accounts = Accounts(
            registry=registry, credentials=credentials, service=service, clock=clock
        )
        self._clock = clock
        self.tokens = TokenStore(self._fetch, clock=clock)
        self._given: dict[Scope, tuple[Plan, Authorization]] = {}

    def for_scope(self, scope: Scope) -> ScopeAuth:
        """The authorizer for requests that need `scope`."""
        return ScopeAuth(self, scope)

    async def account(self, scope: Scope) -> Account | Failure:
        """Who asks for `scope`."""
        return await self.accounts.of(self.accounts.part(scope))

    async def _fetch(self, key: TokenKey) -> HeldToken | Failure:
        account = await self.accounts.of(key.part)
        if isinstance(account, Failure):
            return account
        token = await account.service.fetch(key)
        if isinstance(token, Failure) and token.kind is FailureKind.DENIED:
            newer = await self.accounts.after_refusal(key.part, account)
            if newer.found != account.found:
                return await newer.service.fetch(key)
        return token

    def at_hand(self, scope: Scope) -> Authorization | None:
        """What `grant` has given for `scope` and would give again.

        A request asks for it several times; looking it up again costs as much as
        reading a manifest.
        """
        given = self._given.get(scope)
        if given is None or given[0] is not self.plan.known():
            return None
        token = given[1].token
        if token is not None and self._clock.monotonic() >= token.renew_at:
            return None
        return given[1]

    def discard(self, refused: Authorization) -> None:
        """Forget an authorization that was refused, and its token."""
        if refused.scope is not None:
            self._given.pop(refused.scope, None)
        if refused.key is not None and refused.token is not None:
            self.tokens.discard(refused.key, refused.token)

    def _give(self, scope: Scope, plan: Plan, granted: Authorization) -> Authorization:
        if len(self._given) >= MAX_TOKENS:
            self._given.clear()  # what is needed is looked up again
        self._given[scope] = plan, granted
        return granted

    async def grant(self, scope: Scope) -> Authorization | Failure:
        """An authorization for `scope`."""
        plan = await self.plan.get()
        if isinstance(plan, Failure):
            return plan
        if plan.scheme in {Scheme.NONE, Scheme.UNKNOWN}:
            return self._give(scope, plan, ANONYMOUS)
        account = await self.account(scope)
        if isinstance(account, Failure):
            return account
        if plan.scheme is Scheme.BASIC:
            return _basic(account)
        if isinstance(account.login, RegistryToken):
            token = account.login.token.reveal()
            return Authorization(
                header=f"Bearer {token}",
                fixed=True,
                access=access_of(
                    token,
                    scope.name,
                    resource=scope.type,
                    credential=account.source,
                ),
            )
        key = self.key(plan, scope)
        held = await self.tokens.get(key)
        if isinstance(held, Failure):
            return held
        granted = Authorization(
            header=held.authorization,
            access=held.access,
            key=key,
            scope=scope,
            token=held,
        )
        if held.access.state is AccessState.DENIED:
            return granted
        return self._give(scope, plan, granted)

    def key(self, plan: Plan, scope: Scope) -> TokenKey:
        """What the token for `scope` is held under."""
        return TokenKey(
            part=self.accounts.part(scope),
            realm=plan.realm or "",
            service=plan.service,
            scope=str(scope),
        )


def _basic(account: Account) -> Authorization | Failure:
    login = account.login
    if isinstance(login, Credential):
        return Authorization(
            header=basic_header(login),
            fixed=True,
            trial=None if account.trial.accepted else account.trial,
            access=Access(
                state=AccessState.UNVERIFIABLE,
                actions=(),
                subject=login.username,
                issuer=None,
                verified=False,
                credential=account.source,
            ),
        )
    has = "none is configured for it"
    if login is not None:
        what = "an identity" if isinstance(login, IdentityToken) else "a registry"
        has = f"what is configured for it is {what} token"
    return Failure(
        kind=FailureKind.DENIED,
        stage=Stage.TOKEN,
        status=401,
        detail=f"the registry asks for a user name and a password, and {has}",
    )


class ScopeAuth:
    """The authorizer of one scope (see `authorization.Authorizer`)."""

    __slots__ = ("_host", "_scope")

    def __init__(self, host: HostAuth, scope: Scope) -> None:
        self._host = host
        self._scope = scope

    def at_hand(self) -> Authorization | None:
        """One that is good now, if it is known without asking or waiting."""
        return self._host.at_hand(self._scope)

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
        self._host.discard(refused)
        if challenge is not None:
            self._host.plan.learn(challenge)
            # For what is asked next, too: the pages of one list have one authorizer.
            said = challenge.parameters.get("scope")
            self._scope = wider(self._scope, said) or self._scope
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
        if self.at_hand() is not None:
            return False
        plan = self._host.plan.known()
        if plan is None:
            return True
        if plan.scheme is not Scheme.BEARER:
            return False
        return self._host.tokens.wanted(self._host.key(plan, self._scope))
