"""Limits of one host: concurrency, pace, quota and rate limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from auditor.config import RateLimitPolicy
from auditor.config.requests_at_once import DEFAULT_REQUESTS_AT_ONCE, RequestsAtOnce
from auditor.errors import Failure, FailureKind
from auditor.registry.host_limits import (
    ConcurrencyLimiter,
    HostLimiters,
    HostLimits,
    Pacer,
    RateLimiter,
    RequestQuota,
)
from auditor.registry.transport.connection_budget import ConnectionBudget
from tests.clock import ManualClock, settle
from tests.responses import response


class _Host:
    """Tasks that hold slots until `give_back`."""

    def __init__(self, group: TaskGroup, bounds: RequestsAtOnce) -> None:
        self.clock = ManualClock()
        self.slots = ConcurrencyLimiter(
            bounds=bounds, budget=ConnectionBudget(8000), clock=self.clock
        )
        self.had_at: list[float] = []
        self._group = group
        self._back: list[anyio.Event] = []

    async def ask(self, count: int = 1) -> None:
        for _ in range(count):
            self._group.start_soon(self._hold)
        await settle()

    async def _hold(self) -> None:
        self.had_at.append(await self.slots.acquire())
        back = anyio.Event()
        self._back.append(back)
        await back.wait()
        self.slots.release()

    @property
    def busy(self) -> int:
        return len(self._back)

    async def give_back(self, count: int | None = None) -> None:
        count = self.busy if count is None else count
        given, self._back = self._back[:count], self._back[count:]
        for back in given:
            back.set()
        await settle()


def with_host(
    bounds: RequestsAtOnce | int, test: Callable[[_Host], Awaitable[None]]
) -> None:
    if isinstance(bounds, int):
        bounds = RequestsAtOnce.fixed(bounds)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            await test(_Host(group, bounds))
            group.cancel_scope.cancel()

    anyio.run(main)


def test_no_more_slots_than_the_limit_are_given_out() -> None:
    async def test(host: _Host) -> None:
        await host.ask(10)
        assert host.busy == 4
        await host.give_back(1)
        assert host.busy == 4
        assert len(host.had_at) == 5
        for _ in range(3):
            await host.give_back()
        assert len(host.had_at) == 10

    with_host(4, test)


def test_acquire_returns_the_time_at_which_the_slot_was_taken() -> None:
    async def test(host: _Host) -> None:
        await host.ask(2)
        await host.clock.advance(5)
        await host.give_back(1)
        assert host.had_at == [1000.0, 1005.0]

    with_host(1, test)


# -- holding back --------------------------------------------------------------


def test_no_slot_is_given_out_while_the_host_is_held_back() -> None:
    async def test(host: _Host) -> None:
        host.slots.hold_back(30)
        await host.ask(3)
        assert host.busy == 0
        await host.clock.advance(29.9)
        assert host.busy == 0
        await host.clock.advance(0.1)
        assert host.busy == 3
        assert host.had_at == [1030.0] * 3

    with_host(4, test)


def test_a_request_in_the_queue_is_held_back_too() -> None:
    async def test(host: _Host) -> None:
        await host.ask(2)
        host.slots.hold_back(10)
        await host.give_back()
        assert host.busy == 0
        await host.clock.advance(10)
        assert host.busy == 1
        assert host.had_at == [1000.0, 1010.0]

    with_host(1, test)


def test_requests_that_are_held_back_occupy_no_slot() -> None:
    async def test(host: _Host) -> None:
        await host.ask(1)
        host.slots.hold_back(10)
        await host.ask(5)
        await host.clock.advance(10)
        assert host.busy == 4

    with_host(4, test)


@pytest.mark.parametrize(("first", "second", "until"), [(30, 5, 30), (5, 30, 30)])
def test_the_longest_hold_counts(first: float, second: float, until: float) -> None:
    async def test(host: _Host) -> None:
        host.slots.hold_back(first)
        host.slots.hold_back(second)
        await host.ask(1)
        await host.clock.advance(until - 0.5)
        assert host.busy == 0
        await host.clock.advance(0.5)
        assert host.busy == 1

    with_host(4, test)


def test_a_hold_extended_while_waiting_is_respected() -> None:
    async def test(host: _Host) -> None:
        host.slots.hold_back(10)
        await host.ask(1)
        await host.clock.advance(5)
        host.slots.hold_back(10)
        await host.clock.advance(5)
        assert host.busy == 0
        await host.clock.advance(5)
        assert host.had_at == [1015.0]

    with_host(4, test)


def test_a_hold_of_zero_seconds_has_no_effect() -> None:
    async def test(host: _Host) -> None:
        host.slots.hold_back(0)
        await host.ask(1)
        assert host.busy == 1
        assert host.clock.slept == []

    with_host(4, test)


# -- the limit -----------------------------------------------------------------

_TIMEOUT = Failure(kind=FailureKind.TIMEOUT, detail="")


def test_a_halved_limit_takes_effect_as_slots_come_back() -> None:
    async def test(host: _Host) -> None:
        await host.ask(20)
        host.slots.failed(_TIMEOUT, host.clock.now)
        assert host.busy == 8  # what is under way stays under way
        await host.give_back(4)
        assert host.busy == 4
        await host.give_back(1)
        assert host.busy == 4

    with_host(8, test)


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (Failure(kind=FailureKind.RATE_LIMITED, detail="", status=429), "throttled"),
        (Failure(kind=FailureKind.SERVER_ERROR, detail="", status=503), "throttled"),
        (Failure(kind=FailureKind.SERVER_ERROR, detail="", status=500), "server_error"),
        (_TIMEOUT, "timeout"),
        (Failure(kind=FailureKind.CONNECT, detail=""), "connection"),
        (Failure(kind=FailureKind.DNS, detail=""), "start"),
        (Failure(kind=FailureKind.NOT_FOUND, detail="", status=404), "start"),
        (Failure(kind=FailureKind.INTERRUPTED, detail=""), "start"),
    ],
)
def test_distress_is_told_from_other_failures(failure: Failure, cause: str) -> None:
    async def test(host: _Host) -> None:
        host.slots.failed(failure, host.clock.now)
        assert host.slots.control.last_move == cause
        assert host.slots.is_reduced == (cause != "start")
        assert host.slots.limit == (8 if cause == "start" else 4)

    with_host(8, test)


def test_answers_in_full_use_raise_the_limit_and_give_out_slots() -> None:
    async def test(host: _Host) -> None:
        await host.ask(200)
        for _ in range(12):  # those that were sent first, and a round
            assert host.slots.limit == host.busy == 4
            await host.clock.advance(0.05)
            sent_at = host.clock.now - 0.05
            await host.give_back(1)
            answer = replace(response(200), round_trip_s=0.2)
            host.slots.answered("manifest", answer, sent_at)
        await settle()
        assert host.slots.limit == host.busy == 7

    with_host(RequestsAtOnce(1, 64), test)


@pytest.mark.parametrize(
    ("kind", "status", "size", "slowdown"),
    [
        ("manifest", 200, 10, 20),
        ("manifest", 200, 100_000, 1),
        ("manifest", 200, 1_000_000, 1),
        ("manifest", 404, 10, 1),
        ("head", 200, 10, 1),
    ],
)
def test_answers_that_differ_in_work_are_classes_of_their_own(
    kind: str, status: int, size: int, slowdown: float
) -> None:
    async def test(host: _Host) -> None:
        small = replace(response(200), round_trip_s=0.1)
        other = replace(response(status, b"x" * size), round_trip_s=2.0)
        for _ in range(20):
            host.slots.answered("manifest", small, host.clock.now)
        for _ in range(8):
            host.slots.answered(kind, other, host.clock.now)
        assert host.slots.control.baselines.slowdown == pytest.approx(slowdown)

    with_host(RequestsAtOnce(1, 64), test)


def test_hosts_are_told_by_their_origin() -> None:
    limiters = HostLimiters(
        budget=ConnectionBudget(8000),
        clock=ManualClock(),
        remembered={"https://a.example.com": 5}.get,
    )
    bounds = RequestsAtOnce(1, 64)
    begin, limiter = limiters.of("https://a.example.com/v2/x/manifests/1", bounds)
    assert begin == "https://a.example.com/"
    assert limiter.limit == 2  # half of what it stood
    same = limiters.of("https://A.example.com:443/token?service=x", bounds)
    assert same[1] is limiter
    for url in "http://a.example.com/", "https://a.example.com:444/", "https://b.ex/":
        assert limiters.of(url, bounds)[1] is not limiter
    assert [one.name for one in limiters.by_origin.values()] == [
        "a.example.com", "a.example.com", "a.example.com:444", "b.ex"
    ]  # fmt: skip


def test_who_allows_fewer_requests_lowers_the_limit_of_the_host() -> None:
    """As a registry that is also the token service of another one."""
    limiters = HostLimiters(budget=ConnectionBudget(8000), clock=ManualClock())
    url = "https://a.example.com/"
    limiter = limiters.of(url, RequestsAtOnce.fixed(32))[1]
    slots = [limiter.try_acquire() for _ in range(3)]
    assert None not in slots
    assert limiters.of(url, RequestsAtOnce(1, 64))[1].limit == 32
    assert limiters.of(url, RequestsAtOnce.fixed(3))[1].limit == 3
    assert limiter.try_acquire() is None
    limiters.of(url, RequestsAtOnce(1, 64))
    found = limiter.concurrency()
    assert (found.limit, found.most, found.lowest, found.highest) == (3, 3, 3, 32)
    limiter.failed(_TIMEOUT, limiter.control.moved_at + 1)
    assert limiter.limit == 1
    assert limiter.is_reduced
    for _ in range(3):
        limiter.control.answered("head", 0.1, sent_at=9999, now=9999, is_full=True)
    assert limiter.control.limit == 3
    assert not limiter.is_reduced


@pytest.mark.parametrize(
    ("bounds", "levels"),
    [
        (RequestsAtOnce.fixed(8), ["WARNING"]),
        (RequestsAtOnce(1, 64), ["WARNING"]),
        (DEFAULT_REQUESTS_AT_ONCE, ["INFO"]),
        (RequestsAtOnce.fixed(3), []),
    ],
)
def test_it_is_told_once_if_open_files_allow_less_than_was_asked_for(
    bounds: RequestsAtOnce, levels: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    limiters = HostLimiters(budget=ConnectionBudget(24), clock=ManualClock())
    for name in "ab":
        limiters.of(f"https://{name}.example.com/", bounds)
    assert [one.levelname for one in caplog.records] == levels
    for one in caplog.records:
        assert one.getMessage().startswith("a.example.com: at most 3 requests at once,")


def test_what_is_no_url_is_the_transports_business() -> None:
    limiters = HostLimiters(budget=ConnectionBudget(8000), clock=ManualClock())
    assert limiters.of("nonsense", RequestsAtOnce.fixed(3))[1].limit == 3


def test_a_request_cancelled_in_the_queue_loses_no_slot() -> None:
    async def test(host: _Host) -> None:
        await host.ask(1)
        scope = anyio.CancelScope()

        async def impatient() -> None:
            with scope:
                await host.slots.acquire()

        async with anyio.create_task_group() as group:
            group.start_soon(impatient)
            await settle()
            scope.cancel()
        await host.give_back()
        await host.ask(1)
        assert host.busy == 1

    with_host(1, test)


# -- pace, quota and rate limit ----------------------------------------------------

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
