"""The limits on requests to one host.

- `ConcurrencyLimiter`: requests in flight, within the bounds of the setting
  `requests_at_once`. How many is found by `ConcurrencyControl`
  (concurrency_control.py). `HostLimiters` has one for each host, whoever sends requests
  to it.
- `HostLimits` combines the other limits, which are optional: `Pacer` (requests per
  second), `RateLimiter` (manifests per window, as the registry's RateLimit headers say)
  and `RequestQuota` (requests per run and per registry).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from auditor.config import RateLimitPolicy
from auditor.config.requests_at_once import RequestsAtOnce
from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.registry.concurrency_control import ConcurrencyControl
from auditor.registry.transport.connection_budget import ConnectionBudget
from auditor.util.clock import Clock
from auditor.util.tasks import ResizableSemaphore
from auditor.util.text import format_count, format_duration
from auditor.wire.host_concurrency import HostConcurrency, Move
from auditor.wire.rate_limit import CountedBy, RateLimit, parse_rate_limit
from auditor.wire.response import Response
from auditor.wire.retry_policy import RETRY_AFTER_CAP_S
from auditor.wire.url_policy import origin_of

log = logging.getLogger("auditor.registry")

# RateLimitPolicy.SPREAD slows down below this share of the limit. A run that needs
# less than half of the window's requests runs at full speed.
SPREAD_BELOW = 0.5

_COUNTED_BY = {
    None: "",
    CountedBy.ADDRESS: " for this address",
    CountedBy.ACCOUNT: " for this account",
}


class HostLimits:
    """The limits of one host, other than concurrency.

    `is_limited` is false while neither a pace, a quota nor a rate limit applies;
    then `wait_turn` and `count` need not be called.
    """

    __slots__ = ("_pacer", "_quota", "is_limited", "rate_limiter")

    def __init__(
        self,
        *,
        pacer: Pacer | None = None,
        quota: RequestQuota | None = None,
        rate_limiter: RateLimiter | None = None,
    ) -> None:
        self._pacer = pacer
        self._quota = quota
        self.rate_limiter = rate_limiter
        self.is_limited = pacer is not None or quota is not None

    async def wait_turn(self, *, is_manifest: bool) -> Failure | None:
        """Wait until one more request may be sent; return a failure if none may be.

        `is_manifest`: a GET of a manifest, the only request that rate limits count.
        Must be called without holding a slot.
        """
        if self._quota is not None and (failure := self._quota.exhausted()):
            return failure
        limiter = self.rate_limiter if is_manifest else None
        if limiter is not None and (failure := await limiter.wait()):
            return failure
        if self._pacer is not None:
            await self._pacer.wait()
        return None

    def count(self, *, is_manifest: bool) -> Failure | None:
        """Count the next request; return a failure if it may not be sent."""
        limiter = self.rate_limiter if is_manifest else None
        if limiter is not None and (failure := limiter.count()):
            return failure
        return None if self._quota is None else self._quota.count()

    def observe(self, response: Response) -> None:
        """Update the rate limit from the headers of a response."""
        limiter = self.rate_limiter
        if limiter is not None and (rate_limit := parse_rate_limit(response.headers)):
            limiter.observe(rate_limit)
            self.is_limited = True


# Kinds of distress, by the kind of failure. 503 is how proxies say that there are too
# many requests.
_DISTRESS = {
    FailureKind.RATE_LIMITED: Move.THROTTLED,
    FailureKind.SERVER_ERROR: Move.SERVER_ERROR,
    FailureKind.TIMEOUT: Move.TIMEOUT,
    FailureKind.CONNECT: Move.CONNECTION,
}
_SERVICE_UNAVAILABLE = 503
# Bodies of these sizes and more take longer than smaller ones: each is a class of
# requests of its own. The first is some TCP windows at the start of a connection.
_LARGE_BYTES, _HUGE_BYTES = 32 * 1024, 512 * 1024
# Seconds between two messages about a limit that moves all the time.
_LOG_INTERVAL_S = 10.0


class ConcurrencyLimiter:
    """Slots for requests in flight to one host, as many as its `control` finds.

    All senders to the host share it, first come first served. Each slot comes with a
    permit of `budget`, the connections that all hosts share. `hold_back` pauses the
    whole host, as a Retry-After demands. `remembered` is the limit that the host stood
    in an earlier run.
    """

    def __init__(
        self,
        *,
        bounds: RequestsAtOnce,
        budget: ConnectionBudget,
        clock: Clock,
        name: str = "",
        remembered: int | None = None,
    ) -> None:
        self.name = name
        self._clock = clock
        self.control = ConcurrencyControl(
            least=bounds.least,
            most=min(bounds.most, budget.max_per_host),
            follows_latency=not bounds.is_fixed,
            remembered=remembered,
            now=clock.monotonic(),
        )
        self._slots = ResizableSemaphore(self.control.limit)
        self._permits = budget.requests
        self._not_before = 0.0
        self._held_for = ""
        self._logged_at = -math.inf

    def restrict(self, bounds: RequestsAtOnce) -> None:
        """Keep to the upper one of these bounds, too."""
        self.control.restrict(bounds.most)
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
        if now < self._not_before or not self._slots.take():
            return None
        if self._permits.take():
            return now
        self._slots.release()
        return None

    async def acquire(self) -> float:
        """Wait for a slot. Returns the monotonic time at which it was taken."""
        while True:
            wait_s = self._not_before - self._clock.monotonic()
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
            if now >= self._not_before:
                return now
            self.release()

    def release(self) -> None:
        """Give a slot back."""
        self._permits.release()
        self._slots.release()

    @property
    def pause(self) -> tuple[str, float] | None:
        """Why no slot is granted and until when (monotonic), None if they are."""
        is_paused = self._clock.monotonic() < self._not_before
        return (self._held_for, self._not_before) if is_paused else None

    def hold_back(self, seconds: float, cause: str = "") -> None:
        """Grant no slot for this long, because of `cause`."""
        self._held_for = cause
        self._not_before = max(self._not_before, self._clock.monotonic() + seconds)

    def answered(self, kind: str, response: Response, sent_at: float) -> None:
        """Count a response, after its slot was given back.

        `sent_at` is the time at which the slot was taken.
        """
        now, control = self._clock.monotonic(), self.control
        took_s, status = response.round_trip_s, response.status
        size = len(response.body)
        name: object = kind
        if status >= 300:
            name = status
        elif size >= _LARGE_BYTES:
            name = kind, size >= _HUGE_BYTES
        control.answered(
            name,
            now - sent_at if took_s is None else took_s,
            sent_at=sent_at,
            now=now,
            is_full=self._slots.free < 1,
            waited_s=response.waited_s,
        )
        if control.limit != self._slots.limit:
            self._set_limit(now)

    def failed(self, failure: Failure, sent_at: float) -> None:
        """Count a failure: after some kinds, fewer requests are sent at once."""
        cause = _DISTRESS.get(failure.kind)
        if cause is not None:
            if failure.status == _SERVICE_UNAVAILABLE:
                cause = Move.THROTTLED
            now = self._clock.monotonic()
            self.control.distressed(cause, sent_at=sent_at, now=now)
            if self.control.limit != self._slots.limit:
                self._set_limit(now)

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
        )

    def _set_limit(self, now: float) -> None:
        self._slots.limit = self.control.limit
        is_due = now - self._logged_at >= _LOG_INTERVAL_S
        level = logging.INFO if is_due else logging.DEBUG
        if log.isEnabledFor(level):
            self._logged_at = now if is_due else self._logged_at
            log.log(level, "%s: %s", self.name, self.concurrency().sentence())


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

    def _limiter(
        self, key: str, name: str, bounds: RequestsAtOnce
    ) -> ConcurrencyLimiter:
        limiter = self.by_origin.get(key)
        if limiter is None:
            self._tell_shortage(name, bounds)
            limiter = self.by_origin[key] = ConcurrencyLimiter(
                bounds=bounds,
                budget=self._budget,
                clock=self._clock,
                name=name,
                remembered=self._remembered(key),
            )
        limiter.restrict(bounds)
        return limiter

    def _tell_shortage(self, name: str, bounds: RequestsAtOnce) -> None:
        """Say once that open files allow a host less than was asked for."""
        most = self._budget.max_per_host
        if bounds.most > most and not self._is_shortage_told:
            self._is_shortage_told = True
            log.log(
                logging.INFO if bounds.is_default else logging.WARNING,
                "%s: at most %s at once, not %d, as few open files are allowed"
                " (ulimit -n)",
                name, format_count(most, "request"), bounds.most,
            )  # fmt: skip


class Pacer:
    """Spaces requests evenly, `gap_s` apart, without bursts.

    Turns that no request took are lost. Turns are spaced, not requests: a request that
    waits for a slot after its turn may be sent together with the next one.
    """

    __slots__ = ("_clock", "_next_at", "gap_s")

    def __init__(self, gap_s: float, *, clock: Clock) -> None:
        self.gap_s = gap_s
        self._clock = clock
        self._next_at = 0.0

    async def wait(self) -> None:
        """Wait for the next turn."""
        now = self._clock.monotonic()
        at = max(self._next_at, now)
        self._next_at = at + self.gap_s
        if at > now:
            await self._clock.sleep(at - now)


class RequestQuota:
    """The maximum number of requests of a run, or of one registry within the run.

    Every attempt counts, token requests and pings included. Hops of a redirect do
    not, nor a request repeated because an idle connection was just closed. `owner`
    names the run or the registry in messages.
    """

    __slots__ = ("_max", "_owner", "_run", "sent")

    def __init__(
        self, max_requests: int, *, owner: str, run: RequestQuota | None = None
    ) -> None:
        self._max = max_requests
        self._owner = owner
        self._run = run
        self.sent = 0

    def exhausted(self) -> Failure | None:
        """The failure of every further request; None while one may be sent."""
        if self._run is not None and (failure := self._run.exhausted()) is not None:
            return failure
        if self.sent < self._max:
            return None
        return Failure(
            kind=FailureKind.INTERRUPTED,
            detail=f"not requested: {self._owner} has used its"
            f" {format_count(self._max, 'request')} (max_requests)",
            attempts=0,
        )

    def count(self) -> Failure | None:
        """Count one request; return a failure if it may not be sent."""
        failure = self.exhausted()
        if failure is None:
            self.sent += 1
            if self._run is not None:
                self._run.sent += 1
        return failure


class RateLimiter:
    """Keeps to the rate limit that a registry announces in its RateLimit headers.

    Only GETs of manifests count, as on Docker Hub: HEAD, tokens, lists and blobs are
    free there. `latest` is the rate limit of the last response. The headers do not
    contain the start of the window: it ends at the latest one window length after its
    first response.
    """

    def __init__(
        self, *, host: str, policy: RateLimitPolicy, max_in_flight: int, clock: Clock
    ) -> None:
        self._host = host
        self._policy = policy
        # Responses arrive out of order by at most this many requests.
        self._slack = max_in_flight
        self._clock = clock
        self._remaining: int | None = None
        self._window_ends_at = 0.0
        self._pacer = Pacer(0.0, clock=clock)
        self._logged = False
        self.latest: RateLimit | None = None

    @property
    def used_up_until(self) -> float | None:
        """The end of the window (monotonic) if its requests are used up, else None."""
        return self._window_ends_at if self._current() == 0 else None

    def observe(self, rate_limit: RateLimit) -> None:
        """Update the rate limit from a response."""
        self.latest = rate_limit
        if rate_limit.window_s is None or self._policy is RateLimitPolicy.IGNORE:
            return
        remaining = rate_limit.remaining
        if self._remaining is None or remaining > self._remaining + self._slack:
            self._window_ends_at = self._clock.monotonic() + rate_limit.window_s
            self._logged = False
            self._remaining = remaining
        elif remaining < self._remaining:
            self._remaining = remaining

    async def wait(self) -> Failure | None:
        """Wait until one more manifest may be fetched; return a failure if none may."""
        while (remaining := self._current()) is not None:
            if remaining > 0:
                if self._policy is RateLimitPolicy.SPREAD and self._is_low(remaining):
                    left_s = self._window_ends_at - self._clock.monotonic()
                    gap_s = self._pacer.gap_s = left_s / remaining
                    self._log_once(
                        f"{format_count(remaining, 'request')} left of the rate limit;"
                        f" sending one every {gap_s:.0f} s"
                    )
                    await self._pacer.wait()
                return None
            if (failure := self._exhausted()) is not None:
                self._log_once("rate limit used up")
                return failure
            wait_s = self._window_ends_at - self._clock.monotonic()
            self._log_once(
                f"rate limit used up; waiting {wait_s:.0f} s for the next window"
            )
            await self._clock.sleep(wait_s)
        return None

    def count(self) -> Failure | None:
        """Count one manifest; return a failure if it may not be fetched."""
        remaining = self._current()
        if remaining is None:
            return None
        if remaining <= 0 and (failure := self._exhausted()) is not None:
            return failure
        self._remaining = remaining - 1
        return None

    def _log_once(self, message: str) -> None:
        """Log a warning, once per window."""
        if not self._logged:
            self._logged = True
            log.warning("%s: %s", self._host, message)

    def _current(self) -> int | None:
        """The manifests left; None if unknown or if the window is over."""
        is_over = self._clock.monotonic() >= self._window_ends_at
        if self._remaining is not None and is_over:
            self._remaining = None
        return self._remaining

    def _is_low(self, remaining: int) -> bool:
        limit = None if self.latest is None else self.latest.limit
        return limit is None or remaining < SPREAD_BELOW * limit

    def _exhausted(self) -> Failure | None:
        """The failure if the limit is used up; None to wait for the next window.

        With RateLimitPolicy.SPREAD requests always wait, with other policies only if
        the window is at most `RETRY_AFTER_CAP_S`.
        """
        rate_limit = self.latest
        if (
            rate_limit is None
            or rate_limit.window_s is None
            or rate_limit.window_s <= RETRY_AFTER_CAP_S
            or self._policy is RateLimitPolicy.SPREAD
        ):
            return None
        limit = "" if rate_limit.limit is None else f" of {rate_limit.limit}"
        return Failure(
            kind=FailureKind.RATE_LIMITED,
            detail=f"not requested: the rate limit{limit} in"
            f" {format_duration(rate_limit.window_s)}"
            f"{_COUNTED_BY[rate_limit.counted_by]} at {self._host} is used up;"
            " --rate-limit-policy spread waits for the next window",
            attempts=0,
        )
