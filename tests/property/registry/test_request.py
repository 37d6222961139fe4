"""Whatever a host does, every request ends, no slot is lost, and limits are kept."""

from __future__ import annotations

from typing import Any

import anyio
from hypothesis import given
from hypothesis import strategies as st

from auditor.config import RateLimitPolicy, RegistrySettings
from auditor.config.requests_at_once import RequestsAtOnce
from auditor.errors import Failure, FailureKind
from auditor.registry.concurrency_limiter import HostLimiters
from auditor.registry.host_health import DEAD_HOST_S, PATIENCE_S
from auditor.registry.host_limits import RateLimiter, RequestQuota
from auditor.registry.request import (
    RequestCounts,
    RequestKind,
    RequestSender,
)
from auditor.registry.transport.connection_budget import ConnectionBudget
from auditor.wire.response import Response
from tests.clock import FakeClock
from tests.examples import examples
from tests.responses import response

URL = "https://registry.example.com/v2/app/manifests/1"
PING = "https://registry.example.com/v2/"
SLOTS = 2
TRIES = 3

_GOOD = response(200, url=URL)
_OUTCOMES = st.sampled_from(
    [
        _GOOD,
        response(200, url=URL, RateLimit_Remaining="3;w=21600"),
        response(200, url=URL, RateLimit_Remaining="0;w=60"),
        response(404, url=URL),
        response(429, url=URL),
        response(429, url=URL, Retry_After="7"),
        response(429, url=URL, Retry_After="9999"),
        response(500, url=URL),
        response(503, url=URL, Retry_After="20"),
        Failure(kind=FailureKind.CONNECT, detail="refused"),
        Failure(kind=FailureKind.TIMEOUT, detail="silent"),
        Failure(kind=FailureKind.TOO_LARGE, detail="too large"),
    ]
)

# Nothing waits for time or a network here: a request that takes this long is lost. Not
# `HANG_S`, which would pass for each step of Hypothesis towards a smaller example.
_STUCK_S = 60


class _Host:
    """A host with these outcomes, and then only good responses."""

    def __init__(
        self,
        outcomes: list[Response | Failure],
        *,
        requests_per_second: float | None = None,
        **limits: Any,
    ) -> None:
        self.outcomes = list(outcomes)
        self.asked = 0
        self.at_once = self.most_at_once = 0
        self.clock = FakeClock()
        self.counts = RequestCounts()
        transport: Any = self
        budget = ConnectionBudget()
        limiters = HostLimiters(budget=budget, clock=self.clock)
        self.concurrency = limiters.of(URL, RequestsAtOnce.fixed(SLOTS))[1]
        self.sender = RequestSender(
            "registry.example.com",
            limiters=limiters,
            budget=budget,
            settings=RegistrySettings(
                requests_at_once=SLOTS,
                tries=TRIES,
                requests_per_second=requests_per_second,
            ),
            transport=transport,
            clock=self.clock,
            counts=self.counts,
            credential_base="https://registry.example.com",
            probe_url=PING,
            **limits,
        )

    async def request(self, method: str, url: str, **more: Any) -> Response | Failure:
        del method, more
        self.asked += 1
        self.at_once += url != PING
        self.most_at_once = max(self.most_at_once, self.at_once)
        await anyio.lowlevel.checkpoint()
        self.at_once -= url != PING
        return self.outcomes.pop(0) if self.outcomes else _GOOD

    async def ask(self, count: int) -> list[Response | Failure]:
        got: list[Response | Failure] = []

        async def send() -> None:
            got.append(
                await self.sender.send(
                    RequestKind.MANIFEST, "GET", URL, headers={}, max_bytes=100
                )
            )

        with anyio.fail_after(_STUCK_S):
            async with anyio.create_task_group() as group:
                for _ in range(count):
                    group.start_soon(send)
        return got


@examples(150)
@given(st.lists(_OUTCOMES, max_size=40), st.integers(1, 12))
def test_every_request_ends_and_no_slot_is_lost(
    outcomes: list[Response | Failure], count: int
) -> None:
    host = _Host(outcomes)

    async def main() -> None:
        assert len(await host.ask(count)) == count
        assert host.most_at_once <= SLOTS
        host.clock.now += 10_000  # after anything that held it back
        for _ in range(host.concurrency.limit):
            with anyio.fail_after(_STUCK_S):
                await host.concurrency.acquire()

    anyio.run(main)


@examples(100)
@given(
    st.lists(_OUTCOMES, max_size=30),
    st.integers(1, 10),
    st.integers(1, 12),
    st.sampled_from(RateLimitPolicy),
)
def test_quota_and_limits_hold_whatever_fails(
    outcomes: list[Response | Failure], most: int, count: int, use: RateLimitPolicy
) -> None:
    clock = FakeClock()
    rate_limiter = RateLimiter(host="x", policy=use, max_in_flight=SLOTS, clock=clock)
    quota = RequestQuota(most, owner="this run")
    host = _Host(
        outcomes, requests_per_second=5, quota=quota, rate_limiter=rate_limiter
    )

    async def main() -> None:
        got = await host.ask(count)
        assert len(got) == count
        assert host.asked == quota.sent <= most
        for one in got:
            if isinstance(one, Failure) and "max_requests" in one.detail:
                assert one.kind is FailureKind.INTERRUPTED

    anyio.run(main)


@given(st.integers(3, 30))
def test_a_dead_host_costs_few_requests_and_little_time(
    count: int,
) -> None:
    silence = Failure(kind=FailureKind.CONNECT, detail="refused")
    host = _Host([silence] * 1000)

    async def main() -> None:
        got = await host.ask(count)
        assert all(isinstance(one, Failure) for one in got)
        # Full slots, and the probes until it is given up.
        assert host.asked <= 2 * SLOTS + 12
        assert host.clock.now - 1000 <= PATIENCE_S + DEAD_HOST_S

    anyio.run(main)
