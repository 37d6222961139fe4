"""What follows where a request was not simply answered: its next try, or its end."""

from __future__ import annotations

import logging
from collections import Counter
from typing import assert_never

from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.registry.admission import Admission
from auditor.registry.auth.authorization import Authorization, Authorizer
from auditor.registry.health import Forgive, Health
from auditor.registry.host_limits import Politeness
from auditor.registry.pacing.unanswered import Unanswered
from auditor.util.clock import Clock
from auditor.util.text import safe_url
from auditor.wire.response import Answer
from auditor.wire.retry_policy import Authenticate, Decision, Fail, Sent, Wait, decide
from auditor.wire.url_policy import origin_of

log = logging.getLogger("auditor.registry")


@dataclass(slots=True)
class Progress:
    """How far one request has come.

    It was sent `tries` times since the host was last forgiven for being down, which it
    was `forgiven` times. `authorization` is that of the last try, or for the next one.
    """

    tries: int = 0
    forgiven: int = 0
    asked_again: bool = False
    authorization: Authorization | None = None


class Trouble:
    """Carries out what `decide` says of what is no good answer."""

    def __init__(
        self,
        *,
        admission: Admission,
        health: Health,
        politeness: Politeness,
        unanswered: Unanswered,
        clock: Clock,
        repeated: Counter[str],
    ) -> None:
        self._admission = admission
        self._health = health
        self._politeness = politeness
        self._unanswered = unanswered
        self._clock = clock
        self._repeated = repeated

    async def after(
        self,
        outcome: Answer | Failure,
        url: str,
        sent_at: float,
        progress: Progress,
        *,
        authorizer: Authorizer | None,
        tries: int,
        is_ping: bool,
    ) -> Failure | None:
        """The failure it comes to; null, once it may be sent again.

        No slot is held while waiting.
        """
        if (
            isinstance(outcome, Failure)
            and outcome.kind is FailureKind.TIMEOUT
            and not is_ping
        ):
            self._unanswered.timed_out(url, outcome, sent_at=sent_at)
        decision: Decision | Forgive = decide(
            outcome,
            attempt=progress.tries,
            tries=tries,
            sent=_sent(progress, sent_at, elsewhere=_is_elsewhere(outcome, url)),
            now=self._clock.epoch(),
            random=self._clock.random(),
        )
        if isinstance(decision, Wait | Fail):
            decision = await self._health.weigh(
                decision, url, sent_at, progress.forgiven, is_ping=is_ping
            )
        match decision:
            case Fail():
                if decision.host_wide_s is not None:
                    self._admission.close(decision.failure, decision.host_wide_s)
                return decision.failure
            case Authenticate():
                return await self._authenticate(decision, progress, authorizer)
            case Wait():
                self._repeated["retries"] += 1
                await self._wait(decision, url)
            case Forgive():
                self._repeated["retries"] += 1
                self._health.forgiven(progress.tries - 1)
                progress.tries = 0
                progress.forgiven += 1
            case _:
                assert_never(decision)
        progress.authorization = None  # it may have expired meanwhile
        return None

    async def _authenticate(
        self, decision: Authenticate, progress: Progress, authorizer: Authorizer | None
    ) -> Failure | None:
        assert authorizer is not None
        assert progress.authorization is not None
        self._repeated["unauthorized"] += 1
        progress.asked_again = True
        found = await authorizer.again(progress.authorization, decision.challenge)
        if isinstance(found, Failure):
            return found
        progress.authorization = found
        return None

    async def _wait(self, decision: Wait, url: str) -> None:
        log.info(
            "%s: again in %.1f s: %s",
            safe_url(url),
            decision.seconds,
            decision.failure.detail,
        )
        if decision.host_wide:
            self._politeness.hold_back(decision.seconds)  # the next slot waits
        else:
            await self._clock.sleep(decision.seconds)


def _sent(progress: Progress, sent_at: float, *, elsewhere: bool) -> Sent:
    """What the request carried."""
    authorization = progress.authorization
    if authorization is None:
        # With nothing to authenticate with, a 401 is final.
        return Sent(authenticated_again=True, elsewhere=elsewhere)
    return Sent(
        token_age_s=authorization.age_s(sent_at),
        scope=authorization.scope,
        fixed=authorization.fixed,
        authenticated_again=progress.asked_again,
        elsewhere=elsewhere,
    )


def _is_elsewhere(outcome: Answer | Failure, url: str) -> bool:
    """Whether the answer came from another origin, after redirects."""
    if isinstance(outcome, Failure) or outcome.url == url:
        return False
    return origin_of(outcome.url) != origin_of(url)
