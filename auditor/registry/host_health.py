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
from dataclasses import field
from enum import Enum

from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.util.clock import Clock
from auditor.util.single_flight import SingleFlight
from auditor.wire.response import Response
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

Probe = Callable[[str], Awaitable[Response | Failure]]


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

    def _retry_after_s(self, outcome: Response | Failure) -> float:
        if isinstance(outcome, Failure):
            return 0.0
        asked = retry_after_s(
            outcome.headers.get("Retry-After"),
            response_date=outcome.headers.get("Date"),
            now=self._clock.epoch(),
        )
        return asked or 0.0


def _silence(outcome: Response | Failure) -> Failure | None:
    """Why this is no sign of life; None if it is one: any answer but a 5xx."""
    if isinstance(outcome, Failure):
        return outcome if outcome.kind in SILENCE else None
    if outcome.status >= 500 and outcome.status in RETRYABLE_STATUSES:
        return failure_of(outcome)
    return None


# -- retry_budget --
# How many retries one host is worth.
#
# A retry helps where a request failed by accident. Where most fail, retries are load on
# a host that is already failing, and time. So retries are taken from a reserve: a
# request that gets through in the end gives back all that it took, and every good
# request adds a little, so that only retries that came to nothing use the reserve up.
# The idea is the token bucket of Finagle's and gRPC's retry throttling (gRFC A6); what
# is given back follows AWS's "standard" retry mode.

# One retry in vain for five good requests: a host that fails so much is still useful,
# and gets no more than a fifth on top of what it can answer.
EARNED = 0.2
# Rounds of all slots that may be given up, each after its last try, before retries
# end: one for what was under way when the host began to fail, the others for it to
# recover in. By default 4 rounds of 8 requests with 2 retries each: 64.
ROUNDS = 4


class RetryBudget:
    """The reserve of one host."""

    __slots__ = ("_left", "_most")

    def __init__(self, *, most_at_once: int, tries: int) -> None:
        self._most = float(ROUNDS * most_at_once * max(1, tries - 1))
        self._left = self._most

    @property
    def is_full(self) -> bool:
        """Whether nothing is missing from it."""
        return self._left >= self._most

    def take(self) -> bool:
        """Whether one more retry may be sent."""
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def good(self, retries: int) -> None:
        """A request got through after it had taken so many retries."""
        if self._left < self._most:
            self._left = min(self._most, self._left + retries + EARNED)


# -- unanswered --
# What becomes of requests that a host lets run into their time, though it is there.
#
# A registry whose storage hangs answers its ping and no manifest: the breaker finds it
# alive, and each reference would take its whole time, one after the other, for days. So
# the time is summed up in which something was asked for and nothing was answered. When
# it is as long as `PATIENCE_S`, that repository is given up; and the whole host, where
# no other one was answered either. References fail at once then, with one sentence;
# after `DEAD_S` they are asked for again, and the first answer is the end of it.

log = logging.getLogger("auditor.registry")

# Ten times the silence that one request bears by default, and longer than storage
# takes to fail over: what comes back meanwhile costs the references that had their
# tries, and no other.
UNANSWERED_PATIENCE_S = 300.0


@dataclass(slots=True)
class _Streak:
    """Requests in a row without an answer.

    `waited_s`: how long something was waited for; those that waited together count
    once, and pauses do not. `until`: how long it is given up, and `why`.
    """

    waited_s: float = 0.0
    last_at: float = float("-inf")
    requests: int = 0
    until: float = float("-inf")
    why: Failure | None = None
    places: set[str] = field(default_factory=set)

    def add(self, sent_at: float, now: float) -> None:
        self.waited_s += now - max(sent_at, self.last_at)
        self.last_at = now
        self.requests += 1


class Unanswered:
    """What one host leaves unanswered. `any`: there is something, so tell answers."""

    __slots__ = ("_all", "_clock", "_host", "_places", "any")

    def __init__(self, *, host: str, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._all = _Streak()
        self._places: dict[str, _Streak] = {}
        self.any = False

    def answered(self, url: str) -> None:
        """A request to `url` was answered, however."""
        self._all = _Streak()
        self._places.pop(_place(url), None)
        self.any = bool(self._places)

    def timed_out(self, url: str, failure: Failure, *, sent_at: float) -> None:
        """A request to `url`, sent at `sent_at`, was not answered in its time."""
        now = self._clock.monotonic()
        place = _place(url)
        here = self._places.setdefault(place, _Streak())
        here.add(sent_at, now)
        self._all.add(sent_at, now)
        self._all.places.add(place)
        self.any = True
        if self._all.waited_s >= UNANSWERED_PATIENCE_S and len(self._all.places) > 1:
            self._give_up(self._all, "", failure, now)
        elif here.waited_s >= UNANSWERED_PATIENCE_S:
            self._give_up(here, " for this repository", failure, now)

    def refusal(self, url: str) -> Failure | None:
        """Why `url` is not asked for; None if it is."""
        now = self._clock.monotonic()
        if now < self._all.until:
            return self._all.why
        here = self._places.get(_place(url))
        return here.why if here is not None and now < here.until else None

    def _give_up(
        self, streak: _Streak, what: str, failure: Failure, now: float
    ) -> None:
        detail = (
            f"{self._host} was given up{what}: it is there, but {streak.requests}"
            f" requests in a row had no answer, for {streak.waited_s:.0f} s:"
            f" {failure.detail}"
        )
        if streak.why is None:
            log.warning("%s", detail)
        streak.until = now + DEAD_S
        streak.why = Failure(kind=FailureKind.TIMEOUT, detail=detail, attempts=0)


def _place(url: str) -> str:
    """The repository, in the URL of something in it; .../manifests/1 and the like."""
    return url.partition("?")[0].rsplit("/", 2)[0]
