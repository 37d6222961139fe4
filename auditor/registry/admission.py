"""Admission: what a request waits for before it is sent to its host.

`Admission.admit` waits until the host is not known to be down (host_health.py), until
its limits allow the request (host_limits.py), for the authorization (auth) and for a
slot (concurrency_limiter.py). The host, its limits or the login may have changed while
the request waited for its slot: then it gives the slot back and begins again.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.registry.auth.authorization import Authorization, Authorizer
from auditor.registry.concurrency_limiter import ConcurrencyLimiter
from auditor.registry.host_health import HostHealth
from auditor.registry.host_limits import HostLimits
from auditor.wire.response import Response
from auditor.wire.retry_policy import (
    MAX_REAUTHENTICATIONS,
    SentRequest,
    tries_after,
)
from auditor.wire.url_policy import origin_of

_TOO_MANY_REQUESTS, _UNAVAILABLE = 429, 503


@dataclass(slots=True)
class PendingRequest:
    """The state of one request in the loop.

    `attempts` counts since the last restart; a request restarts if it failed because of
    an outage of the host that is over. `authorization` is that of the last attempt, or
    for the next one. `renewals` counts tokens that expired in the queue.
    `is_elsewhere`: the URL is that of another host, which gets no login. `concurrency`
    is that of the URL's host.
    """

    url: str
    concurrency: ConcurrencyLimiter
    authorizer: Authorizer | None
    max_attempts: int
    is_ping: bool
    is_manifest: bool
    server: str
    is_elsewhere: bool
    attempts: int = 0
    restarts: int = 0
    renewals: int = 0
    reauthentications: int = 0
    authorization: Authorization | None = None
    sent_at: float = 0.0

    @property
    def is_by_digest(self) -> bool:
        """Whether it asks for a digest, which mostly another response has named."""
        return ":" in self.url.partition("?")[0].rpartition("/")[2]

    def most_attempts(self, status: int | None) -> int:
        """The attempts, the last of which got this status.

        A 503 of a host with a learned pace, or one that is being learned, is like a
        429: what is above its rate is refused.
        """
        is_paced = self.concurrency.pace.is_active and not self.is_ping
        if status == _UNAVAILABLE and is_paced:
            status = _TOO_MANY_REQUESTS
        return tries_after(status, self.max_attempts)

    def described(self, outcome: Response | Failure) -> SentRequest:
        """The authentication of the request, and whether another origin responded."""
        url = outcome.url if isinstance(outcome, Response) else self.url
        other_origin = self.is_elsewhere or (
            url != self.url and origin_of(url) != origin_of(self.url)
        )
        server = self.server
        if other_origin:
            server = f"{origin_of(url).host}, to which {server} redirects,"
        authorization = self.authorization
        if authorization is None:
            # Nothing can authenticate the request, so that a 401 is final.
            return SentRequest(
                reauthentications=MAX_REAUTHENTICATIONS,
                other_origin=other_origin,
                server=server,
            )
        found = authorization.found
        return SentRequest(
            server=server,
            login=None if found is None else found.name,
            login_location=None if found is None else found.location,
            fixed=authorization.fixed,
            reauthentications=self.reauthentications,
            other_origin=other_origin,
        )


class _Obstacle(Enum):
    """Why a request gives its slot back before it is sent."""

    HOST_SUSPECTED = "the host is probed"
    TOKEN_EXPIRED = "its token expired in the queue"
    LOGIN_ON_TRIAL = "another request tries the same login"


class Admission:
    """Admits requests to one service.

    A token that expired while its request waited for a slot is renewed, at most
    `max_renewals` times; then it is sent anyway.
    """

    def __init__(
        self, *, health: HostHealth, limits: HostLimits, max_renewals: int
    ) -> None:
        self._health = health
        self._limits = limits
        self._max_renewals = max_renewals

    async def admit(self, request: PendingRequest) -> Failure | None:
        """Wait until the request may be sent, then hold a slot for it.

        Sets its authorization. No slot is held if a failure is returned.
        """
        limits, health, concurrency = self._limits, self._health, request.concurrency
        while True:
            if not health.is_well and (
                failure := health.refusal(request.url, is_retry=request.attempts > 0)
            ):
                return failure
            if limits.is_limited and (
                failure := await limits.wait_turn(is_manifest=request.is_manifest)
            ):
                return failure
            authorizer = request.authorizer
            if authorizer is not None and request.authorization is None:
                authorized = authorizer.cached() or await authorizer.authorization()
                if isinstance(authorized, Failure):
                    return authorized
                request.authorization = authorized
            sent_at = concurrency.try_acquire()
            if sent_at is None:
                sent_at = await concurrency.acquire(goes_on=request.is_by_digest)
            request.sent_at = sent_at
            if (obstacle := self._check_slot(request)) is None:
                return None
            concurrency.release()
            if isinstance(obstacle, Failure):
                return obstacle
            if obstacle is _Obstacle.LOGIN_ON_TRIAL:
                return await self._begin_trial(request)
            if obstacle is _Obstacle.HOST_SUSPECTED:
                state = await health.wait_for_probe()
                if isinstance(state, Failure):
                    return state
            request.authorization = None  # it may have expired meanwhile

    def _check_slot(self, request: PendingRequest) -> Failure | _Obstacle | None:
        """Why a request that has got a slot cannot be sent; None if it can.

        The host, its limits or its plan may have changed during the wait. Counts the
        request.
        """
        health, limits = self._health, self._limits
        if not health.is_well and not request.is_ping:
            if failure := health.refusal(request.url, is_retry=request.attempts > 0):
                return failure
            if health.is_suspected:
                return _Obstacle.HOST_SUSPECTED
        authorization = request.authorization
        if (
            authorization is not None
            and authorization.is_old(request.sent_at)
            and request.renewals < self._max_renewals
        ):
            request.renewals += 1
            return _Obstacle.TOKEN_EXPIRED
        if limits.is_limited and (
            failure := limits.count(is_manifest=request.is_manifest)
        ):
            return failure
        if authorization is not None and authorization.trial is not None:
            return _Obstacle.LOGIN_ON_TRIAL
        return None

    async def _begin_trial(self, request: PendingRequest) -> Failure | None:
        """Wait for the turn to try the login, and then for a slot."""
        authorization = request.authorization
        assert authorization is not None
        trial = authorization.trial
        assert trial is not None
        if failure := await trial.begin():
            return failure
        is_accepted = trial.accepted
        if is_accepted:
            request.authorization = replace(authorization, trial=None)
        try:
            request.sent_at = await request.concurrency.acquire()
        except BaseException:
            if not is_accepted:
                trial.end(None)
            raise
        return None
