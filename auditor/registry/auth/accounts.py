"""The login that a registry is asked with, for each namespace that has one.

`Accounts` asks the credential store late, and again when a login is old or refused: a
login from a credential helper or a cloud is valid for a limited time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import Access, AccessState, CredentialSource
from auditor.registry.auth.authorization import Authorization, LoginTrial
from auditor.registry.auth.credentials import CloudEndpoint, CredentialStore
from auditor.registry.auth.docker_config import FoundCredential
from auditor.registry.auth.token_service import TokenService, basic_header
from auditor.registry.host_plan import HostPlan
from auditor.util.clock import Clock
from auditor.wire.credential import Credential, IdentityToken, Login

# Age at which a login from a credential helper is asked for again. Helpers of cloud
# providers give passwords for an hour, of which at least five minutes are left.
HELPER_LOGIN_S = 300.0
# The same, after a login was refused.
REFUSED_LOGIN_S = 60.0
_RENEWABLE = frozenset(
    {
        CredentialSource.HELPER,
        CredentialSource.COMMAND,
        CredentialSource.AWS,
        CredentialSource.GOOGLE,
        CredentialSource.AZURE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The credential for one namespace of a registry, and its token service.

    `found` is None for anonymous requests. `asked_at` (monotonic seconds) is when the
    credential store was read. `trial` lets one request try a Basic login.
    """

    found: FoundCredential | None
    service: TokenService
    asked_at: float
    trial: LoginTrial

    @property
    def renew_at(self) -> float:
        """When the credential store should be asked for a newer one."""
        if self.found is not None and self.found.machine is not None:
            return self.found.machine.renew_at
        return self.asked_at + HELPER_LOGIN_S

    def is_expired(self, now: float) -> bool:
        """Whether the credential has expired, as far as that is known."""
        machine = None if self.found is None else self.found.machine
        return machine is not None and now >= machine.expires_at

    @property
    def credential(self) -> Credential | None:
        """The credential; None for anonymous access."""
        return None if self.found is None else self.found.credential

    @property
    def source(self) -> CredentialSource | None:
        """The place in the configuration that has the credential."""
        return None if self.found is None else self.found.source

    @property
    def username(self) -> str | None:
        """The user name, if the credential has one."""
        return None if self.credential is None else self.credential.username


class Accounts:
    """The accounts of one registry by namespace: as many as the configuration has."""

    def __init__(
        self,
        registry: str,
        *,
        plan: HostPlan,
        credentials: CredentialStore,
        service: Callable[[FoundCredential | None], TokenService],
        clock: Clock,
        cloud: CloudEndpoint | None,
    ) -> None:
        self._registry = registry
        self._plan = plan
        self._credentials = credentials
        self._service = service
        self._clock = clock
        self._cloud = cloud
        self._accounts: dict[str, Account] = {}

    async def get(self, namespace: str) -> Account | Failure:
        """The account of a namespace, or a credential that cannot be used."""
        account = self._accounts.get(namespace)
        if account is not None:
            return await self.refreshed(namespace, account)
        found = await self._credentials.find(
            self._registry, namespace, cloud=self._cloud
        )
        if isinstance(found, Failure):
            return found
        # Of several callers that waited for the same helper, the first made the
        # account: a password is tried by one account only.
        return self._accounts.setdefault(namespace, self._new_account(found))

    async def refused(self, namespace: str, found: FoundCredential | None) -> None:
        """Ask for a newer login of a namespace, after `found` got a 401."""
        account = self._accounts.get(namespace)
        if account is not None and account.found == found:
            await self.refreshed(namespace, account, is_refused=True)

    async def refreshed(
        self, namespace: str, old: Account, *, is_refused: bool = False
    ) -> Account | Failure:
        """The account, with a newer login of its program or cloud if the last one is
        too old, or was refused.

        If that fails, the old login is kept until it expires.
        """
        old, now = self._accounts.get(namespace, old), self._clock.monotonic()
        due_at = old.asked_at + REFUSED_LOGIN_S if is_refused else old.renew_at
        if old.source not in _RENEWABLE or now < due_at:
            return old
        found = await self._credentials.find(
            self._registry, namespace, refresh=True, cloud=self._cloud
        )
        current = self._accounts.get(namespace, old)
        if current is not old:
            return current  # replaced by another caller while the helper ran
        if isinstance(found, FoundCredential) and found != old.found:
            account = self._new_account(found)
        elif isinstance(found, Failure) and old.is_expired(now):
            return found
        else:
            account = replace(old, asked_at=now)
            if isinstance(found, FoundCredential):
                account = replace(account, found=found)  # the same, valid for longer
        self._accounts[namespace] = account
        return account

    def _new_account(self, found: FoundCredential | None) -> Account:
        return Account(
            found=found,
            service=self._service(found),
            asked_at=self._clock.monotonic(),
            trial=LoginTrial(found, partial(self._refuses, found)),
        )

    async def _refuses(self, found: FoundCredential | None) -> bool | None:
        """Whether the registry refuses this login for its ping; None if unknown."""
        credential = None if found is None else found.credential
        if not isinstance(credential, Login):
            return None
        return await self._plan.refuses(basic_header(credential))


def how_to_log_in(registry: str) -> str:
    """What to do if there is no login."""
    return (
        f"docker login {registry}, or username and password_env in"
        f' [registry."{registry}"]'
    )


def basic_authorization(account: Account, registry: str) -> Authorization | Failure:
    """The authorization of an account at a registry that requires Basic."""
    credential = account.credential
    if isinstance(credential, Login):
        return Authorization(
            header=basic_header(credential),
            fixed=True,
            found=account.found,
            trial=None if account.trial.accepted else account.trial,
            access=Access(
                state=AccessState.UNVERIFIABLE,
                subject=None if account.found is None else account.found.account,
                credential=account.source,
            ),
        )
    configured = f"no login is configured for it; {how_to_log_in(registry)}"
    if credential is not None:
        kind = "an identity" if isinstance(credential, IdentityToken) else "a registry"
        configured = f"the configured credential is {kind} token"
    return Failure(
        kind=FailureKind.DENIED,
        stage=Stage.TOKEN,
        status=401,
        detail="the registry requires a user name and password (Basic), and"
        f" {configured}",
    )
