"""Whole audits in which the limit of a host grows, falls, recovers and is remembered.

The registry, the requests and their refusals are real. Time is not: the round trip of
each response is that of a host with a known best, by how many requests are in flight,
and the clock moves on with each response. So the machine's load moves no limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from auditor.config import ImageConfigMode
from auditor.registry.concurrency_control import START
from auditor.registry.transport.transport import Transport
from auditor.wire.host_concurrency import Move
from auditor.wire.response import Response
from tests.clock import FakeClock
from tests.flow.harness import MANIFESTS, Lab, Outcome, lab, simple
from tests.support.fault_actions import Pass

pytestmark = pytest.mark.anyio
DISTANCE_S = 0.05
_IN_FLIGHT = "X-In-Flight"  # how many requests were, with this one
NAMES = [f"team/app{number % 40}:{number // 40}" for number in range(1600)]


@dataclass(slots=True)
class Host:
    """A host `DISTANCE_S` away, on which `workers` work; the others wait for them.

    It refuses what is more than `accepts` requests at once with `status`. `at_once` has
    the requests in flight when each one was sent.
    """

    workers: int = 10_000
    accepts: int = 10_000
    status: int = 503
    clock: FakeClock | None = None
    in_flight: int = 0
    at_once: list[int] = field(default_factory=list)
    refused: int = 0

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The `Action` of the registry."""
        if int(request.headers[_IN_FLIGHT]) > self.accepts:
            self.refused += 1
            return web.Response(status=self.status)
        return await Pass().run(request, handler)

    def most(self, first: int = 0, last: int | None = None) -> int:
        """The most requests in flight, of these that were sent."""
        return max(self.at_once[first:last])


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """The host that all requests of audits are sent to."""
    host = Host()
    request = Transport.request

    async def timed(self: Transport, *args: Any, **kwargs: Any) -> Any:
        host.in_flight += 1
        in_flight = host.in_flight
        host.at_once.append(in_flight)
        kwargs["headers"] = {**kwargs["headers"], _IN_FLIGHT: str(in_flight)}
        try:
            outcome = await request(self, *args, **kwargs)
        finally:
            host.in_flight -= 1
        assert host.clock is not None
        round_trip_s = DISTANCE_S * max(1.0, in_flight / host.workers)
        host.clock.now += round_trip_s / in_flight
        if isinstance(outcome, Response):
            return replace(outcome, round_trip_s=round_trip_s, waited_s=0.0)
        return outcome

    monkeypatch.setattr(Transport, "request", timed)
    yield host
    assert host.in_flight == 0


async def audit(here: Lab, host: Host, **settings: Any) -> Outcome:
    """A night: all names; the host's log begins anew."""
    host.clock = here.clock
    host.at_once.clear()
    host.refused = 0
    outcome = await here.audit(
        *map(here.ref, NAMES), image_config=ImageConfigMode.NEVER, **settings
    )
    assert outcome.kinds == ["image"] * len(NAMES)
    assert outcome.references == [here.ref(name) for name in NAMES]
    assert outcome.summary.hosts[0].highest == host.most()
    return outcome


async def test_the_limit_grows_to_the_ceiling_on_a_distant_host(host: Host) -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await audit(here, host)
    (found,) = outcome.summary.hosts
    assert (found.lowest, found.highest, found.limit) == (START, 64, 64)
    assert found.last_move is Move.FASTER
    # Within some round trips: what were the first seconds of an audit.
    assert 64 in host.at_once[: len(NAMES) // 2]
    assert here.faults.count("GET", "/v2/") == 1


async def test_the_limit_stays_low_on_a_narrow_host(host: Host) -> None:
    host.workers = 6
    async with lab(simple(NAMES)) as here:
        await audit(here, host)
    assert host.most() <= 2 * host.workers
    assert host.most(len(NAMES) // 2) >= host.workers


async def test_the_limit_falls_and_recovers_within_an_audit(host: Host) -> None:
    async with lab(simple(NAMES)) as here:

        def sent(count: int) -> Any:
            return lambda: here.faults.count("GET", MANIFESTS) >= count

        def accept_20() -> None:
            host.accepts = 20

        def accept_all() -> None:
            host.accepts = 10_000
            here.clock.now += 600  # no higher limit is tried for minutes

        here.faults.on("GET", MANIFESTS, host, forever=True)
        async with here.when(sent(300), accept_20), here.when(sent(700), accept_all):
            outcome = await audit(here, host)
    (found,) = outcome.summary.hosts
    assert {Move.FASTER, Move.THROTTLED, Move.RECOVERED} <= found.moves.keys()
    assert host.most(0, 300) == 64
    # After those that were in flight together, it keeps to what the host accepts.
    assert 10 <= host.most(500, 700) <= 24
    assert host.most(1300) >= 30
    assert host.refused <= 100
    assert outcome.summary.repeated["retries"] == host.refused


async def test_nights_remember_what_a_host_stood(host: Host, tmp_path: Path) -> None:
    """Grown in the first night, so that it grows faster in the second; refused in the
    third, and hardly any more in the fourth; the fifth has a host with room again."""
    cache = str(tmp_path / "digests.sqlite")

    def first_at(limit: int) -> int:
        return next(n for n, now in enumerate(host.at_once) if now >= limit)

    async with lab(simple(NAMES)) as here:
        here.faults.on("*", MANIFESTS, host, forever=True)
        await audit(here, host, cache=cache)
        first = first_at(32)
        outcome = await audit(here, host, cache=cache)
        assert outcome.summary.requests["head"] == len(NAMES)
        assert Move.REMEMBERED in outcome.summary.hosts[0].moves
        assert first_at(32) < first
        host.accepts, host.status = 8, 429
        outcome = await audit(here, host, cache=cache)
        assert Move.THROTTLED in outcome.summary.hosts[0].moves
        refused = host.refused
        assert refused > 0
        assert outcome.summary.hosts[0].limit <= 9
        await audit(here, host, cache=cache)
        assert host.most() <= 16
        assert host.refused < refused
        host.accepts = 10_000
        outcome = await audit(here, host, cache=cache)
        assert outcome.summary.hosts[0].highest == 64
