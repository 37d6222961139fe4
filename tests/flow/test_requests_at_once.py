"""How many requests at once hosts are sent: one limit for each host, kept and shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.cache.digest_cache import DigestCache
from auditor.config.requests_at_once import RequestsAtOnce
from auditor.wire.host_concurrency import Move
from tests.flow.harness import MANIFESTS, lab, service, simple
from tests.support.fault_actions import Answer, Gate, Hold

pytestmark = pytest.mark.anyio
NAMES = [f"team/app{number}:1" for number in range(24)]


@pytest.mark.parametrize("most", [1, 3])
async def test_a_registry_and_its_token_service_share_a_limit(most: int) -> None:
    gate = Gate()
    async with lab(simple(NAMES), tokens=service()) as here:
        here.faults.on("GET", MANIFESTS, Hold(gate), forever=True)

        def slots_are_taken() -> bool:
            return here.faults.peak("GET", MANIFESTS) == most

        async with here.when(slots_are_taken, gate.open):
            outcome = await here.audit(
                *map(here.ref, NAMES), requests_at_once=most, image_config="always"
            )
        assert outcome.kinds == ["image"] * len(NAMES)
        # Tokens, manifests and configs together.
        assert here.faults.peak() == most
    (host,) = outcome.summary.hosts
    assert (host.host, host.limit, host.most) == (here.host, most, most)


async def test_hosts_have_limits_of_their_own() -> None:
    async with lab(simple(NAMES)) as first, lab(simple(NAMES)) as second:
        first.faults.on("GET", MANIFESTS, Answer(429), skip=3)
        outcome = await first.audit(
            *map(first.ref, NAMES),
            *map(second.ref, NAMES),
            registries={second.host: second.login},
        )
    by_name = {one.host: one for one in outcome.summary.hosts}
    assert Move.THROTTLED in by_name[first.host].moves
    assert Move.THROTTLED not in by_name[second.host].moves
    assert outcome.kinds == ["image"] * 48


async def test_a_range_bounds_the_limit_even_in_distress() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", MANIFESTS, *[Answer(429)] * 12, skip=3)
        outcome = await here.audit(
            *map(here.ref, NAMES), requests_at_once=RequestsAtOnce(3, 5)
        )
        assert here.faults.peak() <= 5
    (host,) = outcome.summary.hosts
    assert host.lowest == 3
    assert outcome.kinds == ["image"] * len(NAMES)


async def test_half_of_what_a_host_stood_is_the_starting_point(tmp_path: Path) -> None:
    path = tmp_path / "digests.sqlite"
    async with lab(simple(NAMES)) as here:
        origin = f"http://{here.host}"
        with DigestCache(path, now=here.clock.epoch) as cache:
            cache.put_host_limit(origin, 2)
        here.faults.on("GET", MANIFESTS, Answer(503), skip=3)
        outcome = await here.audit(*map(here.ref, NAMES), cache=str(path))
        (host,) = outcome.summary.hosts
        assert host.lowest == 1  # not START
        assert Move.THROTTLED in host.moves or host.limit == 1
        with DigestCache(path, now=here.clock.epoch) as cache:
            kept = cache.host_limit(origin)
    assert kept is not None
    assert 1 <= kept <= 64


async def test_without_a_cache_nothing_is_remembered(tmp_path: Path) -> None:
    async with lab(simple(NAMES)) as here:
        with DigestCache(tmp_path / "digests.sqlite", now=here.clock.epoch) as cache:
            cache.put_host_limit(f"http://{here.host}", 2)
        outcome = await here.audit(
            *map(here.ref, NAMES), cache=str(tmp_path / "digests.sqlite"), no_cache=True
        )
    (host,) = outcome.summary.hosts
    assert host.lowest > 1
