"""What becomes of requests when a whole host falls silent.

Each request has its tries for what goes wrong with it alone. When several in a row
get no proper answer, it is asked whether the host is there at all, by one small
request (the probe) in the place of all others, which wait for its verdict without a
slot. A host that comes back within `PATIENCE_S`, such as one that is restarted, costs
no reference: what failed meanwhile was the host. One that does not is given up, and
its references fail at once, with one sentence; after `DEAD_S` one probe tries again.

A host that answers the probe is alive, whatever else it fails at: then the tries and
the retry budget decide, so that a damaged repository takes no other one with it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from enum import Enum

from auditor.errors import Failure, FailureKind
from auditor.util.clock import Clock
from auditor.util.single_flight import SingleFlight
from auditor.wire.response import Answer
from auditor.wire.retry_policy import RETRYABLE_STATUSES, failure_of, retry_after_s

log = logging.getLogger("auditor.registry")

# Failures in a row, over all requests to the host, after which it is probed: as many
# as one request has tries by default. A mistaken suspicion costs one small request.
FAILURES_IN_A_ROW = 3
# Registries restart within some 15 s (see `plan.PING_TRIES_FACTOR`): twice that.
PATIENCE_S = 30.0
# Between two probes; nine of them fit into the patience.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
# A host that was given up is left alone for so long.
DEAD_S = 30.0
# Failures that say of the host, rather than of the request, that something is wrong.
SILENCE = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.DNS,
        FailureKind.TIMEOUT,
        FailureKind.SERVER_ERROR,
    }
)

Probe = Callable[[str], Awaitable[Answer | Failure]]


class Verdict(Enum):
    """What a host that is not given up turned out to be."""

    ALIVE = "alive"  # all the time
    BACK = "back"  # it was down meanwhile


class Breaker:
    """Whether one host is there. `open`: that is doubted, so ask `verdict` first.

    `probe` sends one request, without a credential, to the URL it is given, which is
    `probe_url` or else that of the request that failed last.
    """

    def __init__(
        self,
        *,
        host: str,
        probe: Probe,
        probe_url: str | None,
        clock: Clock,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._host = host
        self._probe = probe
        self._probe_url = probe_url
        self._clock = clock
        self._patience_s = patience_s
        self._flights: SingleFlight[None, Verdict | Failure] = SingleFlight()
        self._url = probe_url or ""
        self._since = 0.0
        self._not_before = 0.0
        self._dead: Failure | None = None
        self.in_a_row = 0
        self.open = False

    def answered(self) -> None:
        """The host gave a sign of life."""
        self.in_a_row = 0
        self.open = False
        self._dead = None

    async def failed(
        self, failure: Failure, *, url: str, wait_s: float
    ) -> Verdict | Failure:
        """A request to `url` failed by the host's `SILENCE`: is it the host?

        `wait_s` is what the host asked everybody to wait. A `Failure` is for
        everybody who asks the host for anything.
        """
        self.in_a_row += 1
        if not self.open:
            if self.in_a_row < FAILURES_IN_A_ROW:
                return Verdict.ALIVE
            self.open = True
            self._since = self._clock.monotonic()
            self._not_before = self._since + wait_s
            self._url = self._probe_url or url
            log.info("%s: is it there? %s", self._host, failure.detail)
        return await self.verdict()

    async def verdict(self) -> Verdict | Failure:
        """What the host turns out to be; waits until that is known."""
        if self._dead is not None and self._clock.monotonic() < self._not_before:
            return self._dead
        return await self._flights.run(None, self._find_out)

    async def _find_out(self) -> Verdict | Failure:
        verdict = Verdict.ALIVE
        pause_s = FIRST_PAUSE_S
        held_s = self._not_before - self._clock.monotonic()
        if held_s > 0:
            await self._clock.sleep(held_s)
        while self.open:  # an answer that was under way may close it
            outcome = await self._probe(self._url)
            failure = _silence(outcome)
            if failure is None:
                self.answered()
                break
            verdict = Verdict.BACK
            asked_s = self._retry_after_s(outcome)
            down_s = self._clock.monotonic() - self._since
            if down_s + asked_s >= self._patience_s:
                return self._give_up(failure, down_s, asked_s)
            # At least half of it, so that a host is not asked again at once.
            jitter = 0.5 + self._clock.random() / 2
            await self._clock.sleep(max(asked_s, pause_s * jitter))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        if verdict is Verdict.BACK:
            log.warning("%s: answers again", self._host)
        return verdict

    def _give_up(self, failure: Failure, down_s: float, asked_s: float) -> Failure:
        if self._dead is None:
            log.warning("%s: given up: %s", self._host, failure.detail)
        self._not_before = self._clock.monotonic() + max(DEAD_S, asked_s)
        self._dead = Failure(
            kind=failure.kind,
            status=failure.status,
            detail=f"{self._host} was given up after {down_s:.0f} s without"
            f" a sign of life: {failure.detail}",
            attempts=0,
        )
        return self._dead

    def _retry_after_s(self, outcome: Answer | Failure) -> float:
        if isinstance(outcome, Failure):
            return 0.0
        asked = retry_after_s(
            outcome.headers.get("Retry-After"),
            response_date=outcome.headers.get("Date"),
            now=self._clock.epoch(),
        )
        return asked or 0.0


def _silence(outcome: Answer | Failure) -> Failure | None:
    """Why this is no sign of life; None if it is one: any answer but a 5xx."""
    if isinstance(outcome, Failure):
        return outcome if outcome.kind in SILENCE else None
    if outcome.status >= 500 and outcome.status in RETRYABLE_STATUSES:
        return failure_of(outcome)
    return None
