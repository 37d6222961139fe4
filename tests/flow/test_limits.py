"""Rate limits, quotas and requests per second: which requests are sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from auditor.config import RateLimitPolicy, RegistrySettings
from auditor.model import FailureRecord
from auditor.report.summary_text import summary_lines
from tests.flow.harness import MANIFESTS, Lab, Outcome, lab, service, simple
from tests.support.fault_actions import Answer

pytestmark = pytest.mark.anyio
NAMES = [f"team/app:{number}" for number in range(12)]
PULLS: dict[str, Any] = {"image_config": "never"}


class _Hub:
    """A fault: the real response, with a rate limit that each GET counts for."""

    def __init__(
        self, here: Lab, rate_limit_policy: int, window_s: int = 21600
    ) -> None:
        self.here = here
        self.limit = self.left = rate_limit_policy
        self.window_s = window_s
        self.until = here.clock.now + window_s

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.here.clock.now >= self.until:
            self.left, self.until = self.limit, self.here.clock.now + self.window_s
        if request.method == "GET":  # HEAD is free
            if self.left <= 0:
                raise web.HTTPTooManyRequests
            self.left -= 1
        response = await handler(request)
        response.headers["ratelimit-limit"] = f"{self.limit};w={self.window_s}"
        response.headers["ratelimit-remaining"] = f"{self.left};w={self.window_s}"
        response.headers["docker-ratelimit-source"] = "192.0.2.7"
        return response


def _details(outcome: Outcome) -> set[str]:
    return {one.detail for one in outcome.records if isinstance(one, FailureRecord)}


async def test_a_used_up_rate_limit_causes_no_429_and_a_complete_report() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", MANIFESTS, _Hub(here, 7), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1, **PULLS)
        assert here.faults.count("GET", MANIFESTS) == 7
        assert here.answered(429) == []
        (detail,) = _details(outcome)
    assert outcome.kinds == ["image"] * 7 + ["rate_limited"] * 5
    assert detail == (
        "not requested: the rate limit of 7 in 6 hours for this address at"
        f" {here.host} is used up; --rate-limit-policy spread waits for the next window"
    )
    document = outcome.summary.to_json()
    assert document["rate_limits"] == [
        {
            "registry": here.host,
            "limit": 7,
            "remaining": 0,
            "window_s": 21600,
            "counted_by": "address",
        }
    ]
    assert document["references"]["not_asked"] == 5
    text = "\n".join(summary_lines(outcome.summary.to_json()))
    assert "5 failed (5 of them not requested)" in text
    assert (
        f"rate limit of {here.host}: 0 of 7 requests left in 6 hours,"
        " counted by address" in text
    )


async def test_many_workers_exceed_a_rate_limit_by_few_requests() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", MANIFESTS, _Hub(here, 7), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=4, **PULLS)
        assert len(here.answered(429)) <= 3
    assert outcome.kinds.count("image") == 7
    assert outcome.kinds.count("rate_limited") == 5


async def test_the_policy_spread_audits_all_references() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", MANIFESTS, _Hub(here, 8, 1000), forever=True)
        outcome = await here.audit(
            *map(here.ref, NAMES),
            workers=1,
            rate_limit_policy=RateLimitPolicy.SPREAD,
            **PULLS,
        )
        assert here.answered(429) == []
        assert here.clock.now - 1000 >= 1000 * 3 / 8
    assert outcome.kinds == ["image"] * 12


async def test_images_in_the_digest_cache_do_not_use_the_rate_limit(
    tmp_path: Path,
) -> None:
    cache = str(tmp_path / "store")
    async with lab(simple(NAMES)) as here:
        await here.audit(*map(here.ref, NAMES[:6]), cache=cache, **PULLS)
        here.faults.log.clear()
        here.faults.on("*", MANIFESTS, _Hub(here, 2), forever=True)
        outcome = await here.audit(
            *map(here.ref, NAMES[6:]),
            *map(here.ref, NAMES[:6]),
            cache=cache,
            workers=1,
            **PULLS,
        )
        assert here.faults.count("HEAD", MANIFESTS) == 6
        assert here.faults.count("GET", MANIFESTS) == 2
    assert outcome.kinds == ["image"] * 2 + ["rate_limited"] * 4 + ["image"] * 6


async def test_the_rate_limit_of_one_registry_does_not_affect_another() -> None:
    async with lab(simple(NAMES)) as one, lab(simple(NAMES)) as other:
        one.faults.on("GET", MANIFESTS, _Hub(one, 1), forever=True)
        outcome = await one.audit(
            *map(other.ref, NAMES), *map(one.ref, NAMES), workers=2, **PULLS
        )
    assert outcome.kinds[:12] == ["image"] * 12
    assert outcome.kinds[12:].count("rate_limited") == 11


async def test_references_over_the_quota_of_a_run_are_interrupted() -> None:
    async with lab(simple(NAMES), tokens=service()) as here:
        outcome = await here.audit(
            *map(here.ref, NAMES),
            workers=3,
            default_registry=RegistrySettings(max_requests=8),
            **PULLS,
        )
        assert here.faults.count() == 8
    # A ping, a token, and six manifests.
    assert outcome.kinds.count("image") == 6
    assert outcome.kinds.count("interrupted") == 6
    (detail,) = _details(outcome)
    assert detail == "not requested: this run has used its 8 requests (max_requests)"
    document = outcome.summary.to_json()
    assert document["references"]["not_asked"] == 6
    assert document["max_requests"] == 8


async def test_the_quota_of_one_registry_does_not_affect_another() -> None:
    async with lab(simple(NAMES)) as one, lab(simple(NAMES)) as other:
        outcome = await one.audit(
            *map(one.ref, NAMES), *map(other.ref, NAMES), max_requests=5, **PULLS
        )
        assert (one.faults.count(), other.faults.count()) == (5, 13)
    assert outcome.kinds[12:] == ["image"] * 12
    (detail,) = _details(outcome)
    assert detail.startswith(f"not requested: the registry {one.host} has used its 5")


async def test_retries_count_in_the_quota() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", MANIFESTS, Answer(500), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), max_requests=9, **PULLS)
        assert here.faults.count() == 9
    assert outcome.kinds.count("interrupted") >= 6


async def test_listings_count_in_the_quota() -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(here.ref("team/app:*"), max_requests=1, **PULLS)
        assert here.faults.count() == 1
    assert outcome.failure.failure == "interrupted"
    assert outcome.failure.stage == "list"


async def test_requests_keep_to_requests_per_second() -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(
            *map(here.ref, NAMES), workers=1, requests_per_second=2, **PULLS
        )
        # A ping and twelve manifests: twelve gaps of half a second.
        assert here.clock.now - 1000 == pytest.approx(6)
    assert outcome.kinds == ["image"] * 12
