"""Whether one request may be sent to a host, when, and what it is authorized with."""

from __future__ import annotations

from dataclasses import replace

from auditor.errors import Failure
from auditor.registry.access.login_trial import LoginTrial
from auditor.registry.auth.authorization import Authorization, Authorizer
from auditor.registry.host_health import Breaker
from auditor.registry.host_limits import Politeness
from auditor.registry.pacing.limits import Limits
from auditor.registry.pacing.unanswered import Unanswered
from auditor.util.clock import Clock
from auditor.wire.response import Answer


class Admission:
    """The way to one request: what limits the host, a login or token, a slot.

    `is_closed`: perhaps nobody need ask; see `refusal`.
    """

    def __init__(
        self,
        *,
        politeness: Politeness,
        breaker: Breaker,
        unanswered: Unanswered,
        limits: Limits,
        clock: Clock,
        tries: int,
    ) -> None:
        self._politeness = politeness
        self._breaker = breaker
        self._unanswered = unanswered
        self._limits = limits
        self._clock = clock
        self._tries = tries
        # A quota that is used up: until when nobody need ask, and why.
        self._closed: tuple[Failure, float] | None = None
        self.is_closed = False

    def close(self, failure: Failure, seconds: float) -> None:
        """Nobody need ask for so long, as everybody would be told this."""
        self._closed = failure, self._clock.monotonic() + seconds
        self.is_closed = True

    def refusal(self) -> Failure | None:
        """Why nobody need ask."""
        if self._closed is None or self._clock.monotonic() >= self._closed[1]:
            self.is_closed = False
            return None
        return replace(self._closed[0], attempts=0)

    async def enter(
        self,
        url: str,
        authorizer: Authorizer | None,
        authorization: Authorization | None,
        *,
        is_ping: bool,
        is_manifest: bool,
    ) -> tuple[Authorization | None, float] | Failure:
        """A slot, to be left, with what to authorize with; and when it was had.

        No slot is held while a token is fetched, or while the host is in doubt.
        """
        limits, politeness, late = self._limits, self._politeness, 0
        while True:
            if limits.active and (refused := await limits.leave(manifest=is_manifest)):
                return refused
            if authorizer is not None and authorization is None:
                found = authorizer.at_hand() or await authorizer.authorization()
                if isinstance(found, Failure):
                    return found
                authorization = found
            had_at = politeness.take()
            if had_at is None:
                had_at = await politeness.acquire()
            if self._breaker.open and not is_ping:
                politeness.release()
                verdict = await self._breaker.verdict()
                if isinstance(verdict, Failure):
                    return verdict
                authorization = None  # it may have expired meanwhile
            elif (
                self._unanswered.any
                and not is_ping
                and (refused := self._unanswered.refusal(url))
            ):
                politeness.release()
                return refused
            elif authorization and late < self._tries and authorization.is_old(had_at):
                # It waited for its slot for longer than its token lives.
                politeness.release()
                authorization, late = None, late + 1
            elif limits.active and (refused := limits.take(manifest=is_manifest)):
                politeness.release()
                return refused
            elif authorization is not None and authorization.trial is not None:
                politeness.release()
                return await self._on_trial(authorization, authorization.trial)
            else:
                return authorization, had_at

    def leave(
        self, authorization: Authorization | None, outcome: Answer | Failure | None
    ) -> None:
        """Give the slot back; `outcome` is null where nothing is known of it."""
        self._politeness.release()
        if authorization is not None and authorization.trial is not None:
            authorization.trial.end(outcome)

    async def _on_trial(
        self, authorization: Authorization, trial: LoginTrial
    ) -> tuple[Authorization, float] | Failure:
        """A slot for a login that is on trial, when it is its turn."""
        refused = await trial.begin()
        if refused is not None:
            return refused
        if trial.accepted:
            authorization = replace(authorization, trial=None)
        try:
            return authorization, await self._politeness.acquire()
        except BaseException:
            if authorization.trial is not None:
                authorization.trial.end(None)
            raise
