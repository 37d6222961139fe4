"""The circuit breaker of a host: whether requests may be sent to it.

`HostHealth` stops requests to the host until a certain time; until then every request
gets the same failure. Four observations cause this:

- Probes. After `FAILURES_IN_A_ROW` failures that suggest an outage the host is
  suspected: requests wait, without a slot, while one small request at a time (the
  probe) finds out. If the host responds in time (`_patience_after`), no reference
  fails: the requests that failed meanwhile get all their attempts again. If not, no
  request is sent for `DEAD_HOST_S`; then the host is probed again.
- No contact. A host that has not responded in this run, and refuses the connection or
  whose name is unknown, hardly ever is a restart: a few quick attempts decide. While
  the run has other hosts to ask, the attempts go on for `PATIENCE_S`.
- Silence. A host that answers its probe can still let every request time out (its
  storage hangs). After `SILENCE_PATIENCE_S` of waiting without a response no requests
  are sent to the repository, or to the host if several repositories are silent.
- A failed ping (`host_plan`): no request can be authorized without its result.
- A Retry-After above the maximum wait of a request, or 429 on the last attempt.

A host that answers the probe but fails otherwise is left to the retries of each
request, which the `RetryBudget` bounds (retry_budget.py).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import field, replace
from enum import Enum

from auditor.errors import Failure, FailureKind, FailureReason
from auditor.fast_dataclass import dataclass
from auditor.registry.host_status import cause_of
from auditor.registry.retry_budget import RetryBudget
from auditor.util.clock import Clock
from auditor.util.tasks import SingleFlight
from auditor.wire.response import Response
from auditor.wire.retry_policy import (
    RETRYABLE_STATUSES,
    failure_from_response,
    requested_wait_s,
)

log = logging.getLogger("auditor.registry")

# How long a dead host, or a silent repository, is left alone.
DEAD_HOST_S = 30.0
# Failures in a row, over all requests to the host, before it is probed: as many as
# one request has attempts by default. A false alarm costs one small request.
FAILURES_IN_A_ROW = 3
# Registries restart within some 15 s (see `host_plan.PING_TRIES_FACTOR`); twice that.
PATIENCE_S = 30.0
# For 503 of a host that served requests of this run: it may limit the
# requests of a minute.
REFUSED_PATIENCE_S = 90.0
# The pause after the first probe; it doubles. Nine probes fit into `PATIENCE_S`.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
# An outage of this length is a warning in the log.
NOTABLE_OUTAGE_S = 5.0
# The pauses between the attempts of a first contact: doubled up to `LONGEST_...`.
FIRST_CONTACT_PAUSE_S = 0.5
LONGEST_CONTACT_PAUSE_S = 2.0
# How long a host that never responded is probed, after the attempts of the requests
# that failed: all together some 2 s.
FIRST_CONTACT_S = 1.0
# After this time a ping has no more attempts than other requests: three look-ups that
# wait for a default connection timeout are `PATIENCE_S`.
LONG_PING_S = PATIENCE_S / 2
# While a person waits, no request to a host that never answered is repeated after this
# time for each try of the settings: 9 s by default, less than a connection timeout.
SILENT_TRY_S = 3.0
# The answers that nothing is there. A timeout is not an answer.
ABSENT_REASONS = frozenset(
    {
        FailureReason.UNKNOWN_HOST,
        FailureReason.CONNECTION_REFUSED,
        FailureReason.PROXY_UNREACHABLE,
    }
)
# Ten times the default read timeout, and longer than storage takes to fail over.
SILENCE_PATIENCE_S = 300.0
# Failures that suggest that the host is down, not that one request is refused.
OUTAGE_KINDS = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.DNS,
        FailureKind.TIMEOUT,
        FailureKind.SERVER_ERROR,
    }
)

_UNAVAILABLE = 503
_HOST = ""  # the scope of what concerns all repositories
# Sends one small request without credentials to a URL.
Probe = Callable[[str], Awaitable[Response | Failure]]


class HostState(Enum):
    """The state of a host after probing that found it up."""

    UP = "up"
    RECOVERED = "recovered"  # it was down meanwhile


class OutageReason(Enum):
    """Why no requests are sent to a host or repository, and what ends this early."""

    DOWN = "down"  # probes failed: ended by any response below 500
    SILENT = "silent"  # requests timed out: ended by any response
    HOST_WIDE = "host-wide"  # the host asked for it, or its ping failed: only by time


@dataclass(frozen=True, slots=True)
class _Outage:
    """Until `until` (monotonic seconds) every request gets `failure`."""

    reason: OutageReason
    failure: Failure
    until: float


@dataclass(slots=True)
class _Silence:
    """Requests in a row that timed out, to one repository or to the host.

    `waited_s` is the time spent waiting: requests in flight together count once, and
    pauses between requests do not count.
    """

    waited_s: float = 0.0
    last_at: float = float("-inf")
    requests: int = 0
    repositories: set[str] = field(default_factory=set)
    is_logged: bool = False

    def add(self, repository: str, sent_at: float, now: float) -> None:
        self.waited_s += now - max(sent_at, self.last_at)
        self.last_at = now
        self.requests += 1
        self.repositories.add(repository)


class HostHealth:
    """The circuit breaker of one host.

    `is_well`: no failure of the host is on record. While it is false, `refusal` must be
    called before each request, and `responded` and `succeeded` after each response.
    `is_suspected`: call `wait_for_probe` before a request. `budget` bounds the retries.

    `notify` gets a sentence for a person when the wait for a silent host begins; with
    it, a host that never answers is not tried for long.
    `has_responded`: to any request; `has_served`: with a status not to be retried.
    `sent_elsewhere` returns the number of requests that the run has sent, pings left
    out: while it grows, the run goes on without this host.
    `name` is for messages. Without a `probe_url`, the URL that failed last is probed.
    """

    def __init__(
        self,
        name: str,
        *,
        probe: Probe,
        probe_url: str | None,
        most_in_flight: Callable[[], int],
        tries: int,
        clock: Clock,
        sent_elsewhere: Callable[[], int] = lambda: 0,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._name = name
        self._notify = notify
        self._probe_failure: Failure | None = None
        self._tries = tries
        self._sent_elsewhere = sent_elsewhere
        self._sent_before = 0
        self._out_of_contact_since: float | None = None
        self.has_responded = self.has_served = False
        self._probe = probe
        self._probe_url = probe_url
        self._clock = clock
        # By repository (see `_repository`), and those of the host by `_HOST`.
        self._outages: dict[str, _Outage] = {}
        self._silences: dict[str, _Silence] = {}
        self._failures_in_a_row = 0
        self._suspected_at = 0.0
        self._suspected_url = ""
        self._probe_at = 0.0
        self._probes: SingleFlight[None, HostState | Failure] = SingleFlight()
        self.budget = RetryBudget(most_in_flight=most_in_flight, tries=tries)
        self.is_suspected = False
        self.is_well = True

    # -- before a request ------------------------------------------------------

    def refusal(self, url: str, *, is_retry: bool = False) -> Failure | None:
        """The failure of a request to `url` if none may be sent to the host, else None.

        A request that was sent before (`is_retry`) keeps its attempts when the host
        asked others to wait.
        """
        for scope in (_HOST, _repository(url)):
            outage = self._outage(scope)
            if outage is not None and not (
                is_retry and outage.reason is OutageReason.HOST_WIDE
            ):
                return outage.failure
        return None

    @property
    def obstacle(self) -> tuple[str, float | None] | None:
        """Why no request is sent to the host, and until when (monotonic) if known."""
        if outage := self._outage(_HOST):
            return f"not asked after {cause_of(outage.failure)}", outage.until
        if self.is_suspected and self._probe_failure is not None:
            down_s = self._clock.monotonic() - self._suspected_at
            cause = cause_of(self._probe_failure)
            return f"not responding for {down_s:.0f} s: {cause}", None
        return None

    async def wait_for_probe(self) -> HostState | Failure:
        """Wait until it is known whether a suspected host is up.

        A returned `Failure` applies to every request to the host. Must be called
        without a slot.
        """
        if outage := self._outage(_HOST):
            return outage.failure
        return await self._probes.run(None, self._probe_until_decided)

    def take_retry(self) -> bool:
        """Take one retry from the budget; false if it is used up."""
        self.is_well = False
        return self.budget.take()

    # -- after a request -------------------------------------------------------

    def responded(self, url: str) -> None:
        """Record a response from `url`, with any status."""
        for scope in (_HOST, _repository(url)):
            self._silences.pop(scope, None)
            self._end_outage(scope, OutageReason.SILENT)
        self._update()

    def succeeded(self, retries: int) -> None:
        """Record a good response after this many retries."""
        self._alive()
        self.budget.refund(retries)
        if self._outage(_HOST) is None:
            self._outages.pop(_HOST, None)
        self._update()

    async def failed(
        self, failure: Failure, url: str, *, wait_s: float
    ) -> HostState | Failure:
        """Record a failed request to `url`; return whether it may be retried.

        Waits while the host is probed; the first probe is sent after `wait_s`, the
        host's Retry-After. A returned `Failure` applies to every request to the host.
        """
        if failure.kind not in OUTAGE_KINDS:
            self._alive()
            self._update()
            return HostState.UP
        self.is_well = False
        self._failures_in_a_row += 1
        if not self.is_suspected:
            if self._failures_in_a_row < FAILURES_IN_A_ROW:
                return HostState.UP
            self.is_suspected = True
            self._suspected_at = self._clock.monotonic()
            self._sent_before = self._sent_elsewhere()
            self._suspected_url = self._probe_url or url
            self._probe_at = self._suspected_at + wait_s
            log.info(
                "%s: %d requests in a row failed, probing the host: %s",
                self._name, self._failures_in_a_row, failure.detail,
            )  # fmt: skip
        return await self.wait_for_probe()

    def is_wait_over(self, failure: Failure, *, sent_at: float) -> bool:
        """Whether an attempt sent at `sent_at` was the last one of a first contact.

        So it is if a person waits, and nothing came for long.
        """
        if self._out_of_contact_since is None:
            self._out_of_contact_since = sent_at
        waited_s = self._clock.monotonic() - self._out_of_contact_since
        return self.is_awaited(failure) and waited_s >= SILENT_TRY_S * self._tries

    def is_awaited(self, failure: Failure) -> bool:
        """Whether a person waits for the first answer of a host that sends none."""
        is_silent = (
            failure.kind is FailureKind.TIMEOUT
            or failure.reason is FailureReason.LOOKUP_TIMEOUT
        )
        return is_silent and self._notify is not None and not self.has_responded

    def ping_tries(self, failure: Failure, attempt: int, most: int) -> int:
        """The attempts of a ping whose attempt number `attempt` failed, at most `most`.

        As many as other requests if each attempt takes long; more than `most` while
        other hosts of the run are asked. `is_wait_over` must be called before.
        """
        since_s = 0.0
        if self._out_of_contact_since is not None:
            since_s = self._clock.monotonic() - self._out_of_contact_since
        is_busy = self._is_run_busy()
        if self.has_responded or self._tries == 1:
            return most
        if not self._is_absent(failure):
            is_long = failure.kind is FailureKind.TIMEOUT or since_s >= LONG_PING_S
            return self._tries if is_long else most
        is_patient = is_busy and since_s < PATIENCE_S
        return max(self._tries, attempt + 1) if is_patient else self._tries

    def contact_pause_s(self, failure: Failure, attempt: int) -> float | None:
        """The pause after an attempt of a first contact; None for the usual one."""
        if not self._is_absent(failure):
            return None
        doubled_s = FIRST_CONTACT_PAUSE_S * 2.0 ** min(attempt - 1, 10)
        jitter = 0.5 + self._clock.random() / 2
        return jitter * min(doubled_s, LONGEST_CONTACT_PAUSE_S)

    def _is_absent(self, failure: Failure) -> bool:
        """Whether it is an answer that there is no such host, and none contradicts."""
        return not self.has_responded and failure.reason in ABSENT_REASONS

    def _patience_after(self, failure: Failure) -> float:
        """How long a host is probed, in seconds, if probes fail so."""
        if self._tries == 1:  # who wants no retry does not want to wait for a restart
            return 0.0
        is_refusal = failure.status == _UNAVAILABLE and self.has_served
        is_long = is_refusal and self._notify is None  # no person waits
        return REFUSED_PATIENCE_S if is_long else PATIENCE_S

    def _is_run_busy(self) -> bool:
        """Whether the run has sent requests since the last call."""
        sent, before = self._sent_elsewhere(), self._sent_before
        self._sent_before = sent
        return sent > before

    def timed_out(self, url: str, failure: Failure, *, sent_at: float) -> None:
        """Record that a request to `url`, sent at `sent_at`, timed out."""
        self.is_well = False
        repository = _repository(url)
        here = self._silences.setdefault(repository, _Silence())
        everywhere = self._silences.setdefault(_HOST, _Silence())
        for silence in (here, everywhere):
            silence.add(repository, sent_at, self._clock.monotonic())
        several = len(everywhere.repositories) > 1
        if several and everywhere.waited_s >= SILENCE_PATIENCE_S:
            self._give_up_silent(everywhere, _HOST, failure)
        elif here.waited_s >= SILENCE_PATIENCE_S:
            self._give_up_silent(here, repository, failure)

    def excuse(self, seconds: float) -> None:
        """Do not count this time, which a probe waited for this program's resources."""
        self._suspected_at += seconds

    def leave_alone(
        self,
        failure: Failure,
        seconds: float,
        *,
        scope: str = _HOST,
        reason: OutageReason = OutageReason.HOST_WIDE,
    ) -> Failure:
        """Send no requests for some time, and fail them with `failure`.

        If there is another outage, the one that ends later applies.
        """
        failure = replace(failure, attempts=0)
        until = self._clock.monotonic() + seconds
        if scope not in self._outages or self._outages[scope].until <= until:
            self._outages[scope] = _Outage(reason, failure, until)
        self.is_well = False
        return failure

    # -- probing ---------------------------------------------------------------

    async def _probe_until_decided(self) -> HostState | Failure:
        state = HostState.UP
        pause_s = FIRST_PAUSE_S
        wait_s = self._probe_at - self._clock.monotonic()
        if wait_s > 0:
            await self._clock.sleep(wait_s)
        while self.is_suspected:  # a request in flight may end the suspicion
            outcome = await self._probe(self._suspected_url)
            failure = _outage_failure(outcome)
            if failure is None:
                self._alive()
                self._update()
                break
            if self._notify is not None and state is HostState.UP:
                self._notify(f"waiting for {self._name}: {cause_of(failure)}")
            self._probe_failure = failure
            state = HostState.RECOVERED
            asked_s = self._retry_after_s(outcome)
            down_s = self._clock.monotonic() - self._suspected_at
            is_absent = self._is_absent(failure)
            patience_s = self._patience_after(failure)
            if is_absent and not self._is_run_busy():
                patience_s = min(patience_s, FIRST_CONTACT_S)
            if down_s + asked_s >= patience_s:
                return self._give_up(failure, down_s, asked_s)
            # Half of the pause is fixed, so that probes never follow at once.
            jitter = 0.5 + self._clock.random() / 2
            await self._clock.sleep(max(asked_s, pause_s * jitter))
            longest_s = LONGEST_PAUSE_S
            if is_absent:
                is_first = down_s < FIRST_CONTACT_S
                longest_s = FIRST_PAUSE_S if is_first else LONGEST_CONTACT_PAUSE_S
            pause_s = min(2 * pause_s, longest_s)
        if state is HostState.RECOVERED:
            self._log_recovery()
        return state

    def _log_recovery(self) -> None:
        """Report that a suspected host is up; a short outage is no warning.

        A host that refuses a few requests with 503 has many of those.
        """
        assert self._probe_failure is not None
        down_s = self._clock.monotonic() - self._suspected_at
        log.log(
            logging.WARNING if down_s >= NOTABLE_OUTAGE_S else logging.INFO,
            "%s: responds again after %.1f s: %s",
            self._name, down_s, cause_of(self._probe_failure),
        )  # fmt: skip

    def _give_up(self, failure: Failure, down_s: float, asked_s: float) -> Failure:
        if _HOST not in self._outages:
            log.warning("%s: stopped sending requests: %s", self._name, failure.detail)
        detail = (
            f"stopped requests to {self._name}: no response for {down_s:.0f} s:"
            f" {failure.detail}"
        )
        return self.leave_alone(
            replace(failure, detail=detail),
            max(DEAD_HOST_S, asked_s),
            reason=OutageReason.DOWN,
        )

    def _give_up_silent(self, silence: _Silence, scope: str, failure: Failure) -> None:
        where = "" if scope == _HOST else " for this repository"
        detail = (
            f"stopped requests to {self._name}{where}: it is up, but {silence.requests}"
            f" requests in a row timed out ({silence.waited_s:.0f} s in all):"
            f" {failure.detail}"
        )
        if not silence.is_logged:
            silence.is_logged = True
            log.warning("%s", detail)
        failure = Failure(kind=FailureKind.TIMEOUT, detail=detail)
        self.leave_alone(failure, DEAD_HOST_S, scope=scope, reason=OutageReason.SILENT)

    def _retry_after_s(self, outcome: Response | Failure) -> float:
        if isinstance(outcome, Failure):
            return 0.0
        return requested_wait_s(outcome, now=self._clock.epoch()) or 0.0

    # -- state -----------------------------------------------------------------

    def _alive(self) -> None:
        """Record that the host is up."""
        self._failures_in_a_row = 0
        self.is_suspected = False
        self._end_outage(_HOST, OutageReason.DOWN)

    def _outage(self, scope: str) -> _Outage | None:
        outage = self._outages.get(scope)
        is_over = outage is None or self._clock.monotonic() >= outage.until
        return None if is_over else outage

    def _end_outage(self, scope: str, reason: OutageReason) -> None:
        if scope in self._outages and self._outages[scope].reason is reason:
            del self._outages[scope]

    def _update(self) -> None:
        self.is_well = (
            not self._failures_in_a_row
            and not self._outages
            and not self._silences
            and self.budget.is_full
        )


def _outage_failure(outcome: Response | Failure) -> Failure | None:
    """The failure of a probe; None for any response but a 5xx."""
    if isinstance(outcome, Failure):
        return outcome if outcome.kind in OUTAGE_KINDS else None
    if outcome.status >= 500 and outcome.status in RETRYABLE_STATUSES:
        return failure_from_response(outcome, server="it")  # after the service's name
    return None


def _repository(url: str) -> str:
    """The repository of .../NAME/manifests/TAG, .../NAME/tags/list and the like."""
    return url.partition("?")[0].rsplit("/", 2)[0]
