"""Limits of one host: pace, quota and rate limit."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from auditor.config import RateLimitPolicy
from auditor.errors import Failure, FailureKind
from auditor.registry.host_limits import HostLimits, Pacer, RateLimiter, RequestQuota
from tests.clock import ManualClock, settle
from tests.responses import response

HOUR = 3600


class _LimitedHost:
    """Requests that wait for their turn: their failures, and when they were sent."""

    def __init__(self, limits: Callable[[ManualClock], HostLimits]) -> None:
        self.clock = ManualClock()
        self.limits = limits(self.clock)
        self.got: list[tuple[float, Failure | None]] = []

    async def ask(self, *, manifest: bool = True) -> None:
        found = await self.limits.wait_turn(is_manifest=manifest)
        found = found or self.limits.count(is_manifest=manifest)
        self.got.append((self.clock.now - 1000, found))

    def announce(self, remaining: str, limit: str = "100;w=21600") -> None:
        announced = response(
            200,
            RateLimit_Remaining=remaining,
            RateLimit_Limit=limit,
            Docker_RateLimit_Source="192.0.2.7",
        )
        self.limits.observe(announced)

    @property
    def times(self) -> list[float]:
        return [round(time, 3) for time, found in self.got if found is None]

    @property
    def refusals(self) -> list[Failure]:
        return [found for _, found in self.got if found is not None]


def run(
    host: _LimitedHost, *steps: Callable[[], Coroutine[Any, Any, None]] | float
) -> None:
    """Run requests, which start one after the other, and let seconds pass."""

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for step in steps:
                if isinstance(step, int | float):
                    await host.clock.advance(step)
                else:
                    group.start_soon(step)
                    await settle()
            group.cancel_scope.cancel()

    anyio.run(main)


# -- requests per second -----------------------------------------------------------


def _paced(per_second: float) -> _LimitedHost:
    return _LimitedHost(
        lambda clock: HostLimits(pacer=Pacer(1 / per_second, clock=clock))
    )


def test_turns_are_evenly_spaced() -> None:
    host = _paced(4)
    run(host, *[host.ask] * 6, *[0.25] * 10)
    assert host.times == [0, 0.25, 0.5, 0.75, 1, 1.25]


def test_unused_turns_are_not_saved_up() -> None:
    host = _paced(1)
    run(host, host.ask, 60, *[host.ask] * 3, 1, 1, 1)
    assert host.times == [0, 60, 61, 62]


def test_the_pace_can_be_less_than_one_request_per_second() -> None:
    host = _paced(0.01)
    run(host, host.ask, host.ask, 99, 1)
    assert host.times == [0, 100]


# -- quotas ------------------------------------------------------------------------


def test_requests_over_the_quota_fail_with_its_limit() -> None:
    host = _LimitedHost(
        lambda clock: HostLimits(quota=RequestQuota(2, owner="this run"))
    )
    run(host, *[host.ask] * 4)
    assert host.times == [0, 0]
    first, second = host.refusals
    assert first == second
    assert first.kind is FailureKind.INTERRUPTED
    assert first.attempts == 0
    assert first.detail == (
        "not requested: this run has used its 2 requests (max_requests)"
    )


def test_requests_of_a_registry_count_in_the_quota_of_the_run() -> None:
    whole = RequestQuota(5, owner="this run")
    one, other = (
        RequestQuota(3, owner=f"the registry {name}", run=whole) for name in "ab"
    )
    assert [one.count() is None for _ in range(4)] == [True] * 3 + [False]
    assert [other.count() is None for _ in range(3)] == [True] * 2 + [False]
    refused_by_itself, refused_by_the_run = one.count(), other.count()
    assert refused_by_itself is not None
    assert refused_by_the_run is not None
    assert refused_by_the_run.detail.startswith(
        "not requested: this run has used its 5"
    )
    assert (whole.sent, one.sent, other.sent) == (5, 3, 2)


def test_the_failure_names_the_registry_whose_quota_is_used_up() -> None:
    one = RequestQuota(1, owner="the registry a", run=RequestQuota(9, owner="this run"))
    assert one.count() is None
    refused = one.count()
    assert refused is not None
    assert "the registry a has used its 1 request" in refused.detail


# -- the rate limit ----------------------------------------------------------------


def _rate_limited(policy: RateLimitPolicy) -> _LimitedHost:
    return _LimitedHost(
        lambda clock: HostLimits(
            rate_limiter=RateLimiter(
                host="docker.io", policy=policy, max_in_flight=4, clock=clock
            ),
        )
    )


@pytest.mark.parametrize("policy", RateLimitPolicy)
def test_without_rate_limit_headers_requests_are_not_limited(
    policy: RateLimitPolicy,
) -> None:
    host = _rate_limited(policy)
    host.limits.observe(response(200))
    assert not host.limits.is_limited
    run(host, *[host.ask] * 50)
    assert host.times == [0] * 50


def test_a_used_up_rate_limit_fails_the_next_manifests() -> None:
    host = _rate_limited(RateLimitPolicy.STOP)
    host.announce("2;w=21600")
    assert host.limits.is_limited
    run(host, *[host.ask] * 4)
    assert host.times == [0, 0]
    failure = host.refusals[0]
    assert (failure.kind, failure.attempts) == (FailureKind.RATE_LIMITED, 0)
    assert failure.detail == (
        "not requested: the rate limit of 100 in 6 hours for this address at docker.io"
        " is used up; --rate-limit-policy spread waits for the next window"
    )


def test_only_manifests_count_for_the_rate_limit() -> None:
    host = _rate_limited(RateLimitPolicy.STOP)
    host.announce("0;w=21600")

    async def other() -> None:
        await host.ask(manifest=False)

    run(host, *[other] * 5)
    assert host.times == [0] * 5


def test_the_rate_limit_is_renewed_after_its_window() -> None:
    host = _rate_limited(RateLimitPolicy.STOP)
    host.announce("0;w=21600")
    run(host, host.ask, 6 * HOUR, host.ask)
    assert host.times == [6 * HOUR]


def test_a_response_that_announces_more_renews_the_rate_limit() -> None:
    host = _rate_limited(RateLimitPolicy.STOP)
    host.announce("0;w=21600")
    host.announce("100;w=21600")
    run(host, host.ask)
    assert host.refusals == []


def test_responses_out_of_order_do_not_raise_the_remaining_requests() -> None:
    host = _rate_limited(RateLimitPolicy.STOP)
    for announced in ("3", "1", "2", "4"):
        host.announce(f"{announced};w=21600")
    run(host, *[host.ask] * 4)
    assert host.times == [0]


def test_the_end_of_a_short_window_is_awaited() -> None:
    host = _rate_limited(RateLimitPolicy.STOP)
    host.announce("1;w=60", "10;w=60")
    run(host, *[host.ask] * 3, 59, 1)
    assert host.times == [0, 60, 60]
    assert host.refusals == []


@pytest.mark.parametrize("policy", [RateLimitPolicy.STOP, RateLimitPolicy.SPREAD])
def test_a_rate_limit_without_a_window_limits_nothing(policy: RateLimitPolicy) -> None:
    host = _rate_limited(policy)
    host.announce("0", "60")
    run(host, *[host.ask] * 3)
    assert host.times == [0, 0, 0]
    assert host.limits.rate_limiter is not None
    assert host.limits.rate_limiter.latest is not None
    assert host.limits.rate_limiter.latest.remaining == 0


def test_the_policy_ignore_only_records_the_rate_limit() -> None:
    host = _rate_limited(RateLimitPolicy.IGNORE)
    host.announce("0;w=21600")
    run(host, *[host.ask] * 3)
    assert host.times == [0, 0, 0]


def test_the_policy_spread_sends_the_first_half_at_full_speed() -> None:
    host = _rate_limited(RateLimitPolicy.SPREAD)
    host.announce("90;w=21600")
    run(host, *[host.ask] * 40)
    assert host.times == [0] * 40


def test_the_policy_spread_makes_the_second_half_last_for_the_window() -> None:
    host = _rate_limited(RateLimitPolicy.SPREAD)
    host.announce("10;w=1000", "100;w=1000")
    run(host, *[host.ask] * 10, *[1.0] * 1000)
    gaps = [b - a for a, b in zip(host.times, host.times[1:], strict=False)]
    assert len(host.times) == 10
    assert min(gaps) >= 100
    assert host.times[-1] <= 1000


def test_the_policy_spread_waits_for_the_next_window_instead_of_failing() -> None:
    host = _rate_limited(RateLimitPolicy.SPREAD)
    host.announce("0;w=21600")
    run(host, *[host.ask] * 3, 6 * HOUR)
    assert host.times == [6 * HOUR] * 3
    assert host.refusals == []


@pytest.mark.parametrize(
    ("policy", "announced", "message"),
    [
        (RateLimitPolicy.STOP, "0;w=21600", "rate limit used up"),
        (
            RateLimitPolicy.SPREAD,
            "0;w=21600",
            "rate limit used up; waiting 21600 s for the next window",
        ),
        (
            RateLimitPolicy.SPREAD,
            "10;w=21600",
            "10 requests left of the rate limit; sending one every 2160 s",
        ),
    ],
)
def test_a_low_rate_limit_is_logged_once(
    policy: RateLimitPolicy,
    announced: str,
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    host = _rate_limited(policy)
    host.announce(announced)
    run(host, *[host.ask] * 5)
    assert caplog.messages == [f"docker.io: {message}"]


def test_a_malformed_rate_limit_is_ignored() -> None:
    host = _rate_limited(RateLimitPolicy.STOP)
    host.limits.observe(response(200, RateLimit_Remaining="none"))
    assert not host.limits.is_limited
