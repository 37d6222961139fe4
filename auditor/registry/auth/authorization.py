"""What one request carries to be let in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

import anyio

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.model import Access, AccessState, CredentialSource
from auditor.util.clock import Clock
from auditor.util.single_flight import SingleFlight
from auditor.wire.challenge import Challenge, Scope
from auditor.wire.response import Response
from auditor.wire.retry_policy import failure_of

# -- login_trial --
# A password that no answer has accepted yet.
#
# Registries lock accounts after some wrong passwords in a row. So until one request was
# let in, requests with this password go one at a time, and after a few refusals no more.

# One may be refused for what it asks: a proxy before the registry may close a part of
# it with a 401. Directories lock an account after five, the usual least.
MAX_REFUSALS = 3


class LoginTrial:
    """The trial of one password at one registry."""

    def __init__(self) -> None:
        self.accepted = False
        self._turn = anyio.Lock()
        self._refusals = 0
        self._rejected: Failure | None = None

    async def begin(self) -> Failure | None:
        """Wait for the turn to try it; a failure where it is not tried any more.

        Whoever got null calls `end`, unless it is `accepted` by then.
        """
        await self._turn.acquire()
        if self.accepted or self._rejected is not None:
            self._turn.release()
        return self._rejected

    def end(self, outcome: Response | Failure | None) -> None:
        """Say what the request came to; null: nothing is known."""
        self._turn.release()
        if not isinstance(outcome, Response) or outcome.status >= 500:
            return
        if outcome.status != 401:
            self.accepted = True
            return
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            failure = failure_of(outcome)
            detail = (
                f"{failure.detail}; {self._refusals} requests with this login were"
                " refused and none was let in, so it is not sent any more"
            )
            self._rejected = replace(failure, attempts=0, detail=detail)


# -- tokens --
# Bearer tokens: one request per scope in flight, renewed before they expire.
#
# Source: distribution, "Token Authentication Specification" (jwt.md, token.md).

# The share of its life after which a token is renewed while it is still good.
RENEW_AFTER = 0.85
# A service that said no is not asked again for the same thing so soon.
REFUSAL_HOLD_S = 60.0
# About 4 KiB each (a long JWT and its claims): 16 MiB at most. Work comes grouped by
# repository, so what is dropped first has long been used.
MAX_TOKENS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """What tells tokens apart.

    `part` is the part of the registry whose login asks for it; "" is the whole.
    """

    part: str
    realm: str
    service: str | None
    scope: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldToken:
    """A token ready to be sent. Times are monotonic seconds."""

    authorization: str
    access: Access
    obtained_at: float
    expires_at: float

    @property
    def renew_at(self) -> float:
        """When to fetch the next one."""
        return self.obtained_at + RENEW_AFTER * (self.expires_at - self.obtained_at)

    def __repr__(self) -> str:
        return f"HeldToken(***, expires_at={self.expires_at})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """A failure held until then. `old` is the token that was to be renewed."""

    failure: Failure
    until: float
    old: HeldToken | None


class TokenStore:
    """Tokens by key; what is missing or old is fetched, once for all who ask."""

    def __init__(
        self,
        fetch: Callable[[TokenKey], Awaitable[HeldToken | Failure]],
        *,
        clock: Clock,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._held: OrderedDict[TokenKey, HeldToken | _Refusal] = OrderedDict()
        self._flights: SingleFlight[TokenKey, HeldToken | Failure] = SingleFlight()

    def wanted(self, key: TokenKey) -> bool:
        """Whether a token would have to be fetched and nobody is fetching it."""
        held = self._held.get(key)
        now = self._clock.monotonic()
        if isinstance(held, HeldToken) and now < held.renew_at:
            return False
        if isinstance(held, _Refusal) and now < held.until:
            return False
        return not self._flights.under_way(key)

    async def get(self, key: TokenKey) -> HeldToken | Failure:
        """A token that is good now, or why there is none."""
        held = self._held.get(key)
        now = self._clock.monotonic()
        if isinstance(held, _Refusal):
            if now < held.until:
                return self._good(held.old) or held.failure
            held = held.old
        if held is not None:
            if now < held.renew_at:
                return held
            if now < held.expires_at and self._flights.under_way(key):
                return held  # still good, and its successor is on the way
        fetched = await self._flights.run(key, lambda: self._renew(key))
        if isinstance(fetched, Failure):
            return self._good(held) or fetched
        return fetched

    async def _renew(self, key: TokenKey) -> HeldToken | Failure:
        fetched = await self._fetch(key)
        if isinstance(fetched, HeldToken):
            self._hold(key, fetched)
        elif not fetched.kind.retryable:
            until = self._clock.monotonic() + REFUSAL_HOLD_S
            held = self._held.get(key)
            old = self._good(held.old if isinstance(held, _Refusal) else held)
            self._hold(key, _Refusal(failure=fetched, until=until, old=old))
        return fetched

    def _good(self, token: HeldToken | None) -> HeldToken | None:
        if token is None or self._clock.monotonic() >= token.expires_at:
            return None
        return token

    def _hold(self, key: TokenKey, value: HeldToken | _Refusal) -> None:
        self._held[key] = value
        self._held.move_to_end(key)
        if len(self._held) > MAX_TOKENS:
            self._held.popitem(last=False)

    def discard(self, key: TokenKey, token: HeldToken) -> None:
        """Forget this token, and only this one: it was refused."""
        held = self._held.get(key)
        if held is token:
            del self._held[key]
        elif isinstance(held, _Refusal) and held.old is token:
            self._held[key] = replace(held, old=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """`header` is the Authorization field; null sends none.

    `token`, `key` and `scope` are those of a token that can be renewed; `fixed` says
    that there is no other than this: a password, or a token that was given as it is.
    `trial` is that of a password which was not accepted yet.
    """

    header: str | None
    access: Access
    fixed: bool = False
    key: TokenKey | None = None
    scope: Scope | None = None
    token: HeldToken | None = None
    trial: LoginTrial | None = None

    def age_s(self, now: float) -> float | None:
        """Seconds since its token was asked for; null without a token."""
        return None if self.token is None else now - self.token.obtained_at

    def is_old(self, now: float) -> bool:
        """Whether its token has expired."""
        return self.token is not None and now >= self.token.expires_at

    def __repr__(self) -> str:
        return f"Authorization(***, access={self.access})"


class Authorizer(Protocol):
    """Where authorizations for one repository or catalog come from."""

    def at_hand(self) -> Authorization | None:
        """One that is good now, if it is known without asking or waiting."""

    async def authorization(self) -> Authorization | Failure:
        """One that is good now."""

    async def again(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure:
        """Another one, after `refused` was answered 401 with `challenge`."""


def access_untold(
    state: AccessState,
    *,
    subject: str | None = None,
    credential: CredentialSource | None = None,
) -> Access:
    """The access of somebody whom no token tells what is granted."""
    return Access(
        state=state,
        actions=(),
        subject=subject,
        issuer=None,
        verified=False,
        credential=credential,
    )


ANONYMOUS = Authorization(header=None, access=access_untold(AccessState.ANONYMOUS))
