"""The simulated registries of the bench give what their table says is the best."""

from __future__ import annotations

import heapq
import random
import statistics

import pytest

from auditor.oci.manifest import ImageIndex, parse_manifest
from bench.adaptive.hosts import (
    KINDS,
    OK,
    SERVICE_S,
    TOO_MANY_REQUESTS,
    UNAVAILABLE,
    WORKERS,
    Host,
    Kind,
    Reply,
)
from bench.adaptive.server import content, idle_latencies, references, requests_for

KIND = {kind.name: kind for kind in KINDS}


def _replies(host: Host, at_once: int, requests: int) -> list[tuple[float, Reply]]:
    """A client that always has `at_once` requests in progress; each with the time at
    which it was sent."""
    ends = [0.0] * at_once
    found = []
    for number in range(requests):
        now = heapq.heappop(ends)
        reply = host.arrive(now, f"bench/app-{number % 40}")
        heapq.heappush(ends, reply.at)
        found.append((now, reply))
    return found


def _rate(name: str, at_once: int, requests: int = 1000) -> float:
    """Good replies per second."""
    host = KIND[name].new(random.Random(1), requests)
    replies = [reply for _, reply in _replies(host, at_once, requests)]
    good = sum(reply.status == OK for reply in replies)
    return good / max(reply.at for reply in replies)


def test_a_distant_host_gives_more_for_every_further_request() -> None:
    assert _rate("distant, 50 ms", 128) == pytest.approx(128 / 0.05, rel=0.2)
    assert _rate("distant, 200 ms", 64) == pytest.approx(64 / 0.2, rel=0.2)


def test_a_narrow_host_gives_no_more_than_its_workers() -> None:
    best = WORKERS / SERVICE_S
    assert _rate("narrow", WORKERS) == pytest.approx(best, rel=0.05)
    assert _rate("narrow", 128) == pytest.approx(best, rel=0.05)
    host = KIND["narrow"].new(random.Random(1), 500)
    waits = [reply.at - now for now, reply in _replies(host, 2 * WORKERS, 500)]
    assert statistics.median(waits) == pytest.approx(2 * SERVICE_S, rel=0.1)


def test_a_host_refuses_what_is_above_its_limit_and_says_when_to_come_again() -> None:
    host = KIND["limited by rate"].new(random.Random(1), 1000)
    replies = [host.arrive(0.0, "bench/app-0") for _ in range(201)]
    assert [reply.status for reply in replies] == [OK] * 200 + [TOO_MANY_REQUESTS]
    assert replies[-1].retry_after_s == 1
    assert host.arrive(0.01, "bench/app-0").status == OK
    assert host.arrive(0.01, "bench/app-0", is_other=True).status == OK

    host = KIND["limited by concurrency"].new(random.Random(1), 1000)
    replies = [host.arrive(0.0, "bench/app-0") for _ in range(21)]
    assert [reply.status for reply in replies] == [OK] * 20 + [UNAVAILABLE]
    assert host.arrive(1.0, "bench/app-0").status == OK


def test_a_host_changes_in_mid_run() -> None:
    host = KIND["distant, then narrow"].new(random.Random(1), 400)
    replies = [reply for _, reply in _replies(host, 64, 400)]
    first, second = replies[199].at, replies[399].at
    assert 200 / first == pytest.approx(64 / 0.05, rel=0.3)
    assert 200 / (second - first) == pytest.approx(WORKERS / SERVICE_S, rel=0.2)


def test_a_slow_back_end_does_not_delay_the_other() -> None:
    host = KIND["proxy, two back ends"].new(random.Random(1), 1000)
    for _ in range(100):
        host.arrive(0.0, "bench/app-0")
    assert host.arrive(0.0, "bench/app-0").at > 0.8
    assert host.arrive(0.0, "bench/app-1").at < 0.05


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_idle_host_lets_others_wait_for_its_work_only(kind: Kind) -> None:
    found = idle_latencies(kind, requests_for(400))
    assert found
    assert all(0.008 < seconds < 0.25 for seconds in found.values())


def test_each_reference_is_another_image_with_the_platforms_of_its_repository() -> None:
    names = references(400)
    assert len(set(names)) == 400
    bodies = set()
    for name in names[:20]:
        repository, _, tag = name.rpartition(":")
        body, media_type = content(repository, tag)
        bodies.add(body)
        index = parse_manifest(body, media_type)
        assert isinstance(index, ImageIndex)
        for child in index.children:
            assert len(content(repository, child.digest)[0]) == child.size
    assert len(bodies) == 20
