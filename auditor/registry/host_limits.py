"""The limits on requests to one host, other than those in flight.

`HostLimits` combines them; each is optional: `Pacer` (requests per second),
`RateLimiter` (manifests per window, as the registry's RateLimit headers say) and
`RequestQuota` (requests per run and per registry). How many requests are in flight is
limited by `ConcurrencyLimiter` (concurrency_limiter.py).
"""

from __future__ import annotations

import logging

from auditor.config import RateLimitPolicy
from auditor.errors import Failure, FailureKind
from auditor.util.clock import Clock
from auditor.util.text import format_count, format_duration
from auditor.wire.rate_limit import CountedBy, RateLimit, parse_rate_limit
from auditor.wire.response import Response
from auditor.wire.retry_policy import RETRY_AFTER_CAP_S

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
