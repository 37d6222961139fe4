"""Simulated registries: when each request is answered, without network or clock.

A `Host` gets requests in the order of their times and says at once when each will be
answered, and with which status. So the same host can be served over a socket
(server.py) and be used in a simulation without waiting.

Times are seconds of any monotonic clock. The random numbers come from a seed, so that
all settings meet the same host.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

OK, TOO_MANY_REQUESTS, UNAVAILABLE = 200, 429, 503
# The connection is closed without an answer.
RESET = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """When a request is answered, with which status and Retry-After (seconds)."""

    at: float
    status: int = OK
    retry_after_s: int | None = None


class Host(Protocol):
    """A simulated registry."""

    def arrive(
        self, now: float, repository: str, /, *, is_other: bool = False
    ) -> Reply:
        """The reply to a request that is sent now; `now` never falls.

        `is_other`: the request of another client, whom no limit per client concerns.
        """

    def part(self, repository: str, /) -> str:
        """The part of the host that a request would meet; latencies are compared
        within a part."""


class Workers:
    """`count` workers that take requests in their order, the others wait; None: any
    number. `service` gives the seconds of a request."""

    def __init__(self, count: int | None, service: Callable[[], float]) -> None:
        self._free_at = [0.0] * (count or 0)
        self._service = service

    def arrive(
        self,
        now: float,
        _repository: str,
        *,
        is_other: bool = False,  # noqa: ARG002
    ) -> Reply:
        """`Host`"""
        if not self._free_at:
            return Reply(now + self._service())
        end = max(now, self._free_at[0]) + self._service()
        heapq.heapreplace(self._free_at, end)
        return Reply(end)

    def part(self, _repository: str) -> str:
        """`Host`"""
        return ""


class RateLimited:
    """`status` above `per_s` requests per second, of which `burst` may come at once.

    Retry-After is the time for a whole burst, so that a client that keeps to it is not
    refused at its first request; `has_retry_after`: whether there is one.
    """

    def __init__(
        self,
        inner: Host,
        *,
        per_s: float,
        burst: int,
        status: int = TOO_MANY_REQUESTS,
        has_retry_after: bool = True,
    ) -> None:
        self._status = status
        self._has_retry_after = has_retry_after
        self._inner = inner
        self._per_s = per_s
        self._burst = burst
        self._left = float(burst)
        self._at = 0.0

    def arrive(self, now: float, repository: str, *, is_other: bool = False) -> Reply:
        """`Host`"""
        if is_other:
            return self._inner.arrive(now, repository, is_other=True)
        grown = self._left + (now - self._at) * self._per_s
        self._left, self._at = min(float(self._burst), grown), now
        if self._left < 1:
            seconds = max(1, round(self._burst / self._per_s))
            retry_after_s = seconds if self._has_retry_after else None
            return Reply(now + 0.001, self._status, retry_after_s)
        self._left -= 1
        return self._inner.arrive(now, repository)

    def part(self, repository: str) -> str:
        """`Host`"""
        return self._inner.part(repository)


class ConcurrencyLimited:
    """`status` (503, or `RESET`) for a request that comes while `most` are in
    progress."""

    def __init__(self, inner: Host, *, most: int, status: int = UNAVAILABLE) -> None:
        self._inner = inner
        self._status = status
        self._most = most
        self._ends: list[float] = []

    def arrive(self, now: float, repository: str, *, is_other: bool = False) -> Reply:
        """`Host`"""
        if is_other:
            return self._inner.arrive(now, repository, is_other=True)
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        if len(self._ends) >= self._most:
            return Reply(now + 0.001, self._status)
        reply = self._inner.arrive(now, repository)
        heapq.heappush(self._ends, reply.at)
        return reply

    def part(self, repository: str) -> str:
        """`Host`"""
        return self._inner.part(repository)


class Changing:
    """One host for the first `count` requests of the client, then another."""

    def __init__(self, first: Host, then: Host, *, count: int) -> None:
        self._first, self._then = first, then
        self._left = count

    def arrive(self, now: float, repository: str, *, is_other: bool = False) -> Reply:
        """`Host`"""
        self._left -= not is_other
        host = self._first if self._left >= 0 else self._then
        return host.arrive(now, repository, is_other=is_other)

    def part(self, _repository: str) -> str:
        """`Host`"""
        return "before" if self._left >= 0 else "after"


class Proxied:
    """A proxy in front of several hosts: `back_end` says which a repository is at."""

    def __init__(
        self, hosts: Mapping[str, Host], back_end: Callable[[str], str]
    ) -> None:
        self._hosts = hosts
        self._back_end = back_end

    def arrive(self, now: float, repository: str, *, is_other: bool = False) -> Reply:
        """`Host`"""
        host = self._hosts[self._back_end(repository)]
        return host.arrive(now, repository, is_other=is_other)

    def part(self, repository: str) -> str:
        """`Host`"""
        return self._back_end(repository)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of host.

    `saturated_by`: as many concurrent requests as bring all it can give; None if more
    always bring more. `may_refuse`: whether a client could know that it is refused only
    by being refused. `new` makes a host, for `requests` in all. `per_s`: as many
    requests per second as it accepts, if that is less than one at a time.
    """

    name: str
    saturated_by: int | None
    may_refuse: bool = False
    new: Callable[[random.Random, int], Host]
    per_s: float | None = None


def about(rng: random.Random, seconds: float) -> Callable[[], float]:
    """Times within a fifth of `seconds`."""
    return lambda: seconds * rng.uniform(0.8, 1.2)


def heavy_tailed(rng: random.Random, median: float) -> Callable[[], float]:
    """Log-normal times: one in a hundred takes ten times the median, at most 3 s."""
    return lambda: min(3.0, rng.lognormvariate(0.0, 1.0) * median)


# A narrow host: what a small registry on one machine gives.
WORKERS, SERVICE_S = 6, 0.015
# One in this many repositories is at the slow back end of the proxy.
SLOW_ONE_IN = 5


def back_end(repository: str) -> str:
    """The back end of a repository of the benchmark, whose name ends with a number."""
    return "fast" if int(repository.rpartition("-")[2]) % SLOW_ONE_IN else "slow"


def _narrow(rng: random.Random) -> Host:
    return Workers(WORKERS, about(rng, SERVICE_S))


def _proxied(rng: random.Random) -> Host:
    return Proxied(
        {
            "fast": Workers(16, about(rng, 0.010)),
            "slow": Workers(8, about(rng, 0.080)),
        },
        back_end,
    )


KINDS = (
    Kind(
        name="distant, 50 ms",
        saturated_by=None,
        new=lambda rng, _: Workers(None, about(rng, 0.05)),
    ),
    Kind(
        name="distant, 200 ms",
        saturated_by=None,
        new=lambda rng, _: Workers(None, about(rng, 0.2)),
    ),
    Kind(name="narrow", saturated_by=WORKERS, new=lambda rng, _: _narrow(rng)),
    Kind(
        name="heavy tails",
        saturated_by=None,
        new=lambda rng, _: Workers(None, heavy_tailed(rng, 0.04)),
    ),
    Kind(
        name="limited by rate",
        saturated_by=6,  # 200 a second, each 30 ms
        may_refuse=True,
        new=lambda rng, _: RateLimited(
            Workers(None, about(rng, 0.03)), per_s=200, burst=200
        ),
    ),
    Kind(
        name="limited by concurrency",
        saturated_by=20,
        may_refuse=True,
        new=lambda rng, _: ConcurrencyLimited(Workers(None, about(rng, 0.05)), most=20),
    ),
    Kind(
        name="resets above 20",
        saturated_by=20,
        may_refuse=True,
        new=lambda rng, _: ConcurrencyLimited(
            Workers(None, about(rng, 0.05)), most=20, status=RESET
        ),
    ),
    Kind(
        name="distant, then narrow",
        saturated_by=WORKERS,
        new=lambda rng, requests: Changing(
            Workers(None, about(rng, 0.05)), _narrow(rng), count=requests // 2
        ),
    ),
    Kind(
        name="distant, then twice as far",
        saturated_by=None,
        new=lambda rng, requests: Changing(
            Workers(None, about(rng, 0.05)),
            Workers(None, about(rng, 0.1)),
            count=requests // 2,
        ),
    ),
    Kind(
        name="narrow, then half as fast",
        saturated_by=WORKERS,
        new=lambda rng, requests: Changing(
            _narrow(rng),
            Workers(WORKERS, about(rng, 2 * SERVICE_S)),
            count=requests // 2,
        ),
    ),
    Kind(
        name="proxy, two back ends",
        saturated_by=14,  # one in five takes 80 ms, at most 8 of these at a time
        new=lambda rng, _: _proxied(rng),
    ),
)


def _slow(
    name: str, per_s: float, *, burst: int = 1, status: int, has_retry_after: bool
) -> Kind:
    return Kind(
        name=f"{per_s:g} a second, {name}",
        saturated_by=1,
        may_refuse=True,
        new=lambda rng, _: RateLimited(
            Workers(None, about(rng, 0.05)),
            per_s=per_s,
            burst=burst,
            status=status,
            has_retry_after=has_retry_after,
        ),
        per_s=per_s,
    )


# Where one request at a time is too many: minutes even for a thousand requests.
SLOW_KINDS = (
    _slow("429, Retry-After", 5, status=TOO_MANY_REQUESTS, has_retry_after=True),
    _slow("429", 5, status=TOO_MANY_REQUESTS, has_retry_after=False),
    _slow("503", 5, status=UNAVAILABLE, has_retry_after=False),
    _slow("503, burst of 20", 10, burst=20, status=UNAVAILABLE, has_retry_after=False),
    _slow("503", 1, status=UNAVAILABLE, has_retry_after=False),
)
