"""The authorization for each scope of one registry."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import field, replace

from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import AccessState, CredentialSource
from auditor.registry.auth.authorization import (
    ANONYMOUS,
    MAX_TOKENS,
    Authorization,
    HeldToken,
    LoginTrial,
    TokenKey,
    TokenStore,
    access_untold,
)
from auditor.registry.auth.credentials import Credentials, Found
from auditor.registry.auth.token_service import TokenService, basic_header
from auditor.registry.host_plan import HostPlan, Plan, Scheme
from auditor.util.clock import Clock
from auditor.wire.challenge import Challenge, Scope, wider
from auditor.wire.login import Credential, IdentityToken, Login, RegistryToken
from auditor.wire.token import access_of

# -- accounts --
# Who asks a registry: an account for each part of it, with its newest login.

# Helpers of cloud providers give passwords that last an hour, some of which is gone;
# one that has less than five minutes left is given by none that is known.
HELPER_LOGIN_S = 300.0
# One that is refused may have been replaced; or it is the scope that is refused.
REFUSED_LOGIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody who asks: a login, or nobody (null), and the tokens' source for them.

    `asked_at` (monotonic seconds) is when the helper was, if there is one; `trial` is
    that of a password that is sent to the registry itself.
    """

    found: Found | None
    service: TokenService
    asked_at: float
    trial: LoginTrial = field(default_factory=LoginTrial)

    @property
    def login(self) -> Login | None:
        """What is sent; null: the anonymous user."""
        return None if self.found is None else self.found.login

    @property
    def source(self) -> CredentialSource | None:
        """Where it stands."""
        return None if self.found is None else self.found.source

    @property
    def username(self) -> str | None:
        """The name that goes with it, where there is one."""
        return None if self.login is None else self.login.username


class Accounts:
    """The accounts of one registry, each made when it is first wanted.

    A login that exists and cannot be used is a `Failure`: helpers are only asked when
    the host asks for one.
    """

    def __init__(
        self,
        *,
        registry: str,
        credentials: Credentials,
        service: Callable[[Found | None], TokenService],
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._credentials = credentials
        self._service = service
        self._clock = clock
        self._known: dict[str, Account] = {}  # as many as are configured

    def part(self, scope: Scope) -> str:
        """The part of the registry whose login asks for a scope; "" is the whole."""
        if scope.type != "repository":
            return ""
        return self._credentials.part_of(self._registry, scope.name)

    async def of(self, part: str) -> Account | Failure:
        """Who asks for a part."""
        known = self._known.get(part)
        if known is not None:
            return await self._renewed(part, known)
        found = await self._credentials.find(self._registry, part)
        if isinstance(found, Failure):
            return found
        # Others may have waited for the same helper: all of them are one account,
        # which tries its password once.
        return self._known.setdefault(part, self._made(found))

    async def after_refusal(self, part: str, refused: Account) -> Account:
        """Who asks for a part after a login was refused: a helper may know another."""
        return await self._renewed(part, refused, after_s=REFUSED_LOGIN_S)

    async def _renewed(
        self, part: str, old: Account, *, after_s: float = HELPER_LOGIN_S
    ) -> Account:
        """What the helper says that was last asked so long ago; the old account if
        that is nothing new.

        A helper that fails this time is no reason to stop: the old login may be good.
        """
        old, now = self._known.get(part, old), self._clock.monotonic()
        if old.source is not CredentialSource.HELPER or now < old.asked_at + after_s:
            return old
        found = await self._credentials.find(self._registry, part, anew=True)
        current = self._known.get(part, old)
        if current is not old:
            return current  # somebody else has waited for the same answer
        if isinstance(found, Found) and found != old.found:
            made = self._made(found)
        else:
            made = replace(old, asked_at=now)
        self._known[part] = made
        return made

    def _made(self, found: Found | None) -> Account:
        return Account(
            found=found,
            service=self._service(found),
            asked_at=self._clock.monotonic(),
        )


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
        # The authorizer for requests that need a scope: one for all that are like it.
        self.for_scope = functools.lru_cache(maxsize=MAX_TOKENS)(self._for_scope)

    def _for_scope(self, scope: Scope) -> ScopeAuth:
        return ScopeAuth(self, scope, clock=self._clock)

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

    def discard(self, refused: Authorization) -> None:
        """Forget the token of an authorization that was refused."""
        if refused.key is not None and refused.token is not None:
            self.tokens.discard(refused.key, refused.token)

    async def grant(self, scope: Scope) -> Authorization | Failure:
        """An authorization for `scope`."""
        return await self.for_scope(scope).granted()

    async def look_up(self, auth: ScopeAuth, scope: Scope) -> Authorization | Failure:
        """An authorization for `scope`, which `auth` keeps if it may be given again."""
        plan = await self.plan.get()
        if isinstance(plan, Failure):
            return plan
        if plan.scheme in {Scheme.NONE, Scheme.UNKNOWN}:
            auth.keep(plan, ANONYMOUS)
            return ANONYMOUS
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
        if held.access.state is not AccessState.DENIED:
            auth.keep(plan, granted)
        return granted

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
            access=access_untold(
                AccessState.UNVERIFIABLE,
                subject=login.username,
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

    __slots__ = ("_clock", "_granted", "_host", "_plan", "_renew_at", "_scope")

    def __init__(self, host: HostAuth, scope: Scope, *, clock: Clock) -> None:
        self._host = host
        self._scope = scope
        self._clock = clock
        self.keep(None, None)

    def keep(self, plan: Plan | None, granted: Authorization | None) -> None:
        """Have at hand what was granted under a plan; null: nothing any more."""
        self._plan = plan
        self._granted = granted
        token = None if granted is None else granted.token
        # Null: what carries no token is good until the plan changes.
        self._renew_at = None if token is None else token.renew_at

    def at_hand(self) -> Authorization | None:
        """One that is good now, if it is known without asking or waiting.

        It is what was granted and would be granted again. A request asks for it
        several times; looking it up again costs as much as reading a manifest.
        """
        if self._plan is not self._host.plan.known:
            return None
        renew_at = self._renew_at
        if renew_at is not None and self._clock.monotonic() >= renew_at:
            return None
        return self._granted

    async def granted(self) -> Authorization | Failure:
        """One that is good now, whatever it grants."""
        return await self._host.look_up(self, self._scope)

    async def authorization(self) -> Authorization | Failure:
        """One that is good now.

        A token that does not grant what the scope asks for is the failure
        `NO_PULL_GRANT`: asking with it would only be answered 401 or 403.
        """
        granted = await self.granted()
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
        self.keep(None, None)
        if challenge is not None:
            self._host.plan.learn(challenge)
        renewed = await self.widened(challenge).authorization()
        if isinstance(renewed, Authorization) and renewed.header is None:
            return Failure(
                kind=FailureKind.DENIED,
                status=401,
                detail="the registry asks for a credential and does not say how (401)",
            )
        return renewed

    def widened(self, challenge: Challenge | None) -> ScopeAuth:
        """The authorizer of what a 401 asks for; this one, if that is nothing more."""
        said = None if challenge is None else challenge.parameters.get("scope")
        more = wider(self._scope, said)
        return self if more is None else self._host.for_scope(more)

    def wanted(self) -> bool:
        """Whether it would pay to fetch the token ahead of its use."""
        if self.at_hand() is not None:
            return False
        plan = self._host.plan.known
        if plan is None:
            return True
        if plan.scheme is not Scheme.BEARER:
            return False
        return self._host.tokens.wanted(self._host.key(plan, self._scope))


class ListAuth:
    """The authorizer of the pages of one list.

    What a 401 to one of them asks for beyond the scope, the next ones are asked with.
    """

    __slots__ = ("_auth",)

    def __init__(self, auth: ScopeAuth) -> None:
        self._auth = auth

    def at_hand(self) -> Authorization | None:
        """As `ScopeAuth`."""
        return self._auth.at_hand()

    async def authorization(self) -> Authorization | Failure:
        """As `ScopeAuth`."""
        return await self._auth.authorization()

    async def again(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure:
        """As `ScopeAuth`."""
        renewed = await self._auth.again(refused, challenge)
        self._auth = self._auth.widened(challenge)
        return renewed
