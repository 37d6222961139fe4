"""The request loop: sends one request to one host, with its retries.

`RequestSender.send` repeats these steps until there is a response or a final failure:

1. admit (`admission`): check that the host is up (`host_health`), wait for its limits
   (`host_limits`), get the authorization (`auth`), take a slot;
2. send over the transport, give the slot back, report to the observer;
3. record the outcome in the limits and the health of the host; a good response (2xx
   or a status that the caller accepts) is returned;
4. decide what else happens (`wire.retry_policy.decide`, a pure function): authenticate
   again, wait and retry, or fail.

A slot is held only while a request is in flight: never while waiting for a token, a
probe, a turn or a retry.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import field, replace
from enum import StrEnum

import anyio

from auditor.config import RegistrySettings
from auditor.config.requests_at_once import RequestsAtOnce
from auditor.errors import Failure, FailureKind, FailureReason
from auditor.fast_dataclass import dataclass
from auditor.registry.admission import Admission, PendingRequest
from auditor.registry.auth.authorization import Authorizer, Elsewhere
from auditor.registry.concurrency_control import START
from auditor.registry.concurrency_limiter import ConcurrencyLimiter, HostLimiters
from auditor.registry.host_health import (
    ABSENT_REASONS,
    DEAD_HOST_S,
    OUTAGE_KINDS,
    HostHealth,
    HostState,
)
from auditor.registry.host_limits import HostLimits, Pacer, RateLimiter, RequestQuota
from auditor.registry.host_status import HostStatus, cause_of, retrying, status_of
from auditor.registry.transport.connection_budget import ConnectionBudget
from auditor.registry.transport.transport import Transport
from auditor.util.clock import Clock
from auditor.util.text import safe_url
from auditor.wire.redirect import Redirects
from auditor.wire.response import Response
from auditor.wire.retry_policy import (
    REGISTRY,
    RETRYABLE_STATUSES,
    TOKEN_SERVICE,
    Authenticate,
    Decision,
    Fail,
    Wait,
    decide,
)
from auditor.wire.url_policy import origin_of

log = logging.getLogger("auditor.registry")

# The response to a probe is an error message of a few sentences, or a token.
MAX_PROBE_BYTES = 64 * 1024


class RequestKind(StrEnum):
    """The purpose of a request; the summary counts requests by kind."""

    PING = "ping"
    TOKEN = "token"
    HEAD = "head"  # of a manifest
    MANIFEST = "manifest"
    BLOB = "blob"
    BLOB_CHECK = "blob_check"
    LIST = "list"
    REFERRERS = "referrers"


# Looked up once: a member of an enum takes 900 instructions on Python 3.11.
_PING, _MANIFEST = RequestKind.PING, RequestKind.MANIFEST
_TOKEN = RequestKind.TOKEN


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests sent, by kind, and requests repeated, by reason."""

    sent: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)


# Called with the outcome of every attempt.
RequestObserver = Callable[[RequestKind, Response | Failure], None]


class RequestSender:
    """Sends requests to one service, within its limits and while it is healthy.

    `service` names it in messages. Authorizations are sent to the origin
    `credential_base` only; another one, such as that of the next page of a redirected
    list, gets an anonymous token at most. `limiters` are those of the run, one for each
    host; `bounds` are those of the registry. `probe_url` responds while the service is
    up; without one, the URL of a failed request is probed. `notify`
    gets a sentence for a person before each retry.
    """

    def __init__(
        self,
        service: str,
        *,
        settings: RegistrySettings,
        transport: Transport,
        clock: Clock,
        counts: RequestCounts,
        budget: ConnectionBudget | None = None,
        limiters: HostLimiters | None = None,
        bounds: RequestsAtOnce | None = None,
        quota: RequestQuota | None = None,
        rate_limiter: RateLimiter | None = None,
        observer: RequestObserver | None = None,
        credential_base: str | None = None,
        probe_url: str | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._service = service
        self._notify = notify
        self._retrying: str | None = None
        self._transport = transport
        self._max_attempts = settings.tries
        self._clock = clock
        self._counts = counts
        self._observer = observer
        # The slash keeps out hosts whose names only begin alike.
        self._credential_base = credential_base and f"{credential_base}/"
        self._bounds = settings.concurrency if bounds is None else bounds
        self._budget = ConnectionBudget() if budget is None else budget
        if limiters is None:
            limiters = HostLimiters(budget=self._budget, clock=clock)
        self._limiters = limiters
        # How the URLs of the host begin that was asked last, and its limiter.
        self._host: tuple[str, ConcurrencyLimiter] | None = None
        rate = settings.requests_per_second
        pacer = None if rate is None else Pacer(1 / rate, clock=clock)
        self._limits = HostLimits(pacer=pacer, quota=quota, rate_limiter=rate_limiter)
        self._health = HostHealth(
            service,
            probe=self._probe,
            probe_url=probe_url,
            most_in_flight=self._most_in_flight,
            tries=settings.tries,
            clock=clock,
            sent_elsewhere=lambda: counts.sent.total() - counts.sent[_PING],
            notify=notify,
        )
        self._admission = Admission(
            health=self._health, limits=self._limits, max_renewals=settings.tries
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
        redirects: Redirects = Redirects.FOLLOWED,
        new_connection: bool = False,
        accepted_statuses: Container[int] = (),
        max_attempts: int | None = None,
    ) -> Response | Failure:
        """The response (2xx or one of `accepted_statuses`), or the final failure.

        `redirects`: which ones are followed. `new_connection`: reuse none.
        `max_attempts` defaults to the setting `tries`.
        """
        health, concurrency = self._health, self._concurrency(url)
        request = PendingRequest(
            url,
            concurrency,
            authorizer,
            self._max_attempts if max_attempts is None else max_attempts,
            is_ping=kind is _PING,
            is_manifest=kind is _MANIFEST and method == "GET",
            server=TOKEN_SERVICE if kind is _TOKEN else REGISTRY,
            is_elsewhere=authorizer is not None and not self._may_authorize(url),
        )
        if authorizer is not None and request.is_elsewhere:
            request.authorizer = Elsewhere(authorizer)
        while True:
            if failure := await self._admission.admit(request):
                return replace(failure, attempts=failure.attempts or request.attempts)
            request.attempts += 1
            authorization = request.authorization
            outcome: Response | Failure | None = None
            try:
                self._counts.sent[kind] += 1
                concurrency.pings += request.is_ping
                outcome = await self._transport.request(
                    method,
                    url if authorization is None else authorization.url or url,
                    headers=(
                        headers
                        if authorization is None or authorization.header is None
                        else {**headers, "Authorization": authorization.header}
                    ),
                    max_bytes=max_bytes,
                    body=body,
                    redirects=redirects,
                    new_connection=new_connection,
                )
            finally:
                concurrency.pings -= request.is_ping
                _give_back(outcome, request, accepted_statuses)
                if authorization is not None:
                    authorization.observe(outcome)
            if self._observer is not None:
                self._observer(kind, outcome)
            if isinstance(outcome, Response):
                health.has_responded = True
                self._observe_limits(outcome, url, concurrency)
                status = outcome.status
                if status not in RETRYABLE_STATUSES:
                    health.has_served = True
                    concurrency.answered(
                        kind, outcome, request.sent_at, refusals=request.attempts - 1
                    )
                if not health.is_well and not request.is_ping:
                    health.responded(url)
                if 200 <= status < 300 or status in accepted_statuses:
                    if not health.is_well:
                        self._retrying = None
                        health.succeeded(request.attempts - 1)
                    return outcome
            if failure := await self._handle_failure(outcome, request):
                return failure

    async def admit_other(
        self, kind: RequestKind, *, is_retry: bool = False
    ) -> Failure | None:
        """Count a request that the library of a cloud sends, once it may be sent.

        Returns a failure if it may not. The pace and the quota apply to it.
        """
        limits = self._limits
        if limits.is_limited and (
            failure := await limits.wait_turn(is_manifest=False)
            or limits.count(is_manifest=False)
        ):
            return failure
        self._counts.sent[kind] += 1
        self._counts.repeated["retries"] += is_retry
        return None

    async def _probe(self, url: str) -> Response | Failure:
        """One small request without credentials, for `HostHealth`."""
        if failure := self._limits.count(is_manifest=False):
            return failure
        asked_at = self._clock.monotonic()
        await self._budget.requests.acquire()
        try:
            self._health.excuse(self._clock.monotonic() - asked_at)
            self._counts.sent[_PING] += 1
            outcome = await self._transport.request(
                "GET",
                url,
                headers={},
                max_bytes=MAX_PROBE_BYTES,
                redirects=Redirects.REFUSED,
            )
            if isinstance(outcome, Response):
                self._health.has_responded = True
            return outcome
        finally:
            self._budget.requests.release()

    def _concurrency(self, url: str) -> ConcurrencyLimiter:
        """The limiter of the host of a URL."""
        host = self._host
        if host is None or not url.startswith(host[0]):
            host = self._host = self._limiters.of(url, self._bounds)
        return host[1]

    def _observe_limits(
        self, response: Response, url: str, concurrency: ConcurrencyLimiter
    ) -> None:
        """Update the limits from a response to a request for `url`.

        A name that redirects to a public registry gets as few requests as that.
        """
        self._limits.observe(response)
        if response.url != url:
            bounds = self._bounds.of_registry(origin_of(response.url).host)
            if bounds.most < self._bounds.most:
                concurrency.restrict(bounds.most)

    @property
    def limit(self) -> int:
        """The requests that the host asked last is sent at once.

        Another registry at the same host may have set it: it is at most the service's.
        """
        limit = START if self._host is None else self._host[1].control.limit
        return min(limit, self._bounds.most)

    def _most_in_flight(self) -> int:
        """The most requests that were allowed at once so far."""
        return 1 if self._host is None else self._host[1].control.highest

    @property
    def limiter(self) -> ConcurrencyLimiter | None:
        """That of the host asked last."""
        return None if self._host is None else self._host[1]

    def status(
        self, *, with_limit: bool = False, is_host_told: bool = False
    ) -> HostStatus | None:
        """What requests to the service wait for; None while they do not.

        `with_limit`: how many are sent at once is said even if nothing keeps it low.
        `is_host_told`: what holds for all services of the host is left out.
        """
        obstacle = None if self._health.is_well else self._health.obstacle
        if obstacle is None and self._retrying is not None:
            obstacle = self._retrying, None
        return status_of(
            self._service,
            obstacle=obstacle,
            concurrency=None if is_host_told else self.limiter,
            rate_limiter=self._limits.rate_limiter,
            with_limit=with_limit,
            epoch_s=self._clock.epoch() - self._clock.monotonic(),
        )

    def _may_authorize(self, url: str) -> bool:
        base = self._credential_base
        return base is not None and (
            url.startswith(base) or origin_of(url) == origin_of(base)
        )

    # -- after a failed attempt ------------------------------------------------

    async def _handle_failure(
        self, outcome: Response | Failure, request: PendingRequest
    ) -> Failure | None:
        """Carry out the decision on a failed attempt.

        Returns the final failure, or None once the request may be sent again.
        """
        if (
            isinstance(outcome, Failure)
            and outcome.kind is FailureKind.TIMEOUT
            and not request.is_ping
        ):
            self._health.timed_out(request.url, outcome, sent_at=request.sent_at)
        decision = self._decide(outcome, request)
        if isinstance(decision, Authenticate):
            return await self._authenticate(decision, request)
        if decision.failure.kind is FailureKind.INTERRUPTED:
            return decision.failure  # not sent: says nothing about the host
        if request.is_ping:
            if isinstance(decision, Fail):
                self._retrying = None
                self._health.leave_alone(decision.failure, DEAD_HOST_S)
        else:
            state = await self._health.failed(
                decision.failure, request.url, wait_s=_host_wide_wait_s(decision)
            )
            if isinstance(state, Failure):
                return replace(state, attempts=decision.failure.attempts)
            if state is HostState.RECOVERED and request.restarts < request.max_attempts:
                # The host was down meanwhile: the request gets all its attempts again.
                self._counts.repeated["retries"] += 1
                self._health.budget.refund(request.attempts - 1)
                request.attempts = 0
                request.restarts += 1
                request.authorization = None  # it may have expired meanwhile
                return None
        if isinstance(decision, Fail):
            if decision.host_wide_s is not None:
                self._health.leave_alone(decision.failure, decision.host_wide_s)
            return decision.failure
        # A throttled request takes no retry: all requests to the host wait together.
        takes_retry = not request.is_ping and decision.failure.kind in OUTAGE_KINDS
        if takes_retry and not self._health.take_retry():
            request.concurrency.hold_back(
                _host_wide_wait_s(decision), cause_of(decision.failure)
            )
            detail = (
                f"{decision.failure.detail}; not retried: too many requests to this"
                " host fail"
            )
            return replace(decision.failure, detail=detail)
        await self._wait(decision, request)
        return None

    def _decide(self, outcome: Response | Failure, request: PendingRequest) -> Decision:
        status = outcome.status if isinstance(outcome, Response) else None
        tries, pause_s = request.most_attempts(status), None
        if isinstance(outcome, Failure):
            if self._health.is_wait_over(outcome, sent_at=request.sent_at):
                tries = request.attempts
            elif request.is_ping:
                tries = self._health.ping_tries(outcome, request.attempts, tries)
                pause_s = self._health.contact_pause_s(outcome, request.attempts)
        decision = decide(
            outcome,
            attempt=request.attempts,
            tries=tries,
            sent=request.described(outcome),
            now=self._clock.epoch(),
            random=self._clock.random(),
        )
        if isinstance(decision, Wait) and pause_s is not None:
            return replace(decision, seconds=pause_s)
        return decision

    async def _authenticate(
        self, decision: Authenticate, request: PendingRequest
    ) -> Failure | None:
        assert request.authorizer is not None
        assert request.authorization is not None
        self._counts.repeated["unauthorized"] += 1
        request.reauthentications += 1
        authorizer, challenge = request.authorizer, decision.challenge
        if decision.url is not None and challenge is not None:
            renewed = await authorizer.elsewhere(
                request.authorization, challenge, decision.url
            )
        else:
            renewed = await authorizer.after_401(request.authorization, challenge)
        if renewed is None:
            return decision.failure
        if isinstance(renewed, Failure):
            return renewed
        request.authorization = renewed
        return None

    async def _wait(self, decision: Wait, request: PendingRequest) -> None:
        if request.concurrency.is_draining:
            await anyio.sleep_forever()
        self._counts.repeated["retries"] += 1
        failure = decision.failure
        most = request.most_attempts(failure.status)
        if not self._health.has_responded and failure.status is None:
            is_slow_ping = request.is_ping and failure.kind is FailureKind.TIMEOUT
            if is_slow_ping or failure.reason in ABSENT_REASONS:
                most = self._max_attempts
        # While the run has others to ask, until `LONG_PING_S`, or a person's patience.
        is_open_end = (
            failure.attempts >= most
            or failure.reason is FailureReason.LOOKUP_TIMEOUT
            or self._health.is_awaited(failure)
        )
        sentence = retrying(self._service, failure, most=None if is_open_end else most)
        if request.is_ping:
            self._retrying = sentence
            self._health.is_well = False
        if self._notify is not None:
            self._notify(sentence)
        log.info(
            "%s: retry in %.1f s: %s",
            safe_url(request.url),
            decision.seconds,
            decision.failure.detail,
        )
        if decision.host_wide:
            # It waits for its next slot.
            request.concurrency.hold_back(decision.seconds, cause_of(failure))
        else:
            await self._clock.sleep(decision.seconds)
        request.authorization = None  # it may have expired meanwhile


def _give_back(
    outcome: Response | Failure | None,
    request: PendingRequest,
    accepted_statuses: Container[int],
) -> None:
    """Give the slot of a request back, after its distress: then there are fewer."""
    if outcome is not None and not (
        isinstance(outcome, Response)
        and (outcome.status < 400 or outcome.status in accepted_statuses)
    ):
        request.concurrency.failed(
            outcome, request.sent_at, refusals=request.attempts - 1
        )
    request.concurrency.release()


def _host_wide_wait_s(decision: Wait | Fail) -> float:
    return decision.seconds if isinstance(decision, Wait) and decision.host_wide else 0
