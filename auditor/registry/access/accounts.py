"""Who asks a registry: an account for each part of it, with its newest login."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.model import CredentialSource
from auditor.registry.access.login_trial import LoginTrial
from auditor.registry.auth.credentials import Credentials, Found
from auditor.registry.auth.token_service import TokenService
from auditor.util.clock import Clock
from auditor.wire.challenge import Scope
from auditor.wire.login import Login

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
