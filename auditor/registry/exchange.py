"""One request until it is decided: slots, authorization, waiting, sending again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import field, replace
from enum import StrEnum
from typing import assert_never

from auditor.errors import Failure, FailureKind
from auditor.protocol.answer import Answer
from auditor.protocol.decide import (
    Authenticate,
    Decision,
    Done,
    Fail,
    Sent,
    Wait,
    decide,
    is_good,
)
from auditor.protocol.realm import origin_of
from auditor.registry.access.authorization import Authorization, Authorizer
from auditor.registry.access.login_trial import LoginTrial
from auditor.registry.clock import Clock
from auditor.registry.network.transport import Transport
from auditor.registry.pacing.breaker import SILENCE, Breaker, Probe, Verdict
from auditor.registry.pacing.limits import Limits
from auditor.registry.pacing.politeness import Politeness
from auditor.registry.pacing.retry_budget import RetryBudget
from auditor.registry.pacing.unanswered import Unanswered
from auditor.safe_text import safe_url
from auditor.values import dataclass

# What a probe is answered is a few sentences, or a token.
MAX_PROBE_BYTES = 64 * 1024

log = logging.getLogger("auditor.registry")

_DISTRESS = frozenset(
    {FailureKind.RATE_LIMITED, FailureKind.SERVER_ERROR, FailureKind.TIMEOUT}
)


class RequestKind(StrEnum):
    """What a request was for; the summary counts by it."""

    PING = "ping"
    TOKEN = "token"
    HEAD = "head"  # of a manifest: is it there, and which is it
    MANIFEST = "manifest"
    BLOB = "blob"
    BLOB_CHECK = "blob_check"
    LIST = "list"
    REFERRERS = "referrers"


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """What was sent, by kind, and how much of it was sent again, by the reason."""

    sent: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)


# Is told what came of each request, for who wants to see more than the result.
Witness = Callable[[RequestKind, Answer | Failure], None]


@dataclass(frozen=True, slots=True)
class Forgive:
    """Send again, with all its tries: it was the whole host that was down."""


class Exchange:
    """Requests to one host. Counts what it sends.

    What an authorizer gives goes to the origin of `credentials_to` and nowhere else:
    a list that was redirected may go on at another host.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        politeness: Politeness,
        breaker: Breaker,
        unanswered: Unanswered,
        budget: RetryBudget,
        limits: Limits,
        clock: Clock,
        tries: int,
        counts: RequestCounts,
        witness: Witness | None = None,
        credentials_to: str | None = None,
    ) -> None:
        self._transport = transport
        self._credentials_to = credentials_to
        self._politeness = politeness
        self._breaker = breaker
        self._unanswered = unanswered
        self._budget = budget
        self._limits = limits
        self._clock = clock
        self._tries = tries
        self._counts = counts
        self._witness = witness
        # A quota that is used up: until when nobody need ask, and why.
        self._closed: tuple[Failure, float] | None = None

    async def send(
        self,
        kind: RequestKind,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        body: bytes | None = None,
        authorizer: Authorizer | None = None,
        redirects: bool = True,
        wanted: Container[int] = (),
        tries: int | None = None,
    ) -> Answer | Failure:
        """The good answer (2xx or `wanted`), or the failure after the last try.

        No slot is held while waiting.
        """
        authorizer = authorizer if self._is_own(url) else None
        if self._closed is not None and (closed := self._closed_failure()) is not None:
            return closed
        attempt = forgiven = 0
        asked_again = False
        authorization: Authorization | None = None
        while True:
            ready = await self._ready(
                kind,
                url,
                authorizer,
                authorization,
                manifest=kind is RequestKind.MANIFEST and method == "GET",
            )
            if isinstance(ready, Failure):
                return ready if ready.attempts else replace(ready, attempts=attempt)
            authorization, sent_at = ready
            attempt += 1
            outcome: Answer | Failure | None = None
            try:
                self._counts.sent[kind] += 1
                outcome = await self._transport.request(
                    method,
                    url,
                    headers=_with_authorization(headers, authorization),
                    max_bytes=max_bytes,
                    body=body,
                    redirects=redirects,
                )
            finally:
                self._politeness.release()
                _end_trial(authorization, outcome)
            self._note(kind, outcome, url, sent_at)
            if isinstance(outcome, Answer) and is_good(outcome, wanted):
                # What `decide` says of nearly every answer, without its detours.
                self._politeness.ease()
                self._breaker.answered()
                self._budget.good(attempt - 1)
                return outcome
            decision: Decision | Forgive = decide(
                outcome,
                attempt=attempt,
                tries=self._tries if tries is None else tries,
                sent=_sent(
                    authorization,
                    sent_at,
                    asked_again=asked_again,
                    elsewhere=_is_elsewhere(outcome, url),
                ),
                now=self._clock.epoch(),
                random=self._clock.random(),
                wanted=wanted,
            )
            if isinstance(decision, Wait | Fail):
                decision = await self._weigh(kind, decision, url, sent_at, forgiven)
            match decision:
                case Done():
                    return decision.answer
                case Fail():
                    self._close(decision)
                    return decision.failure
                case Authenticate():
                    assert authorizer is not None
                    assert authorization is not None
                    self._counts.repeated["unauthorized"] += 1
                    asked_again = True
                    found = await authorizer.again(authorization, decision.challenge)
                    if isinstance(found, Failure):
                        return found
                    authorization = found
                case Wait():
                    self._counts.repeated["retries"] += 1
                    await self._wait(decision, url)
                    authorization = None  # it may have expired meanwhile
                case Forgive():
                    self._counts.repeated["retries"] += 1
                    self._budget.good(attempt - 1)
                    attempt, forgiven = 0, forgiven + 1
                    authorization = None
                case _:
                    assert_never(decision)

    def _is_own(self, url: str) -> bool:
        """Whether credentials may go there."""
        own = self._credentials_to
        return own is not None and (
            url.startswith(f"{own}/") or origin_of(url) == origin_of(own)
        )

    async def _ready(
        self,
        kind: RequestKind,
        url: str,
        authorizer: Authorizer | None,
        authorization: Authorization | None,
        *,
        manifest: bool,
    ) -> tuple[Authorization | None, float] | Failure:
        """A slot, to be released, with what to authorize with; and when it was had.

        No slot is held while a token is fetched, or while the host is in doubt.
        """
        limits, late = self._limits, 0
        while True:
            if limits.active:
                refusal = await limits.leave(manifest=manifest)
                if refusal is not None:
                    return refusal
            if authorizer is not None and authorization is None:
                found = authorizer.at_hand() or await authorizer.authorization()
                if isinstance(found, Failure):
                    return found
                authorization = found
            had_at = await self._politeness.acquire()
            if self._breaker.open and kind is not RequestKind.PING:
                self._politeness.release()
                verdict = await self._breaker.verdict()
                if isinstance(verdict, Failure):
                    return verdict
                authorization = None  # it may have expired meanwhile
            elif self._unanswered.any and (refusal := self._refusal(kind, url)):
                self._politeness.release()
                return refusal
            elif authorization and late < self._tries and authorization.is_old(had_at):
                # It waited for its slot for longer than its token lives.
                self._politeness.release()
                authorization, late = None, late + 1
            elif limits.active and (refusal := limits.take(manifest=manifest)):
                self._politeness.release()
                return refusal
            elif authorization is not None and authorization.trial is not None:
                return await self._tried(authorization, authorization.trial)
            else:
                return authorization, had_at

    def _refusal(self, kind: RequestKind, url: str) -> Failure | None:
        return None if kind is RequestKind.PING else self._unanswered.refusal(url)

    async def _tried(
        self, authorization: Authorization, trial: LoginTrial
    ) -> tuple[Authorization, float] | Failure:
        """A slot for a login that is on trial, when it is its turn; the one that is
        held is given back."""
        self._politeness.release()
        refused = await trial.begin()
        if refused is not None:
            return refused
        if trial.accepted:
            authorization = replace(authorization, trial=None)
        try:
            return authorization, await self._politeness.acquire()
        except BaseException:
            _end_trial(authorization, None)
            raise

    def _note(
        self, kind: RequestKind, outcome: Answer | Failure, url: str, sent_at: float
    ) -> None:
        self._limits.learn(outcome)
        if isinstance(outcome, Answer):
            if self._unanswered.any and kind is not RequestKind.PING:
                self._unanswered.answered(url)
        elif outcome.kind is FailureKind.TIMEOUT and kind is not RequestKind.PING:
            self._unanswered.timed_out(url, outcome, sent_at=sent_at)
        if self._witness is not None:
            self._witness(kind, outcome)

    def _learn(self, failure: Failure, sent_at: float) -> None:
        if failure.kind in _DISTRESS:
            self._politeness.distress(sent_at)

    async def _weigh(
        self,
        kind: RequestKind,
        decision: Wait | Fail,
        url: str,
        sent_at: float,
        forgiven: int,
    ) -> Wait | Fail | Forgive:
        """The decision, in view of how the whole host is doing."""
        failure = decision.failure
        self._learn(failure, sent_at)
        if kind is RequestKind.PING:  # a probe itself, planned by itself
            return decision
        if failure.kind not in SILENCE:
            # A throttled request takes nothing from the budget: the host asks for
            # patience, and everybody waits together.
            self._breaker.answered()
            return decision
        wait_s = 0.0
        if isinstance(decision, Wait) and decision.host_wide:
            wait_s = decision.seconds
        verdict = await self._breaker.failed(failure, url=url, wait_s=wait_s)
        if isinstance(verdict, Failure):
            return Fail(failure=replace(verdict, attempts=failure.attempts))
        if verdict is Verdict.BACK and forgiven < self._tries:
            return Forgive()
        if isinstance(decision, Fail) or self._budget.take():
            return decision
        self._politeness.hold_back(wait_s)
        detail = f"{failure.detail}; not tried again, as too much of this host fails"
        return Fail(failure=replace(failure, detail=detail))

    def _close(self, decision: Fail) -> None:
        if decision.host_wide_s is not None:
            until = self._clock.monotonic() + decision.host_wide_s
            self._closed = (decision.failure, until)

    def _closed_failure(self) -> Failure | None:
        if self._closed is not None and self._clock.monotonic() < self._closed[1]:
            return replace(self._closed[0], attempts=0)
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


def prober(transport: Transport, counts: RequestCounts, limits: Limits) -> Probe:
    """What a `Breaker` probes with: one small request without a credential."""

    async def probe(url: str) -> Answer | Failure:
        if refusal := limits.take(manifest=False):
            return refusal
        counts.sent[RequestKind.PING] += 1
        return await transport.request(
            "GET", url, headers={}, max_bytes=MAX_PROBE_BYTES, redirects=False
        )

    return probe


def _sent(
    authorization: Authorization | None,
    sent_at: float,
    *,
    asked_again: bool,
    elsewhere: bool,
) -> Sent:
    """What the request carried."""
    if authorization is None:
        # With nothing to authenticate with, a 401 is final.
        return Sent(authenticated_again=True, elsewhere=elsewhere)
    return Sent(
        token_age_s=authorization.age_s(sent_at),
        scope=authorization.scope,
        fixed=authorization.fixed,
        authenticated_again=asked_again,
        elsewhere=elsewhere,
    )


def _end_trial(
    authorization: Authorization | None, outcome: Answer | Failure | None
) -> None:
    if authorization is not None and authorization.trial is not None:
        authorization.trial.end(outcome)


def _is_elsewhere(outcome: Answer | Failure, url: str) -> bool:
    """Whether the answer came from another origin, after redirects."""
    if isinstance(outcome, Failure) or outcome.url == url:
        return False
    return origin_of(outcome.url) != origin_of(url)


def _with_authorization(
    headers: Mapping[str, str], authorization: Authorization | None
) -> Mapping[str, str]:
    if authorization is None or authorization.header is None:
        return headers
    return {**headers, "Authorization": authorization.header}
