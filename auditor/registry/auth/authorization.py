"""The authorization of requests, and the cache of bearer tokens.

Source: distribution, "Token Authentication Specification" (token.md, jwt.md).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import field, replace
from typing import Protocol

import anyio

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.model import Access, AccessState
from auditor.registry.auth.docker_config import FoundCredential
from auditor.util.clock import Clock
from auditor.util.tasks import SingleFlight
from auditor.wire.challenge import Challenge, Scope
from auditor.wire.response import Response
from auditor.wire.retry_policy import (
    RETRYABLE_STATUSES,
    failure_from_response,
    with_login,
)
from auditor.wire.url_policy import origin_of

# Wrong passwords in a row after which a login is no longer sent. Directories lock an
# account after five; a proxy may also answer 401 for one path only.
MAX_REFUSALS = 3
# Fraction of its lifetime after which a token is renewed while it is still valid.
RENEW_AFTER = 0.85
# How long a refusal of the token service is remembered.
REFUSAL_HOLD_S = 60.0
# About 4 KiB each (a long JWT and its claims), 16 MiB in all. References come grouped
# by repository, so the least recently fetched token is no longer needed.
MAX_TOKENS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """The authorization of a request.

    `header` is the value of the Authorization field; None sends none. `token` and
    `scope` belong to a token that can be renewed. `fixed` marks a password or a
    registry token, which cannot be renewed, and `found` where it comes from. `trial` is
    set while the registry has not accepted the password yet. `url`, if it is set, is
    the only URL that it is sent to: that of another host (`Authorizer.elsewhere`).
    """

    header: str | None = field(repr=False)
    access: Access
    fixed: bool = False
    found: FoundCredential | None = None
    scope: Scope | None = None
    token: CachedToken | None = None
    trial: LoginTrial | None = None
    url: str | None = None

    def observe(self, outcome: Response | Failure | None) -> None:
        """Record the outcome of a request with it; None if it is unknown."""
        if self.trial is not None:
            self.trial.end(outcome)
        token = self.token
        if token is not None and token.on_trial and shows_acceptance(outcome):
            token.on_trial = False

    def is_old(self, now: float) -> bool:
        """Whether the token has expired, or was refused."""
        return self.token is not None and now >= self.token.expires_at


class Authorizer(Protocol):
    """Authorizations for the requests that need one scope."""

    def cached(self) -> Authorization | None:
        """A valid authorization that is known without a request, or None."""

    async def authorization(self) -> Authorization | Failure:
        """A valid authorization, fetched if needed."""

    async def after_401(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure | None:
        """Another authorization, after `refused` got a 401 with `challenge`.

        None if every other one would be refused, too.
        """

    async def elsewhere(
        self, refused: Authorization, challenge: Challenge, url: str
    ) -> Authorization | Failure | None:
        """An anonymous authorization for `url`, to which the registry redirects.

        `url` answered 401 with a Bearer `challenge` to a request that was redirected,
        or to one with the anonymous authorization `refused`. None as in `after_401`.
        """


ANONYMOUS = Authorization(header=None, access=Access(state=AccessState.ANONYMOUS))
# Anonymous, although a login is configured: the registry did not ask for it.
LOGIN_UNUSED = Authorization(
    header=None, access=Access(state=AccessState.ANONYMOUS, login_unused=True)
)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The authorizer of a URL of another host: no login, an anonymous token at most."""

    authorizer: Authorizer

    def cached(self) -> Authorization:
        """No token: only the challenge of the host names its token service."""
        return ANONYMOUS

    async def authorization(self) -> Authorization:
        """See `cached`."""
        return ANONYMOUS

    async def after_401(
        self, refused: Authorization, challenge: Challenge | None
    ) -> None:
        """None: the challenge is not the registry's."""

    async def elsewhere(
        self, refused: Authorization, challenge: Challenge, url: str
    ) -> Authorization | Failure | None:
        """See `Authorizer.elsewhere`."""
        return await self.authorizer.elsewhere(refused, challenge, url)


def shows_acceptance(outcome: Response | Failure | None) -> bool:
    """Whether the registry accepted the authorization of the request.

    A server that is overloaded or broken responds before it checks: the same request
    may be refused later.
    """
    return (
        isinstance(outcome, Response)
        and outcome.status < 500
        and outcome.status not in {401, *RETRYABLE_STATUSES}
    )


class LoginTrial:
    """The trial of a password that the registry has not accepted yet.

    Registries lock accounts after some wrong passwords in a row. Until one request
    succeeds, requests with this password are therefore sent one at a time, and after
    `MAX_REFUSALS` refusals none is sent.

    A 403 may be for a wrong password, or for a repository that the account may not see.
    `ping` finds out, once: it asks whether the registry refuses the password for a
    request that every account may send, None if that cannot be said.
    """

    def __init__(
        self,
        found: FoundCredential | None = None,
        ping: Callable[[], Awaitable[bool | None]] | None = None,
    ) -> None:
        self.accepted = False
        self._found = found
        self._ping = ping
        self._is_in_doubt = False
        self._turn = anyio.Lock()
        self._refusals = 0
        self._rejected: Failure | None = None

    async def begin(self) -> Failure | None:
        """Wait for the turn to send the password; a `Failure` if it was rejected.

        After None, `end` must be called, unless `accepted` is set by then.
        """
        await self._turn.acquire()
        if self._is_in_doubt and self._ping is not None:
            try:
                is_refused = await self._ping()
            except BaseException:
                self._turn.release()
                raise
            self._is_in_doubt, self._ping = False, None
            self.accepted = not is_refused
            self._refusals += 2  # the 403 and the ping
        if self.accepted or self._rejected is not None:
            self._turn.release()
        return self._rejected

    def end(self, outcome: Response | Failure | None) -> None:
        """Record the outcome of the request; None if it is unknown."""
        self._turn.release()
        is_forbidden = isinstance(outcome, Response) and outcome.status == 403
        if is_forbidden and self._ping is not None:
            self._is_in_doubt = True
            return
        self.accepted = shows_acceptance(outcome) and not is_forbidden
        if not isinstance(outcome, Response) or outcome.status not in {401, 403}:
            return
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            failure = failure_from_response(outcome)
            if self._found is not None:
                name, location = self._found.name, self._found.location
                host = origin_of(outcome.url).name
                failure = with_login(failure, name, location, host)
            detail = (
                f"{failure.detail}; the login is not sent again: the registry refused"
                f" all {self._refusals} requests with it"
            )
            self._rejected = replace(failure, attempts=0, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """The key of a cached token: the values it was requested with.

    `namespace` is the part of the registry that has a login of its own; "" is the
    whole registry.
    """

    namespace: str
    realm: str
    service: str | None
    scope: str | None


@dataclass(slots=True, kw_only=True, eq=False)
class CachedToken:
    """A token and its lifetime, in monotonic seconds.

    `authorization` is the value of the Authorization field. `is_refused`: the registry
    refused the token, which ends its lifetime. `on_trial`: it replaces a refused token,
    and the registry has not accepted it yet. Both are seen by all who hold the token.
    """

    key: TokenKey
    authorization: str = field(repr=False)
    access: Access
    obtained_at: float
    expires_at: float
    is_refused: bool = False
    on_trial: bool = False

    @property
    def renew_at(self) -> float:
        """The time at which the next token should be fetched."""
        return self.obtained_at + RENEW_AFTER * (self.expires_at - self.obtained_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """A failure, and when to try again. `old`: the token that could not be renewed."""

    failure: Failure
    renew_at: float
    old: CachedToken | None


class TokenCache:
    """Tokens by key, fetched when missing or old, with one request per key in flight.

    A token is renewed before it expires. While the new token is being fetched, and if
    that fails, the old token is used until it expires.
    """

    def __init__(
        self,
        fetch: Callable[[TokenKey], Awaitable[CachedToken | Failure]],
        *,
        clock: Clock,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._entries: OrderedDict[TokenKey, CachedToken | _Refusal] = OrderedDict()
        self._flights: SingleFlight[TokenKey, CachedToken | Failure] = SingleFlight()

    def needs_fetch(self, key: TokenKey) -> bool:
        """Whether a token must be fetched and no request for it is in flight."""
        entry = self._entries.get(key)
        is_old = entry is None or self._clock.monotonic() >= entry.renew_at
        return is_old and not self._flights.in_flight(key)

    async def get(self, key: TokenKey) -> CachedToken | Failure:
        """A token that is valid now."""
        entry = self._entries.get(key)
        token = entry.old if isinstance(entry, _Refusal) else entry
        if entry is not None and self._clock.monotonic() < entry.renew_at:
            if isinstance(entry, CachedToken):
                return entry
            return self._if_valid(token) or entry.failure
        if self._flights.in_flight(key) and (valid := self._if_valid(token)):
            return valid
        fetched = await self._flights.run(key, lambda: self._renew(key))
        if isinstance(fetched, Failure):
            return self._if_valid(token) or fetched
        return fetched

    def discard(self, token: CachedToken) -> bool:
        """Forget exactly this token, after the registry refused it.

        Every token is worth one renewal: a registry that restarts may have forgotten
        it. False, and the token is kept, if it replaces a refused one and was never
        accepted: another one would be refused, too, for the next minute.
        """
        now = self._clock.monotonic()
        if token.on_trial and now < token.obtained_at + REFUSAL_HOLD_S:
            return False
        token.is_refused = True
        token.expires_at = min(token.expires_at, token.obtained_at)
        return True

    async def _renew(self, key: TokenKey) -> CachedToken | Failure:
        fetched = await self._fetch(key)
        if isinstance(fetched, CachedToken):
            old = self._entries.get(key)
            fetched.on_trial = isinstance(old, CachedToken) and old.is_refused
            self._entries[key] = fetched
        elif fetched.kind.retryable:
            return fetched
        else:
            entry = self._entries.get(key)
            self._entries[key] = _Refusal(
                failure=fetched,
                renew_at=self._clock.monotonic() + REFUSAL_HOLD_S,
                old=self._if_valid(entry.old if isinstance(entry, _Refusal) else entry),
            )
        self._entries.move_to_end(key)
        if len(self._entries) > MAX_TOKENS:
            self._entries.popitem(last=False)
        return fetched

    def _if_valid(self, token: CachedToken | None) -> CachedToken | None:
        is_valid = token is not None and self._clock.monotonic() < token.expires_at
        return token if is_valid else None
