"""Requests to a host that limits by rate, in virtual time, by the real request loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import anyio

from auditor.config import RegistrySettings
from auditor.errors import Failure
from auditor.registry.concurrency_limiter import ConcurrencyLimiter, HostLimiters
from auditor.registry.request import RequestCounts, RequestKind, RequestSender
from auditor.registry.transport.connection_budget import ConnectionBudget
from auditor.wire.response import Response
from tests.responses import response
from tests.support.virtual_time import VirtualClock, run_in_virtual_time

NAME = "registry.example.com"
WORKERS = 8


class Rule(Protocol):
    """A rate limit."""

    def passes(self, now: float) -> bool:
        """Whether a request that arrives now is accepted; `now` never falls."""

    def retry_after_s(self, now: float) -> int:
        """The whole seconds after which another one would be."""


@dataclass(slots=True)
class TokenBucket:
    """`rate` a second, and `burst` after a pause; nginx's `limit_req`."""

    rate: float
    burst: float = 1.0
    left: float = 1e9
    at: float = 0.0

    def passes(self, now: float) -> bool:
        self.left = min(self.burst, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def retry_after_s(self, _now: float) -> int:
        return math.ceil((1 - self.left) / self.rate)


@dataclass(slots=True)
class FixedWindow:
    """`count` requests in each window of `seconds`."""

    count: int
    seconds: float
    window: int = -1
    used: int = 0

    def passes(self, now: float) -> bool:
        if (window := int(now // self.seconds)) != self.window:
            self.window, self.used = window, 0
        if self.used >= self.count:
            return False
        self.used += 1
        return True

    def retry_after_s(self, now: float) -> int:
        return math.ceil((self.window + 1) * self.seconds - now) or 1


@dataclass(slots=True)
class RateLimitedHost:
    """A host `distance_s` away that answers `status` above what its rule passes."""

    rule: Rule
    status: int = 429
    has_retry_after: bool = False
    distance_s: float = 0.05
    arrived: list[float] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)

    async def request(self, method: str, url: str, **more: Any) -> Response | Failure:
        """The `Transport`."""
        del method, more
        await anyio.sleep(self.distance_s / 2)
        now = anyio.current_time()
        self.arrived.append(now)
        is_refused = not self.rule.passes(now)
        await anyio.sleep(self.distance_s / 2)
        if is_refused:
            self.refused_at.append(now)
        seconds = str(self.rule.retry_after_s(now)) if self.has_retry_after else ""
        found = response(self.status, url=url, Retry_After=seconds)
        if not is_refused:
            found = response(200, b"{}", url=url)
        return replace(found, round_trip_s=self.distance_s)


@dataclass(slots=True)
class Sent:
    """What came of references: seconds, failures, and the limiter of the host."""

    took_s: float
    failures: list[Failure]
    host: RateLimitedHost
    limiter: ConcurrencyLimiter

    def refused_share(self, after_s: float = 0.0) -> float:
        """The share of requests that were refused, after so many seconds."""
        since = self.host.arrived[0] + after_s
        arrived = sum(at >= since for at in self.host.arrived)
        return sum(at >= since for at in self.host.refused_at) / max(1, arrived)


def send(
    host: RateLimitedHost,
    references: int,
    *,
    at: Callable[[float, RateLimitedHost], None] = lambda _now, _host: None,
    requests_per_second: float | None = None,
    seed: int = 0,
) -> Sent:
    """Send one request for each reference, by as many workers as an audit has.

    `at` is called before each reference with the seconds since the first one.
    """

    async def work() -> Sent:
        clock, budget, transport = VirtualClock(seed), ConnectionBudget(8000), host
        limiters = HostLimiters(budget=budget, clock=clock)
        settings = RegistrySettings(requests_per_second=requests_per_second)
        sender = RequestSender(
            NAME,
            settings=settings,
            transport=transport,  # type: ignore[arg-type]
            clock=clock,
            counts=RequestCounts(),
            budget=budget,
            limiters=limiters,
            probe_url=f"https://{NAME}/v2/",
        )
        numbers, failures = iter(range(references)), list[Failure]()
        began_at = clock.monotonic()

        async def worker() -> None:
            for number in numbers:
                at(clock.monotonic() - began_at, host)
                outcome = await sender.send(
                    RequestKind.MANIFEST,
                    "GET",
                    f"https://{NAME}/v2/app{number % 40}/manifests/{number}",
                    headers={},
                    max_bytes=1000,
                )
                if isinstance(outcome, Failure):
                    failures.append(outcome)

        async with anyio.create_task_group() as group:
            for _ in range(WORKERS):
                group.start_soon(worker)
        limiter = sender.limiter
        assert limiter is not None
        return Sent(clock.monotonic() - began_at, failures, host, limiter)

    return run_in_virtual_time(work)
