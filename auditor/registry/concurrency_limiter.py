"""Slots for requests in flight to one host, shared by all that send requests to it.

`ConcurrencyLimiter` gives them out, within the bounds of the setting
`requests_at_once`. How many there are is found by `ConcurrencyControl`
(concurrency_control.py). Where even the least are too many, they are spaced
(learned_pace.py). `HostLimiters` has one for each host.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import anyio

from auditor.config.requests_at_once import RequestsAtOnce
from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.registry.concurrency_control import START, ConcurrencyControl
from auditor.registry.learned_pace import LearnedPace
from auditor.registry.transport.connection_budget import ConnectionBudget
from auditor.util.clock import Clock
from auditor.util.tasks import ResizableSemaphore
from auditor.util.text import format_count
from auditor.wire.host_concurrency import HostConcurrency, Move
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of

log = logging.getLogger("auditor.registry")

# Kinds of distress without a response, by the kind of failure.
_DISTRESS = {
    FailureKind.TIMEOUT: Move.TIMEOUT,
    FailureKind.CONNECT: Move.CONNECTION,
}
_REQUEST_TIMEOUT = 408
# 503 is how proxies say that there are too many requests.
_TOO_MANY_REQUESTS = 429
_THROTTLED = frozenset({_TOO_MANY_REQUESTS, 503})
# Bodies of these sizes and more take longer than smaller ones: each is a class of
# requests of its own. The first is some TCP windows at the start of a connection.
_LARGE_BYTES, _HUGE_BYTES = 32 * 1024, 512 * 1024
# Seconds between two messages about a limit that moves all the time.
_LOG_INTERVAL_S = 10.0
# Seconds without an answer after which a person wants to know: a slow page of a listing
# takes less.
SILENT_S = 5.0


class ConcurrencyLimiter:
    """Slots for requests in flight to one host, as many as its `control` finds.

    All senders to the host share it, first come first served. Each slot comes with a
    permit of `budget`, the connections that all hosts share. `hold_back` pauses the
    whole host, as a Retry-After demands. `hosts` share the budget; `remembered` is the
    limit that the host stood in an earlier run. `pings` are those in flight, which the
    sender counts. `is_draining`: the run ends (see `HostLimiters.drain`).
    """

    def __init__(
        self,
        *,
        bounds: RequestsAtOnce,
        budget: ConnectionBudget,
        clock: Clock,
        name: str = "",
        hosts: int = 1,
        remembered: int | None = None,
    ) -> None:
        self.name = name
        self._clock = clock
        now = clock.monotonic()
        self.control = ConcurrencyControl(
            least=bounds.least,
            most=min(bounds.most, budget.max_per_host(hosts)),
            follows_latency=not bounds.is_fixed,
            remembered=remembered,
            now=now,
            slots_from=now - clock.epoch(),
        )
        self.pace = LearnedPace()
        self._turns = anyio.Lock()  # of the pace: first come, first served
        self._told_pace: float | None = None
        self._pace_told_at = -math.inf
        self._slots = ResizableSemaphore(self.control.limit)
        self._permits = budget.requests
        self._not_before = 0.0
        self._held_for = ""
        self._logged_at = -math.inf
        self._logged_move: Move | None = None
        self.pings = 0
        self.is_draining = False
        # The last answer, and the first request after it.
        self._answered_at = self._asked_at = -math.inf

    def restrict(self, most: int) -> None:
        """Keep to this upper bound, too."""
        self.control.restrict(most)
        self._slots.limit = self.control.limit

    @property
    def limit(self) -> int:
        """The current number of slots."""
        return self._slots.limit

    @property
    def is_reduced(self) -> bool:
        """Whether the host stands fewer requests than it was sent before."""
        control = self.control
        highest = min(control.highest, control.most)
        return control.limit < highest and control.is_in_distress

    @property
    def in_flight(self) -> int:
        """The slots that are held."""
        return self._slots.limit - self._slots.free

    def try_acquire(self) -> float | None:
        """Take a free slot and return the monotonic time; None if no slot is free."""
        now = self._clock.monotonic()
        if (
            now < self._not_before
            or (self.pace.is_active and not self._has_turn(now))
            or not self._slots.take()
        ):
            return None
        if self._permits.take():
            self._take(now)
            return now
        self._slots.release()
        return None

    async def acquire(self, *, goes_on: bool = False) -> float:
        """Wait for a slot. Returns the monotonic time at which it was taken.

        A wait that `drain` found, and a pause after it, last until they are cancelled.
        `goes_on`: the request completes what others have begun, so the wait does not.
        """
        goes_on = goes_on or self.is_draining
        if not self.pace.is_active:
            taken_at = await self._acquire(goes_on=goes_on)
        else:
            async with self._turns:
                taken_at = await self._acquire(goes_on=goes_on)
        if taken_at is None:
            await anyio.sleep_forever()
            raise AssertionError("unreachable")
        return taken_at

    async def _acquire(self, *, goes_on: bool) -> float | None:
        """Wait for a slot; None if the wait is to last until it is cancelled."""
        while True:
            now = self._clock.monotonic()
            wait_s = self._not_before - now
            if self.is_draining and (wait_s > 0 or not goes_on):
                return None
            if self.pace.is_active:
                wait_s = max(wait_s, self.pace.next_at - now)
            if wait_s > 0:
                await self._clock.sleep(wait_s)
                continue
            await self._slots.acquire()
            try:
                await self._permits.acquire()
            except BaseException:
                self._slots.release()
                raise
            now = self._clock.monotonic()
            is_early = self.pace.is_active and now < self.pace.next_at
            if (
                now >= self._not_before
                and not is_early
                and (goes_on or not self.is_draining)
            ):
                self._take(now)
                return now
            self.release()

    def _has_turn(self, now: float) -> bool:
        """Whether a request may be sent now that has not waited for its turn."""
        return now >= self.pace.next_at and not self._turns.locked()

    def _take(self, now: float) -> None:
        """A request is sent."""
        if self._asked_at <= self._answered_at:
            self._asked_at = now
        if self.pace.is_active:
            self.pace.sent(now)

    def release(self) -> None:
        """Give a slot back."""
        self._permits.release()
        self._slots.release()

    @property
    def pause(self) -> tuple[str, float] | None:
        """Why no slot is granted and until when (monotonic), None if they are."""
        is_paused = self._clock.monotonic() < self._not_before
        return (self._held_for, self._not_before) if is_paused else None

    @property
    def silent_s(self) -> float | None:
        """How long requests in flight are without any answer; None if not for long."""
        since = max(self._asked_at, self._answered_at)
        if not self.in_flight or since == -math.inf:
            return None
        silent_s = self._clock.monotonic() - since
        return silent_s if silent_s >= SILENT_S else None

    def hold_back(self, seconds: float, cause: str = "") -> None:
        """Grant no slot for this long, because of `cause`."""
        self._held_for = cause
        self._not_before = max(self._not_before, self._clock.monotonic() + seconds)

    def answered(
        self, kind: str, response: Response, sent_at: float, *, refusals: int = 0
    ) -> None:
        """Count a response, after its slot was given back.

        `sent_at` is the time at which the slot was taken; `refusals` is how often the
        request was refused before.
        """
        now, control = self._clock.monotonic(), self.control
        self._answered_at = now
        took_s, status = response.round_trip_s, response.status
        size = len(response.body)
        if took_s is None:
            took_s = now - sent_at
        name: object = kind
        if status >= 300:
            name = status
        elif size >= _LARGE_BYTES:
            name = kind, size >= _HUGE_BYTES
        control.answered(
            name,
            took_s,
            sent_at=sent_at,
            now=now,
            is_full=self._slots.free < 1,
            waited_s=response.waited_s,
        )
        if control.limit != self._slots.limit:
            self._set_limit(now)
        self.pace.accepted(
            sent_at=sent_at,
            now=now,
            at_once=control.limit,
            refusals=refusals,
            round_trip_s=took_s,
        )
        if self.pace.rate != self._told_pace:
            self._tell_pace(now)

    def failed(
        self, outcome: Response | Failure, sent_at: float, *, refusals: int = 0
    ) -> None:
        """Count a failure: after some kinds, fewer requests are sent at once.

        Must be called before its slot is given back: another request would get that,
        and be one too many.
        """
        now = self._clock.monotonic()
        if isinstance(outcome, Response):
            self._answered_at = now
            cause = _distress_of_status(outcome.status)
        elif outcome.status is not None:
            cause = _distress_of_status(outcome.status)  # that of a proxy
        else:
            cause = _DISTRESS.get(outcome.kind)
        if cause is Move.THROTTLED and (
            self.pace.is_active or self._is_at_least(sent_at)
        ):
            self.pace.refused(
                sent_at=sent_at,
                now=now,
                at_once=self.control.limit,
                refusals=refusals,
                is_certain=outcome.status == _TOO_MANY_REQUESTS,
            )
            if self.pace.rate != self._told_pace:
                self._tell_pace(now)
        if cause is not None:
            self.control.distressed(cause, sent_at=sent_at, now=now)
            if self.control.limit != self._slots.limit:
                self._set_limit(now)

    def _is_at_least(self, sent_at: float) -> bool:
        """Whether a request was sent while no fewer could be sent at once."""
        control = self.control
        return control.limit <= control.least and sent_at > control.moved_at

    def concurrency(self) -> HostConcurrency:
        """The limit and its history, for the summary."""
        control = self.control
        return HostConcurrency(
            host=self.name,
            limit=control.limit,
            lowest=control.lowest,
            highest=control.highest,
            least=control.least,
            most=control.most,
            baseline_s=control.baselines.baseline_s,
            round_trip_s=control.baselines.round_trip_s,
            last_move=control.last_move,
            moves=dict(control.moves),
            per_second=self.pace.rate,
            lowest_per_second=self.pace.lowest,
        )

    def _tell_pace(self, now: float) -> None:
        before, self._told_pace = self._told_pace, self.pace.rate
        is_due = now - self._pace_told_at >= _LOG_INTERVAL_S
        self._pace_told_at = now if is_due else self._pace_told_at
        level = logging.INFO if is_due else logging.DEBUG
        log.log(level, "%s: %s", self.name, self.concurrency().pace_sentence(before))

    def _set_limit(self, now: float) -> None:
        before, cause = self._slots.limit, self.control.last_move
        self._slots.limit = self.control.limit
        is_due = now - self._logged_at >= _LOG_INTERVAL_S
        # Steps of the same kind follow each other ten times a second.
        is_step = cause is self._logged_move and not is_due
        level = logging.INFO if is_due else logging.DEBUG
        if not is_step and log.isEnabledFor(level):
            self._logged_at = now if is_due else self._logged_at
            self._logged_move = cause
            log.log(level, "%s: %s", self.name, self.concurrency().sentence(before))


def _distress_of_status(status: int) -> Move | None:
    if status in _THROTTLED:
        return Move.THROTTLED
    if status == _REQUEST_TIMEOUT:
        return Move.TIMEOUT
    return Move.SERVER_ERROR if status >= 500 else None


class HostLimiters:
    """The `ConcurrencyLimiter` of each host of a run, by its origin.

    All registries, token services and APIs at the same origin share one: the first that
    asks decides on its bounds, and who allows fewer requests lowers the upper one.
    `remembered` gives the limit that an origin stood in an
    earlier run, None if it is unknown.
    """

    def __init__(
        self,
        *,
        budget: ConnectionBudget,
        clock: Clock,
        remembered: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self._budget = budget
        self._clock = clock
        self._remembered = remembered
        self._is_shortage_told = False
        self._is_draining = False
        self.by_origin: dict[str, ConcurrencyLimiter] = {}

    def of(self, url: str, bounds: RequestsAtOnce) -> tuple[str, ConcurrencyLimiter]:
        """How the URLs of the host of `url` begin, and its limiter."""
        try:
            origin = origin_of(url)
            key = str(origin)
        except ProtocolError:  # the transport refuses it
            return url, self._limiter("", "", bounds)
        return f"{key}/", self._limiter(key, origin.name, bounds)

    def found(self) -> list[tuple[str, int]]:
        """The limits for `remembered` of a later run, by origin."""
        return [
            (origin, limit)
            for origin, limiter in self.by_origin.items()
            if origin and (limit := limiter.control.found) is not None
        ]

    def drain(self) -> None:
        """Let no request be sent any more that begins a reference, or has to pause.

        References whose requests are in flight, or were answered, go on.
        """
        self._is_draining = True
        for limiter in self.by_origin.values():
            limiter.is_draining = True

    @property
    def are_idle(self) -> bool:
        """Whether no request but pings is in flight."""
        return all(one.in_flight <= one.pings for one in self.by_origin.values())

    def _limiter(
        self, key: str, name: str, bounds: RequestsAtOnce
    ) -> ConcurrencyLimiter:
        limiter = self.by_origin.get(key)
        if limiter is None:
            hosts = len(self.by_origin) + 1
            most = self._budget.max_per_host(hosts)
            self._tell_shortage(name, bounds, most)
            for other in self.by_origin.values():
                other.restrict(most)
            limiter = self.by_origin[key] = ConcurrencyLimiter(
                bounds=bounds,
                budget=self._budget,
                clock=self._clock,
                name=name,
                hosts=hosts,
                remembered=self._remembered(key),
            )
            limiter.is_draining = self._is_draining
        limiter.restrict(bounds.most)
        return limiter

    def _tell_shortage(self, name: str, bounds: RequestsAtOnce, most: int) -> None:
        """Say once that open files allow a host less than was asked for."""
        if bounds.most > most and not self._is_shortage_told:
            self._is_shortage_told = True
            is_expected = bounds.is_default and most >= START
            log.log(
                logging.INFO if is_expected else logging.WARNING,
                "%s: at most %s at once, not %d, as few open files are allowed"
                " (ulimit -n)",
                name, format_count(most, "request"), bounds.most,
            )  # fmt: skip
