"""Authorizations for each scope of one registry.

`HostAuth` belongs to a registry and `ScopeAuth` to one scope of it. The registry's plan
(`host_plan.py`) decides between no credential, Basic and a bearer token; the `Account`
(`accounts.py`) of the repository's namespace has the credential.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import Access, AccessState
from auditor.registry.auth.accounts import (
    Account,
    Accounts,
    basic_authorization,
    how_to_log_in,
)
from auditor.registry.auth.authorization import (
    ANONYMOUS,
    LOGIN_UNUSED,
    MAX_TOKENS,
    Authorization,
    CachedToken,
    TokenCache,
    TokenKey,
)
from auditor.registry.auth.credentials import CloudEndpoint, CredentialStore
from auditor.registry.auth.docker_config import FoundCredential
from auditor.registry.auth.token_service import TokenService
from auditor.registry.host_plan import AuthPlan, HostPlan, Scheme
from auditor.util.clock import Clock
from auditor.wire.challenge import (
    Challenge,
    Scope,
    pull_scope,
    repository_in,
    wider_scope,
)
from auditor.wire.credential import RegistryToken
from auditor.wire.token import access_of
from auditor.wire.url_policy import origin_of


@dataclass(eq=False, kw_only=True)
class HostAuth:
    """Authorizations for one registry, which may have an account per namespace.

    A credential that exists and cannot be used is a `Failure`. Credentials are looked
    up late: only a registry that requires a login runs credential helpers.
    """

    registry: str
    plan: HostPlan
    credentials: CredentialStore
    service: Callable[[FoundCredential | None], TokenService]
    clock: Clock
    cloud: CloudEndpoint | None = None

    def __post_init__(self) -> None:
        self.tokens = TokenCache(self._fetch, clock=self.clock)
        # Anonymous ones of hosts that the registry redirects to, in place of a
        # namespace.
        self._tokens_elsewhere = TokenCache(self._fetch_elsewhere, clock=self.clock)
        # The one authorizer of a scope.
        self.for_scope = lru_cache(maxsize=MAX_TOKENS)(partial(ScopeAuth, self))
        self.accounts = Accounts(
            self.registry,
            plan=self.plan,
            credentials=self.credentials,
            service=self.service,
            clock=self.clock,
            cloud=self.cloud,
        )
        self._unused_logins: dict[str, str] = {}

    def namespace_of(self, scope: Scope) -> str:
        """The namespace with the credential for `scope`; "" is the whole registry."""
        if scope.type != "repository":
            return ""
        return self.credentials.namespace_of(self.registry, scope.name)

    def token_key(self, plan: AuthPlan, scope: Scope) -> TokenKey:
        """The key of the token for `scope` in the cache."""
        return TokenKey(
            namespace=self.namespace_of(scope),
            realm=plan.realm or "",
            service=plan.service,
            scope=str(scope),
        )

    async def account(self, scope: Scope) -> Account | Failure:
        """The account that `scope` is requested with."""
        return await self.accounts.get(self.namespace_of(scope))

    @property
    def unused_logins(self) -> list[str]:
        """Where logins are configured that were not sent: nothing asked for them."""
        return sorted(set(self._unused_logins.values()))

    def anonymous(self, scope: Scope) -> Authorization:
        """The authorization where the registry asks for no login.

        Runs no credential helper to find out whether it has one.
        """
        namespace = self.namespace_of(scope)
        location = self.credentials.location_of(self.registry, namespace)
        if location is None:
            return ANONYMOUS
        self._unused_logins[namespace] = location
        return LOGIN_UNUSED

    def used(self, scope: Scope) -> None:
        """Record that the account of `scope` is asked for after all."""
        if self._unused_logins:
            self._unused_logins.pop(self.namespace_of(scope), None)

    async def _fetch(self, key: TokenKey) -> CachedToken | Failure:
        account = await self.accounts.get(key.namespace)
        if isinstance(account, Failure):
            return account
        token = await account.service.fetch(key)
        if isinstance(token, Failure) and token.kind is FailureKind.DENIED:
            token = self.with_hint(token, account)
            # A credential helper may have a newer login by now.
            newer = await self.accounts.refreshed(
                key.namespace, account, is_refused=True
            )
            if isinstance(newer, Failure):
                return newer
            if newer.found != account.found:
                return await newer.service.fetch(key)
        return token

    def with_hint(self, failure: Failure, account: Account) -> Failure:
        """The failure, with the reason why no login of this machine was sent."""
        hint = None if account.found else self.credentials.no_identity(self.registry)
        if hint is None:
            return failure
        return replace(failure, detail=f"{failure.detail}; {hint}")

    async def elsewhere(
        self, refused: Authorization, challenge: Challenge, url: str, scope: Scope
    ) -> Authorization | Failure | None:
        """See `Authorizer.elsewhere`. No login of this registry is sent."""
        tokens, origin = self._tokens_elsewhere, origin_of(url)
        old = refused.token if refused.url is not None else None
        if old is not None and not tokens.discard(old):
            return None
        key = TokenKey(
            namespace=str(origin),
            realm=challenge.parameters.get("realm", ""),
            service=challenge.parameters.get("service"),
            scope=str(scope),
        )
        token = await tokens.get(key)
        if isinstance(token, Failure):
            detail = f"{token.detail}; the registry redirects to {origin.host}"
            return replace(token, detail=detail)
        if token.authorization == refused.header:
            return None
        return Authorization(
            header=token.authorization, access=token.access, token=token, url=url
        )

    async def _fetch_elsewhere(self, key: TokenKey) -> CachedToken | Failure:
        service = replace(self.service(None), origin=origin_of(key.namespace))
        return await service.fetch(key)


class ScopeAuth:
    """The authorizer of one scope (see `authorization.Authorizer`)."""

    __slots__ = ("_clock", "_granted", "_host", "_plan", "_renew_at", "scope")

    def __init__(self, host: HostAuth, scope: Scope) -> None:
        self._host = host
        self.scope = scope
        self._clock = host.clock
        self._keep(None, None)

    def _keep(self, plan: AuthPlan | None, granted: Authorization | None) -> None:
        self._plan = plan
        self._granted = granted
        token = None if granted is None else granted.token
        # None without a token: then it is valid until the plan changes.
        self._renew_at = None if token is None else token.renew_at

    def cached(self) -> Authorization | None:
        """The last authorization, if it is still valid under the current plan.

        Every request calls this, several times: it must stay cheap.
        """
        if self._plan is not self._host.plan.known:
            return None
        renew_at = self._renew_at
        if renew_at is not None and self._clock.monotonic() >= renew_at:
            return None
        return self._granted

    async def authorization(self) -> Authorization | Failure:
        """A valid authorization, fetched if needed.

        A token that does not grant the scope is a `NO_PULL_GRANT` failure: the registry
        would only return 401 or 403.
        """
        granted = await self.unchecked_authorization()
        if (
            isinstance(granted, Failure)
            or granted.access.state is not AccessState.DENIED
        ):
            return granted
        return self.no_grant(granted.access)

    def no_grant(self, access: Access) -> Failure:
        """The failure of a token that does not grant the scope."""
        account = f"{access.subject!r}" if access.subject else "the anonymous user"
        actions = ", ".join(access.actions) or "nothing"
        scope = self.scope
        if scope.type == "registry":
            detail = f"the token does not let {account} list repositories ({scope})"
        else:
            wanted = "pull" if scope.type == "repository" and scope.name else scope
            where = scope.name or "all repositories"
            detail = f"the token grants {account} {actions} on {where}, not {wanted}"
        if access.credential is None:
            detail += f"; log in: {how_to_log_in(self._host.registry)}"
        return Failure(kind=FailureKind.NO_PULL_GRANT, stage=Stage.TOKEN, detail=detail)

    async def unchecked_authorization(self) -> Authorization | Failure:
        """A valid authorization, even if its token does not grant the scope."""
        plan = await self._host.plan.get()
        if isinstance(plan, Failure):
            return plan
        if plan.scheme in {Scheme.NONE, Scheme.UNKNOWN}:
            anonymous = self._host.anonymous(self.scope)
            self._keep(plan, anonymous)
            return anonymous
        account = await self._host.account(self.scope)
        if isinstance(account, Failure):
            return account
        if account.found is None and (plan.is_optional or plan.scheme is Scheme.BASIC):
            # Some repositories may be open to everybody, whatever the ping requires.
            self._keep(plan, ANONYMOUS)
            return ANONYMOUS
        self._host.used(self.scope)
        if plan.scheme is Scheme.BASIC:
            return basic_authorization(account, self._host.registry)
        credential = account.credential
        if isinstance(credential, RegistryToken):
            value = credential.token.reveal()
            access = access_of(
                value,
                self.scope.name,
                resource=self.scope.type,
                credential=account.source,
            )
            return Authorization(
                header=f"Bearer {value}", fixed=True, found=account.found, access=access
            )
        token = await self._host.tokens.get(self._host.token_key(plan, self.scope))
        if isinstance(token, Failure):
            return token
        granted = Authorization(
            header=token.authorization,
            access=token.access,
            scope=self.scope,
            token=token,
        )
        if token.access.state is not AccessState.DENIED:
            self._keep(plan, granted)
        return granted

    async def after_401(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure | None:
        """Another authorization, after `refused` got a 401 with `challenge`.

        None if the token service has no other token, or if the registry would refuse
        that, too.
        """
        auth, token = self.widened(challenge), refused.token
        # A token that is too narrow remains valid for its own scope.
        if (
            token is not None
            and refused.scope == auth.scope
            and not self._host.tokens.discard(token)
        ):
            return None
        self._keep(None, None)
        if challenge is not None:
            self._host.plan.update(challenge)
        if refused.fixed:
            await self._host.accounts.refused(
                self._host.namespace_of(self.scope), refused.found
            )
        renewed = await auth.authorization()
        if isinstance(renewed, Failure):
            return renewed
        if renewed.header is None:
            return await self._without_login()
        return None if renewed.header == refused.header else renewed

    async def elsewhere(
        self, refused: Authorization, challenge: Challenge, url: str
    ) -> Authorization | Failure | None:
        """See `Authorizer.elsewhere`."""
        repository = repository_in(url)
        scope = self.scope if repository is None else pull_scope(repository)
        return await self._host.elsewhere(refused, challenge, url, scope)

    async def _without_login(self) -> Failure:
        """The failure if the registry requires a login, and there is none to send."""
        plan = self._host.plan.known
        account = await self._host.account(self.scope)
        if isinstance(account, Failure):
            return account
        if plan is not None and plan.scheme is Scheme.BASIC:
            basic = basic_authorization(account, self._host.registry)
            if isinstance(basic, Failure):
                return self._host.with_hint(basic, account)
        return Failure(
            kind=FailureKind.DENIED,
            status=401,
            detail="the registry requires a login, but its 401 has no usable"
            " WWW-Authenticate (401)",
        )

    def widened(self, challenge: Challenge | None) -> ScopeAuth:
        """The authorizer of the scope in a challenge, if that scope is wider."""
        named = None if challenge is None else challenge.parameters.get("scope")
        wider = wider_scope(self.scope, named)
        return self if wider is None else self._host.for_scope(wider)

    def needs_fetch(self) -> bool:
        """Whether fetching the token ahead of its use saves time."""
        if self.cached() is not None:
            return False
        plan = self._host.plan.known
        if plan is None:
            return True
        if plan.scheme is not Scheme.BEARER:
            return False
        return self._host.tokens.needs_fetch(self._host.token_key(plan, self.scope))


class ListingAuth:
    """The authorizer of all pages of one listing.

    If the 401 to one page requires a wider scope, the following pages use it, too.
    """

    def __init__(self, auth: ScopeAuth) -> None:
        self._auth = auth

    def cached(self) -> Authorization | None:
        """See `ScopeAuth.cached`."""
        return self._auth.cached()

    async def authorization(self) -> Authorization | Failure:
        """See `ScopeAuth.authorization`."""
        return await self._auth.authorization()

    async def after_401(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure | None:
        """See `ScopeAuth.after_401`."""
        renewed = await self._auth.after_401(refused, challenge)
        self._auth = self._auth.widened(challenge)
        return renewed

    async def elsewhere(
        self, refused: Authorization, challenge: Challenge, url: str
    ) -> Authorization | Failure | None:
        """See `Authorizer.elsewhere`."""
        return await self._auth.elsewhere(refused, challenge, url)


class CatalogAuth(ListingAuth):
    """The authorizer of a catalog: a token without the grant is tried nevertheless.

    Only the registry's challenge shows which scope its catalog requires: zot's is
    `repository::pull`, and its token service grants nothing on `registry:catalog:*`.
    """

    def __init__(self, auth: ScopeAuth) -> None:
        super().__init__(auth)
        self._no_grant: Failure | None = None

    async def authorization(self) -> Authorization | Failure:
        """See `ScopeAuth.unchecked_authorization`."""
        granted = await self._auth.unchecked_authorization()
        if isinstance(granted, Authorization):
            is_denied = granted.access.state is AccessState.DENIED
            self._no_grant = self._auth.no_grant(granted.access) if is_denied else None
        return granted

    async def after_401(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure | None:
        """See `ScopeAuth.after_401`; without another scope, the missing grant."""
        if self._no_grant is not None and self._auth.widened(challenge) is self._auth:
            return self._no_grant
        return await super().after_401(refused, challenge)
