"""Whole audits of a registry that is limited by rate, whatever its `Retry-After` says.

The registry and its refusals are real; time is not: each response takes the round trip
of a distant host, by how many requests are in flight (see test_moving_limits.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from auditor.config import ImageConfigMode
from auditor.registry.transport.transport import Transport
from auditor.wire.host_concurrency import Move
from auditor.wire.response import Response
from tests.clock import FakeClock
from tests.flow.harness import MANIFESTS, lab, simple
from tests.support.fault_actions import Pass

pytestmark = pytest.mark.anyio
DISTANCE_S = 0.05
NAMES = [f"team/app{number % 40}:{number // 40}" for number in range(1600)]


@dataclass(slots=True)
class RateLimit:
    """An `Action`: so many requests pass `per_second`, and a `burst` after a pause."""

    per_second: float
    burst: float
    headers: dict[str, str]
    clock: FakeClock
    status: int = 429
    left: float = 0.0
    at: float = 0.0
    refused: int = 0

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        now = self.clock.now
        passed = (now - self.at) * self.per_second
        self.left = min(self.burst, self.left + passed)
        self.at = now
        if self.left < 1:
            self.refused += 1
            return web.Response(status=self.status, headers=self.headers)
        self.left -= 1
        return await Pass().run(request, handler)


@pytest.fixture
def distant(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeClock]]:
    """Makes all hosts `DISTANCE_S` away, by the clock that a test adds."""
    request, clocks, in_flight = Transport.request, list[FakeClock](), 0

    async def timed(self: Transport, *args: Any, **kwargs: Any) -> Any:
        nonlocal in_flight
        in_flight += 1
        together = in_flight
        try:
            outcome = await request(self, *args, **kwargs)
        finally:
            in_flight -= 1
        clocks[-1].now += DISTANCE_S / together
        if isinstance(outcome, Response):
            return replace(outcome, round_trip_s=DISTANCE_S, waited_s=0.0)
        return outcome

    monkeypatch.setattr(Transport, "request", timed)
    yield clocks
    assert in_flight == 0


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Retry-After": "0"}, id="0"),
        pytest.param({"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}, id="past"),
        pytest.param({}, id="none"),
    ],
)
@pytest.mark.parametrize(
    ("per_second", "burst", "share"),
    [
        pytest.param(200, 20, 0.05, id="ten at once"),
        # One request at a time would be 20 a second. If "now" were believed, one in
        # five would be refused.
        pytest.param(15, 10, 0.08, id="less than one at once"),
    ],
)
async def test_a_rate_limit_that_names_no_time_refuses_a_few_percent(
    per_second: int,
    burst: int,
    share: float,
    headers: dict[str, str],
    distant: list[FakeClock],
) -> None:
    async with lab(simple(NAMES)) as here:
        distant.append(here.clock)
        limit = RateLimit(per_second, burst, headers, here.clock)
        here.faults.on("GET", MANIFESTS, limit, forever=True)
        outcome = await here.audit(
            *map(here.ref, NAMES), image_config=ImageConfigMode.NEVER
        )
    assert outcome.kinds == ["image"] * len(NAMES)
    assert Move.THROTTLED in outcome.summary.hosts[0].moves
    assert outcome.summary.repeated["retries"] == limit.refused
    assert 0 < limit.refused <= share * len(NAMES)


@pytest.mark.parametrize("status", [429, 503])
async def test_an_audit_of_a_host_that_accepts_five_a_second_loses_nothing(
    status: int, distant: list[FakeClock]
) -> None:
    """One request at a time would be 20 a second: without a learned pace, 503 fails
    most references, and every second request gets a 429."""
    async with lab(simple(NAMES)) as here:
        distant.append(here.clock)
        limit = RateLimit(5, 1, {}, here.clock, status=status)
        here.faults.on("GET", MANIFESTS, limit, forever=True)
        began_at = here.clock.now
        outcome = await here.audit(
            *map(here.ref, NAMES), image_config=ImageConfigMode.NEVER
        )
        took_s = here.clock.now - began_at
    assert outcome.kinds == ["image"] * len(NAMES)
    assert limit.refused <= 40
    assert 0.85 * took_s <= len(NAMES) / 5
    (found,) = outcome.summary.hosts
    assert found.per_second is not None
    assert 4 <= found.per_second <= 5.5
    assert found.limit == 1
