"""A host that has not responded yet: for how long and how often it is tried."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, FailureReason
from auditor.registry.host_health import DEAD_HOST_S, PATIENCE_S
from auditor.registry.host_plan import PING_TRIES_FACTOR, AuthPlan, HostPlan
from auditor.registry.request import RequestCounts, RequestKind, RequestSender
from auditor.wire.response import Response
from tests.clock import FakeClock
from tests.responses import response

URL = "https://registry.example.com/v2/app/manifests/1"
PING = "https://registry.example.com/v2/"
# Without the start of the program.
AT_MOST_S = 2.6

_ABSENT = (
    Failure(
        kind=FailureKind.DNS, detail="no such name", reason=FailureReason.UNKNOWN_HOST
    ),
    Failure(
        kind=FailureKind.CONNECT,
        detail="connection refused",
        reason=FailureReason.CONNECTION_REFUSED,
    ),
)
REFUSED = _ABSENT[1]
CLOSED = Failure(kind=FailureKind.CONNECT, detail="closed without a response")
TIMEOUT = Failure(
    kind=FailureKind.TIMEOUT,
    detail="no connection within 10 s",
    reason=FailureReason.CONNECT_TIMEOUT,
)
DNS_DOWN = Failure(
    kind=FailureKind.DNS, detail="try again", reason=FailureReason.LOOKUP_TIMEOUT
)


class _Host:
    """A host that fails with `failure` until `back_s`; other hosts until `busy_s`."""

    def __init__(
        self,
        failure: Failure | Response,
        *,
        back_s: float = float("inf"),
        busy_s: float = 0.0,
        takes_s: float = 0.0,
        tries: int = 3,
        seed: int = 0,
        is_awaited: bool = False,
    ) -> None:
        self.clock = FakeClock(seed)
        self.told: list[str] = []
        self.failure = failure
        self.back_s, self.busy_s, self.takes_s = back_s, busy_s, takes_s
        self.asked: list[float] = []
        self.counts = RequestCounts()
        transport: Any = self
        settings = RegistrySettings(tries=tries)
        self.sender = RequestSender(
            "registry.example.com",
            settings=settings,
            transport=transport,
            clock=self.clock,
            counts=self.counts,
            probe_url=PING,
            notify=self.told.append if is_awaited else None,
        )
        self.plan = HostPlan(ping_url=PING, settings=settings, sender=self.sender)

    @property
    def now(self) -> float:
        return self.clock.now - 1000

    async def request(self, method: str, url: str, **more: Any) -> Response | Failure:
        del method, more
        self.asked.append(self.now)
        if self.now < self.busy_s:
            self.counts.sent["manifest"] += 1
        self.clock.now += self.takes_s
        return response(200, url=url) if self.now >= self.back_s else self.failure

    async def ask(self) -> Response | Failure:
        return await self.sender.send(
            RequestKind.MANIFEST, "GET", URL, headers={}, max_bytes=100
        )


def ping(host: _Host) -> AuthPlan | Failure:
    return anyio.run(host.plan.get)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("failure", _ABSENT)
def test_an_unknown_name_and_a_refused_port_cost_a_few_quick_pings(
    failure: Failure, seed: int
) -> None:
    host = _Host(failure, seed=seed)
    found = ping(host)
    assert isinstance(found, Failure)
    assert (found.kind, found.attempts) == (failure.kind, 3)
    assert len(host.asked) == 3
    assert 0.5 < host.now < AT_MOST_S


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("failure", _ABSENT)
def test_a_request_without_a_ping_gives_such_a_host_up_as_soon(
    failure: Failure, seed: int
) -> None:
    host = _Host(failure, seed=seed)
    found = anyio.run(host.ask)
    assert isinstance(found, Failure)
    assert found.detail.startswith("stopped requests to registry.example.com: ")
    assert len(host.asked) <= 3 + 5
    assert host.now < 3.1


@pytest.mark.parametrize("failure", [*_ABSENT, CLOSED, TIMEOUT, response(503)])
def test_one_try_is_one_ping(failure: Failure | Response) -> None:
    host = _Host(failure, tries=1)
    assert isinstance(ping(host), Failure)
    assert len(host.asked) == 1
    assert host.now == 0


def test_more_tries_are_more_pings() -> None:
    host = _Host(REFUSED, tries=5)
    ping(host)
    assert len(host.asked) == 5


@pytest.mark.parametrize("failure", [CLOSED, DNS_DOWN, response(503)])
def test_what_is_no_answer_has_twice_the_attempts(failure: Failure | Response) -> None:
    host = _Host(failure)
    ping(host)
    assert len(host.asked) == 3 * PING_TRIES_FACTOR


@pytest.mark.parametrize("failure", [TIMEOUT, DNS_DOWN])
def test_three_long_timeouts_are_enough(failure: Failure) -> None:
    host = _Host(failure, takes_s=10)
    ping(host)
    assert len(host.asked) == 3


@pytest.mark.parametrize("failure", [TIMEOUT, DNS_DOWN])
@pytest.mark.parametrize("takes_s", [10, 30])
def test_one_long_timeout_is_enough_for_a_person_who_waits(
    failure: Failure, takes_s: int
) -> None:
    host = _Host(failure, takes_s=takes_s, is_awaited=True)
    found = ping(host)
    assert isinstance(found, Failure)
    assert (found.kind, found.attempts) == (failure.kind, 1)
    assert host.now == takes_s
    assert host.told == []


def test_a_silent_token_service_costs_a_person_one_timeout() -> None:
    host = _Host(TIMEOUT, takes_s=30, is_awaited=True)
    found = anyio.run(host.ask)
    assert isinstance(found, Failure)
    assert found.detail == TIMEOUT.detail
    assert host.now == 30


def test_short_timeouts_are_repeated_while_a_person_waits() -> None:
    host = _Host(TIMEOUT, takes_s=2, is_awaited=True)
    ping(host)
    assert len(host.asked) == 3
    assert host.told == [
        "retrying registry.example.com (2): connect timeout",
        "retrying registry.example.com (3): connect timeout",
    ]


def test_more_tries_wait_longer_for_a_silent_host() -> None:
    host = _Host(TIMEOUT, takes_s=10, tries=12, is_awaited=True)
    ping(host)
    assert len(host.asked) == 4
    assert 36 <= host.now < 36 + 10


def test_a_silence_after_the_first_answer_is_repeated() -> None:
    host = _Host(TIMEOUT, back_s=0, is_awaited=True)

    async def main() -> Response | Failure:
        await host.ask()
        host.back_s, host.takes_s = host.now + 60, 30
        return await host.ask()

    assert isinstance(anyio.run(main), Response)


@pytest.mark.parametrize("failure", _ABSENT)
def test_a_restart_at_the_first_request_costs_nothing_while_others_are_audited(
    failure: Failure,
) -> None:
    host = _Host(failure, back_s=20, busy_s=25)
    assert isinstance(ping(host), AuthPlan)
    assert len(host.asked) < 25


def test_the_run_does_not_wait_for_a_dead_host_once_the_others_are_audited() -> None:
    host = _Host(REFUSED, busy_s=10)
    assert isinstance(ping(host), Failure)
    assert 10 < host.now < 10 + 5


def test_a_dead_host_is_given_up_however_long_the_run_is() -> None:
    host = _Host(REFUSED, busy_s=1000)
    assert isinstance(ping(host), Failure)
    assert PATIENCE_S <= host.now < PATIENCE_S + 5


def test_requests_wait_for_a_host_without_a_ping_while_others_are_audited() -> None:
    host = _Host(REFUSED, back_s=20, busy_s=25)
    assert isinstance(anyio.run(host.ask), Response)


def test_a_host_that_has_responded_may_restart_with_nothing_else_to_do() -> None:
    host = _Host(REFUSED, back_s=0)

    async def main() -> Response | Failure:
        await host.ask()
        host.back_s = host.now + 20
        return await host.ask()

    assert isinstance(anyio.run(main), Response)
    assert host.now >= 20


def test_a_dead_host_is_pinged_again_after_the_pause() -> None:
    host = _Host(REFUSED, back_s=DEAD_HOST_S)

    async def main() -> list[AuthPlan | Failure]:
        found = [await host.plan.get(), await host.plan.get()]
        assert len(host.asked) == 3  # the second failed at once
        host.clock.now += DEAD_HOST_S
        return [*found, await host.plan.get()]

    first, second, third = anyio.run(main)
    assert isinstance(first, Failure)
    assert isinstance(second, Failure)
    assert isinstance(third, AuthPlan)
