"""One request until it is decided: slots, authorization, waiting, sending again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import field, replace
from enum import StrEnum
from typing import assert_never

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.registry.auth.authorization import Authorization, Authorizer, LoginTrial
from auditor.registry.host_health import (
    PATIENCE_S,
    SILENCE,
    Breaker,
    Probe,
    RetryBudget,
    Unanswered,
    Verdict,
)
from auditor.registry.host_limits import ConcurrencyLimiter, Limits, Pace, Quota, Ration
from auditor.registry.transport.transport import Transport
from auditor.util.clock import Clock
from auditor.util.text import safe_url
from auditor.wire.response import Response
from auditor.wire.retry_policy import Authenticate, Decision, Fail, Sent, Wait, decide
from auditor.wire.url_policy import origin_of

# -- admission --
# Whether one request may be sent to a host, when, and what it is authorized with.


class Admission:
    """The way to one request: what limits the host, a login or token, a slot.

    `is_closed`: perhaps nobody need ask; see `refusal`.
    """

    def __init__(
        self,
        *,
        politeness: ConcurrencyLimiter,
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
        self, authorization: Authorization | None, outcome: Response | Failure | None
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


# -- health --
# What the outcomes of requests say of the whole host, and what follows for each.

_DISTRESS = frozenset(
    {FailureKind.RATE_LIMITED, FailureKind.SERVER_ERROR, FailureKind.TIMEOUT}
)


@dataclass(frozen=True, slots=True)
class Forgive:
    """Send again, with all its tries: it was the whole host that was down."""


class Health:
    """How one host is doing.

    `is_well`: nothing was wrong since everything was well, so that a good answer has
    nothing to make up for. Else tell `good`.
    """

    __slots__ = ("_breaker", "_budget", "_politeness", "_tries", "is_well")

    def __init__(
        self,
        *,
        politeness: ConcurrencyLimiter,
        breaker: Breaker,
        budget: RetryBudget,
        tries: int,
    ) -> None:
        self._politeness = politeness
        self._breaker = breaker
        self._budget = budget
        self._tries = tries
        self.is_well = True

    def good(self, retries: int) -> None:
        """A request was answered well after so many retries."""
        self._politeness.ease()
        self._breaker.answered()
        self._budget.good(retries)
        self.is_well = self._politeness.is_easy and self._budget.is_full

    def forgiven(self, retries: int) -> None:
        """So many retries are not held against anybody."""
        self._budget.good(retries)

    async def weigh(
        self,
        decision: Wait | Fail,
        url: str,
        sent_at: float,
        forgiven: int,
        *,
        is_ping: bool,
    ) -> Wait | Fail | Forgive:
        """The decision on a request that was forgiven so often, in view of the host."""
        self.is_well = False
        failure = decision.failure
        if failure.kind in _DISTRESS:
            self._politeness.distress(sent_at)
        if is_ping:  # a probe itself, planned by itself
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
        self.is_well = False  # others may have been answered well meanwhile
        if isinstance(verdict, Failure):
            return Fail(failure=replace(verdict, attempts=failure.attempts))
        if verdict is Verdict.BACK and forgiven < self._tries:
            return Forgive()
        if isinstance(decision, Fail) or self._budget.take():
            return decision
        self._politeness.hold_back(wait_s)
        detail = f"{failure.detail}; not tried again, as too much of this host fails"
        return Fail(failure=replace(failure, detail=detail))


# -- trouble --
# What follows where a request was not simply answered: its next try, or its end.

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
        politeness: ConcurrencyLimiter,
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
        outcome: Response | Failure,
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


def _is_elsewhere(outcome: Response | Failure, url: str) -> bool:
    """Whether the answer came from another origin, after redirects."""
    if isinstance(outcome, Failure) or outcome.url == url:
        return False
    return origin_of(outcome.url) != origin_of(url)


# What a probe is answered is a few sentences, or a token.
MAX_PROBE_BYTES = 64 * 1024


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
RequestObserver = Callable[[RequestKind, Response | Failure], None]


class Exchange:
    """Requests to one host. Counts what it sends.

    What an authorizer gives goes to the origin of `credentials_to` and nowhere else:
    a list that was redirected may go on at another host.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        politeness: ConcurrencyLimiter,
        breaker: Breaker,
        unanswered: Unanswered,
        budget: RetryBudget,
        limits: Limits,
        clock: Clock,
        tries: int,
        counts: RequestCounts,
        witness: RequestObserver | None = None,
        credentials_to: str | None = None,
    ) -> None:
        self._transport = transport
        # What only begins like the host of a login has another slash before it.
        self._own = None if credentials_to is None else f"{credentials_to}/"
        self._unanswered = unanswered
        self._limits = limits
        self._tries = tries
        self._counts = counts
        self._witness = witness
        self._admission = Admission(
            politeness=politeness,
            breaker=breaker,
            unanswered=unanswered,
            limits=limits,
            clock=clock,
            tries=tries,
        )
        self._health = Health(
            politeness=politeness, breaker=breaker, budget=budget, tries=tries
        )
        self._trouble = Trouble(
            admission=self._admission,
            health=self._health,
            politeness=politeness,
            unanswered=unanswered,
            clock=clock,
            repeated=counts.repeated,
        )

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
    ) -> Response | Failure:
        """The good answer (2xx or `wanted`), or the failure after the last try.

        No slot is held while waiting.
        """
        own = self._own
        if own is None or not (url.startswith(own) or _same_origin(url, own)):
            authorizer = None
        if self._admission.is_closed and (closed := self._admission.refusal()):
            return closed
        is_ping = kind is RequestKind.PING
        progress = Progress()
        while True:
            ready = await self._admission.enter(
                url,
                authorizer,
                progress.authorization,
                is_ping=is_ping,
                is_manifest=kind is RequestKind.MANIFEST and method == "GET",
            )
            if isinstance(ready, Failure):
                return replace(ready, attempts=ready.attempts or progress.tries)
            authorization, sent_at = ready
            progress.authorization = authorization
            progress.tries += 1
            outcome: Response | Failure | None = None
            try:
                self._counts.sent[kind] += 1
                outcome = await self._transport.request(
                    method,
                    url,
                    headers=(
                        headers
                        if authorization is None or authorization.header is None
                        else {**headers, "Authorization": authorization.header}
                    ),
                    max_bytes=max_bytes,
                    body=body,
                    redirects=redirects,
                )
            finally:
                self._admission.leave(authorization, outcome)
            if self._witness is not None:
                self._witness(kind, outcome)
            if isinstance(outcome, Response):
                self._limits.learn(outcome)
                if self._unanswered.any and not is_ping:
                    self._unanswered.answered(url)
                if 200 <= outcome.status < 300 or outcome.status in wanted:
                    # Nearly every answer: there is nothing to decide.
                    if not self._health.is_well:
                        self._health.good(progress.tries - 1)
                    return outcome
            ended = await self._trouble.after(
                outcome,
                url,
                sent_at,
                progress,
                authorizer=authorizer,
                tries=self._tries if tries is None else tries,
                is_ping=is_ping,
            )
            if ended is not None:
                return ended


def prober(transport: Transport, counts: RequestCounts, limits: Limits) -> Probe:
    """What a `Breaker` probes with: one small request without a credential."""

    async def probe(url: str) -> Response | Failure:
        if refusal := limits.take(manifest=False):
            return refusal
        counts.sent[RequestKind.PING] += 1
        return await transport.request(
            "GET", url, headers={}, max_bytes=MAX_PROBE_BYTES, redirects=False
        )

    return probe


def _same_origin(url: str, own: str) -> bool:
    return origin_of(url) == origin_of(own)


# -- host --
# What the requests to one host share: slots, limits, and how the host is doing.


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """How a host is asked for anything. `quota` is the run's and the registry's."""

    name: str
    settings: RegistrySettings
    transport: Transport
    quota: Quota | None
    clock: Clock
    counts: RequestCounts
    witness: RequestObserver | None = None

    def exchange(
        self,
        who: str,
        *,
        credentials_to: str | None = None,
        probe_url: str | None = None,
        ration: Ration | None = None,
    ) -> Exchange:
        """Requests to `who`, which is doing well or badly on its own.

        `credentials_to`: see `Exchange`; null where there is no authorizer.
        `probe_url` answers while it lives; null where only its requests tell.
        """
        settings, clock = self.settings, self.clock
        pace = None
        if settings.requests_per_second is not None:
            pace = Pace(per_second=settings.requests_per_second, clock=clock)
        limits = Limits(pace=pace, quota=self.quota, ration=ration)
        return Exchange(
            transport=self.transport,
            politeness=ConcurrencyLimiter(
                most_at_once=settings.requests_at_once, clock=clock
            ),
            breaker=Breaker(
                host=who,
                probe=prober(self.transport, self.counts, limits),
                probe_url=probe_url,
                clock=clock,
                # Who wants no second try does not want to wait either.
                patience_s=PATIENCE_S if settings.tries > 1 else 0,
            ),
            unanswered=Unanswered(host=who, clock=clock),
            budget=RetryBudget(
                most_at_once=settings.requests_at_once, tries=settings.tries
            ),
            limits=limits,
            clock=clock,
            tries=settings.tries,
            counts=self.counts,
            witness=self.witness,
            credentials_to=credentials_to,
        )

    def ration(self) -> Ration:
        """What the host grants us."""
        return Ration(
            host=self.name,
            use=self.settings.allowance,
            most_at_once=self.settings.requests_at_once,
            clock=self.clock,
        )
