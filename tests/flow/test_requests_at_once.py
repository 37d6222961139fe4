"""How many requests at once hosts are sent: one limit for each host, kept and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditor.audit.run import AuditRun
from auditor.cache.digest_cache import DigestCache
from auditor.config.requests_at_once import RequestsAtOnce
from auditor.demo.image_builder import image, index
from auditor.input.lists import input_items
from auditor.model import Record
from auditor.registry.concurrency_control import ConcurrencyControl
from auditor.registry.host_status import HostStatus
from auditor.registry.registries import open_registries
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


async def test_the_log_tells_the_limits_that_moved_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="auditor.registry")
    async with lab(simple(NAMES)) as moved, lab(simple(NAMES)) as calm:
        moved.faults.on("GET", MANIFESTS, Answer(429), skip=3)
        await moved.audit(
            *map(moved.ref, NAMES),
            calm.ref(NAMES[0]),
            registries={calm.host: calm.login},
        )
    messages = [record.getMessage() for record in caplog.records]
    (last,) = [one for one in messages if one.endswith("in this run")]
    assert last.startswith(f"{moved.host}: ")
    # Where few open files are allowed, that is said of every host.
    messages = [one for one in messages if "open files" not in one]
    assert not any(one.startswith(calm.host) for one in messages)


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


async def test_requests_that_differ_in_work_are_compared_with_their_own_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes: set[object] = set()
    answered = ConcurrencyControl.answered

    def observed(
        self: ConcurrencyControl, kind: object, *more: Any, **how: Any
    ) -> None:
        classes.add(kind)
        answered(self, kind, *more, **how)

    monkeypatch.setattr(ConcurrencyControl, "answered", observed)
    content = simple(NAMES)
    for name, size in ("large", 40_000), ("huge", 600_000):
        content.add(
            f"team/{name}", index([image(name)], annotations={"": "x" * size}), "1"
        )
    names = [*NAMES, "team/large:1", "team/huge:1", "team/none:1"]
    settings: dict[str, Any] = {
        "image_config": "always", "cache": str(tmp_path / "digests.sqlite")
    }  # fmt: skip
    async with lab(content, tokens=service()) as here:
        await here.audit(*map(here.ref, names), here.ref("team/app1:*"), **settings)
        cold = set(classes)
        classes.clear()
        await here.audit(*map(here.ref, names), **settings)
    assert cold == {
        401,  # the ping
        404,
        "token",
        "list",
        "manifest",
        ("manifest", False),
        ("manifest", True),
        "blob",
    }
    assert classes == {401, 404, "token", "head"}


async def test_progress_tells_the_limit_of_each_host_once() -> None:
    """Not again for the token service at the same host."""
    gate, found = Gate(), list[HostStatus]()

    async def written(_: Record) -> None: ...

    async with (
        lab(simple(NAMES), tokens=service()) as first,
        lab(simple(NAMES)) as second,
    ):
        for one in (first, second):
            one.faults.on("GET", MANIFESTS, Hold(gate), forever=True)
        settings = first.settings(
            *map(first.ref, NAMES),
            *map(second.ref, NAMES),
            registries={second.host: second.login},
        )
        async with open_registries(settings, clock=first.clock) as registries:
            run = AuditRun(
                settings,
                input_items(settings),
                registries=registries,
                clock=first.clock,
                write=written,
            )

            def both_are_asked() -> bool:
                return all(
                    one.faults.count("GET", MANIFESTS) for one in (first, second)
                )

            def look() -> None:
                if not found:
                    found.extend(run.host_statuses())
                    gate.open()

            async with (
                first.when(both_are_asked, look),
                second.when(both_are_asked, look),
            ):
                await run.run()
    assert sorted(one.name for one in found) == sorted([first.host, second.host])
    assert all(one.text == "" and one.at_once is not None for one in found)
