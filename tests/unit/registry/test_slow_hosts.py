"""Requests to hosts that accept less than one at a time, in virtual time."""

from __future__ import annotations

import random
from typing import Any

import pytest

from auditor.errors import Failure
from auditor.registry.learned_pace import LearnedPace
from auditor.wire.response import Response
from tests.responses import response
from tests.support.rate_limited_hosts import (
    FixedWindow,
    RateLimitedHost,
    Rule,
    TokenBucket,
    send,
)

STYLES = [
    pytest.param(429, True, id="429, Retry-After"),
    pytest.param(429, False, id="429"),
    pytest.param(503, False, id="503"),
]


class _Free:
    """No limit."""

    def passes(self, _now: float) -> bool:
        return True

    def retry_after_s(self, _now: float) -> int:
        return 1


class _Random:
    """One request in `one_in` is refused, whenever it is sent."""

    def __init__(self, one_in: int) -> None:
        self._one_in, self._random = one_in, random.Random(one_in)

    def passes(self, _now: float) -> bool:
        return self._random.randrange(self._one_in) > 0

    def retry_after_s(self, _now: float) -> int:
        return 1


class _Broken(RateLimitedHost):
    """One image in `one_in` is 503 whenever it is asked for."""

    one_in = 12

    async def request(self, method: str, url: str, **more: Any) -> Response | Failure:
        outcome = await super().request(method, url, **more)
        number = url.rpartition("/")[2]
        if number and int(number) % self.one_in == 5:
            return response(self.status, url=url)
        return outcome


@pytest.mark.parametrize("burst", [1, 20])
@pytest.mark.parametrize(("status", "has_retry_after"), STYLES)
@pytest.mark.parametrize("rate", [2, 5, 10])
def test_a_rate_below_one_request_at_a_time_is_found(
    rate: int, burst: int, status: int, *, has_retry_after: bool
) -> None:
    """Every reference is answered; without a pace up to half of the requests are
    refused, and of 503 most references fail."""
    host = RateLimitedHost(TokenBucket(rate, burst), status, has_retry_after)
    sent = send(host, 2000)
    assert not sent.failures
    assert len(host.refused_at) <= 60  # most of them in the first seconds
    assert sent.refused_share(after_s=120) <= 0.01
    assert 2000 / rate >= 0.85 * (sent.took_s - 20)
    pace = sent.limiter.pace
    assert pace.rate is not None
    assert 0.8 * rate <= pace.rate <= 1.3 * rate
    found = sent.limiter.concurrency()
    assert found.limit == 1
    assert found.per_second == pace.rate
    assert found.lowest_per_second == pace.lowest


@pytest.mark.parametrize(
    "rule", [FixedWindow(60, 60), FixedWindow(100, 10), FixedWindow(5, 1)], ids=str
)
@pytest.mark.parametrize(("status", "has_retry_after"), STYLES)
def test_windows_of_a_second_to_a_minute_lose_nothing(
    rule: Rule, status: int, *, has_retry_after: bool
) -> None:
    """With 503, the probes of the first windows are refused, too."""
    host = RateLimitedHost(rule, status, has_retry_after)
    sent = send(host, 600)
    assert not sent.failures
    assert sent.refused_share() <= (0.2 if status == 503 else 0.08)


@pytest.mark.parametrize(
    ("count", "status", "most_refused"), [(60, 429, 58), (60, 503, 175), (20, 503, 260)]
)
def test_the_pace_is_what_was_accepted_from_window_to_window(
    count: int, status: int, most_refused: int
) -> None:
    """If the end of a window does not count, a fifth more is refused."""
    host = RateLimitedHost(FixedWindow(count, 60), status)
    sent = send(host, 1200)
    assert not sent.failures
    assert len(host.refused_at) <= most_refused
    assert 1200 * 60 / count >= 0.85 * (sent.took_s - 60)


@pytest.mark.parametrize(("status", "has_retry_after"), STYLES)
def test_a_host_that_refused_for_a_minute_is_asked_fast_again(
    status: int, *, has_retry_after: bool
) -> None:
    host = RateLimitedHost(TokenBucket(5), status, has_retry_after)

    def free_later(seconds: float, host: RateLimitedHost) -> None:
        if seconds > 60:
            host.rule = _Free()

    sent = send(host, 20_000, at=free_later)
    assert not sent.failures
    assert sent.limiter.pace.rate is None
    assert sent.limiter.limit > 1
    assert sent.took_s < 600  # with the rate of the first minute: more than an hour


@pytest.mark.parametrize(("status", "has_retry_after"), STYLES)
def test_a_host_that_accepts_less_than_before_is_followed(
    status: int, *, has_retry_after: bool
) -> None:
    """No request is refused eight times, after which all would fail."""
    host = RateLimitedHost(TokenBucket(5), status, has_retry_after)

    def slow_later(seconds: float, host: RateLimitedHost) -> None:
        if seconds > 60 and isinstance(host.rule, TokenBucket) and host.rule.rate > 1:
            host.rule = TokenBucket(1)

    sent = send(host, 800, at=slow_later)
    assert not sent.failures
    assert len(host.refused_at) <= 60


def test_broken_images_are_no_rate_limit() -> None:
    """One in twelve answers 503 for ever: that slows nothing down for long."""
    host = _Broken(_Free(), 503)
    sent = send(host, 3000)
    assert len(sent.failures) == 3000 // host.one_in
    assert sent.limiter.pace.rate is None
    # One at a time, as before there was a pace; each of them is asked three times.
    assert sent.took_s < 1.3 * host.distance_s * (3000 + 2 * len(sent.failures))


@pytest.mark.parametrize("one_in", [2, 3, 5, 10, 20])
def test_a_host_that_fails_at_any_pace_is_not_asked_slowly(one_in: int) -> None:
    """A back end of several is broken. At the slowest pace, these are three hours."""
    host = RateLimitedHost(_Random(one_in), 503)
    sent = send(host, 3000)
    assert sent.took_s < 900


@pytest.mark.parametrize("one_in", [50, 100])
def test_a_host_that_fails_now_and_then_is_not_asked_slowly(one_in: int) -> None:
    """If each 503 made the pace slower, these were 2,800 and 510 s."""
    host = RateLimitedHost(_Random(one_in), 503)
    sent = send(host, 5000)
    assert not sent.failures
    assert sent.took_s < 400  # 250 s by one request at a time


def test_requests_that_were_refused_together_are_one_refusal() -> None:
    pace = LearnedPace()
    pace.refused(sent_at=1.0, now=1.1, at_once=8)
    next_at = pace.next_at
    for late in range(7):
        pace.refused(sent_at=1.0, now=1.1 + late / 100, at_once=8)
    assert pace.next_at == next_at
    pace.refused(sent_at=1.2, now=1.3, at_once=8)
    assert pace.next_at > next_at


@pytest.mark.parametrize("rate", [0.3, 0.5, 1])
def test_the_slowest_rates_are_kept_to(rate: float) -> None:
    """What such a host refuses is no sign that it is broken."""
    host = RateLimitedHost(TokenBucket(rate), 503)
    sent = send(host, 300)
    assert not sent.failures
    assert sent.limiter.pace.rate is not None
    assert len(host.refused_at) <= 60


def test_the_pace_of_the_settings_is_kept_if_it_is_slower() -> None:
    host = RateLimitedHost(TokenBucket(5, 20))
    sent = send(host, 300, requests_per_second=2)
    assert not host.refused_at
    assert sent.took_s >= 299 / 2


def test_a_host_with_room_gets_no_pace() -> None:
    sent = send(RateLimitedHost(TokenBucket(200, 20)), 2000)
    assert not sent.failures
    assert sent.limiter.pace.lowest is None
