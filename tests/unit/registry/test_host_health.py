"""The circuit breaker of a host."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import pytest

from auditor.errors import Failure, FailureKind
from auditor.registry.host_health import (
    DEAD_HOST_S,
    FAILURES_IN_A_ROW,
    SILENCE_PATIENCE_S,
    HostHealth,
    HostState,
)
from auditor.wire.response import Response
from tests.clock import ManualClock, settle
from tests.responses import response

REFUSED = Failure(kind=FailureKind.CONNECT, detail="connection refused")
URL = "https://registry.example.com/v2/app/manifests/1"
PING = "https://registry.example.com/v2/"
SUSPECTED = FAILURES_IN_A_ROW


class _Host:
    """A host that answers probes by script, with the last one for ever."""

    def __init__(
        self, *script: Response | Failure, probe_url: str | None = PING
    ) -> None:
        self.clock = ManualClock(random=1.0)
        self.script = list(script)
        self.probed: list[tuple[str, float]] = []
        self.health = self.new_health(probe_url=probe_url)
        self.states: list[HostState | Failure] = []

    def new_health(self, *, probe_url: str | None = PING, tries: int = 3) -> HostHealth:
        return HostHealth(
            "registry.example.com",
            probe=self.probe,
            probe_url=probe_url,
            most_in_flight=lambda: 2,
            tries=tries,
            clock=self.clock,
        )

    async def probe(self, url: str) -> Response | Failure:
        self.probed.append((url, self.clock.now - 1000))
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    async def fail(self, wait_s: float = 0.0, failure: Failure = REFUSED) -> None:
        self.states.append(await self.health.failed(failure, URL, wait_s=wait_s))

    async def ask(self) -> None:
        self.states.append(await self.health.wait_for_probe())


Step = Callable[[], Coroutine[Any, Any, None]] | Callable[[], None] | float


def run(host: _Host, *steps: Step) -> list[HostState | Failure]:
    """The states after these steps.

    A number is seconds that pass, a coroutine function a request, which starts when
    those before it wait.
    """

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for step in steps:
                if isinstance(step, int | float):
                    await host.clock.advance(step)
                elif inspect.iscoroutinefunction(step):
                    group.start_soon(step)
                else:
                    step()
                await settle()
            group.cancel_scope.cancel()

    anyio.run(main)
    return host.states


def test_a_few_failures_in_a_row_send_no_probe() -> None:
    host = _Host(response(401))
    run(host, *[host.fail] * (SUSPECTED - 1))
    assert host.states == [HostState.UP] * (SUSPECTED - 1)
    assert host.probed == []
    assert not host.health.is_suspected


def test_a_good_response_restarts_the_count_of_failures() -> None:
    host = _Host(response(401))
    run(
        host,
        *[host.fail] * (SUSPECTED - 1),
        partial(host.health.succeeded, 0),
        host.fail,
    )
    assert host.probed == []


@pytest.mark.parametrize("status", [200, 301, 401, 403, 404, 405, 429, 501])
def test_a_host_that_answers_the_probe_is_up(status: int) -> None:
    host = _Host(response(status))
    run(host, *[host.fail] * SUSPECTED)
    assert host.states == [HostState.UP] * SUSPECTED
    assert host.probed == [(PING, 0)]
    assert not host.health.is_suspected
    assert host.health.is_well


def test_a_refused_redirect_of_the_probe_is_a_sign_of_life() -> None:
    host = _Host(Failure(kind=FailureKind.REDIRECT_REFUSED, detail="x", status=302))
    run(host, *[host.fail] * SUSPECTED)
    assert host.states == [HostState.UP] * SUSPECTED


@pytest.mark.parametrize(
    "silence",
    [
        REFUSED,
        Failure(kind=FailureKind.DNS, detail="no such name"),
        Failure(kind=FailureKind.TIMEOUT, detail="silent for 30 s"),
        response(500),
        response(502),
        response(503),
        response(504),
    ],
)
def test_all_waiting_requests_learn_that_the_host_recovered(
    silence: Response | Failure,
) -> None:
    host = _Host(silence, silence, response(401))
    run(host, *[host.fail] * (SUSPECTED + 4), 0.5, 1)
    assert host.states == [HostState.UP] * (SUSPECTED - 1) + [HostState.RECOVERED] * 5
    assert host.probed == [(PING, 0), (PING, 0.5), (PING, 1.5)]
    assert not host.health.is_suspected


@pytest.mark.parametrize(
    ("probes", "seconds", "level"), [(1, "0.5", 20), (4, "7.5", 30)]
)
def test_only_an_outage_that_lasts_is_a_warning(
    probes: int, seconds: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "auditor.registry")
    host = _Host(*[response(503)] * probes, response(200))
    run(host, *[host.fail] * SUSPECTED, *[0.5] * 20)
    assert [
        record.levelno
        for record in caplog.records
        if record.message
        == f"registry.example.com: responds again after {seconds} s: 503"
    ] == [level]


def test_probes_back_off_until_the_host_is_given_up() -> None:
    host = _Host(REFUSED)
    run(host, *[host.fail] * SUSPECTED, *[0.5] * 100)
    times = [time for _, time in host.probed]
    assert times == [0, 0.5, 1.5, 3.5, 7.5, 12.5, 17.5, 22.5, 27.5, 32.5]
    given_up = host.states[-1]
    assert isinstance(given_up, Failure)
    assert given_up.kind is FailureKind.CONNECT
    assert given_up.detail == (
        "stopped requests to registry.example.com: no response for 32 s: connection"
        " refused"
    )


@pytest.mark.parametrize(
    ("answer", "has_served", "seconds"),
    [
        (response(503), True, 92.5),
        (response(503), False, 32.5),
        (response(502), True, 32.5),
        (REFUSED, True, 32.5),
    ],
    ids=["503", "503 from the first", "502", "no connection"],
)
def test_a_host_that_served_and_answers_503_is_probed_for_longer(
    answer: Response | Failure, seconds: float, *, has_served: bool
) -> None:
    """It can be one that allows so many requests a minute."""
    host = _Host(answer)
    host.health.has_responded, host.health.has_served = True, has_served
    run(host, *[host.fail] * SUSPECTED, *[0.5] * 300)
    assert isinstance(host.states[-1], Failure)
    assert host.probed[-1] == (PING, seconds)


# Until requests to the host stop, 32.5 s later.
UNTIL_GIVEN_UP: tuple[float, ...] = (0.5,) * 65


def test_requests_to_a_dead_host_fail_at_once_without_a_probe() -> None:
    host = _Host(REFUSED)
    run(
        host,
        *[host.fail] * SUSPECTED,
        *UNTIL_GIVEN_UP,
        *[host.ask] * 50,
        *[host.fail] * 5,
    )
    assert all(isinstance(one, Failure) for one in host.states[-55:])
    assert len(host.probed) == 10


def test_a_dead_host_is_probed_once_after_the_pause() -> None:
    host = _Host(REFUSED)
    run(host, *[host.fail] * SUSPECTED, *UNTIL_GIVEN_UP, DEAD_HOST_S, *[host.ask] * 20)
    assert len(host.probed) == 11
    assert all(isinstance(one, Failure) for one in host.states[-20:])


def test_a_dead_host_that_answers_a_probe_is_up() -> None:
    host = _Host(*[REFUSED] * 10, response(401))
    run(host, *[host.fail] * SUSPECTED, *UNTIL_GIVEN_UP, DEAD_HOST_S, host.ask)
    assert host.states[-1] is HostState.UP
    assert not host.health.is_suspected


def test_a_response_in_flight_ends_the_probing() -> None:
    host = _Host(REFUSED)
    run(host, *[host.fail] * SUSPECTED, partial(host.health.succeeded, 0), 0.5)
    assert host.states[-1] is HostState.RECOVERED
    assert len(host.probed) == 1


def test_the_first_probe_waits_for_the_hosts_retry_after() -> None:
    host = _Host(response(401))
    run(host, *[host.fail] * (SUSPECTED - 1), partial(host.fail, wait_s=20), 19, 1)
    assert host.probed == [(PING, 20)]


@pytest.mark.parametrize(
    "fields",
    [
        {"Retry_After": "12"},
        {"Retry_After": "1795479612"},  # the clock begins at 1795479600
        {"X_Retry_After": "1795479612000"},
    ],
)
def test_the_next_probe_waits_for_the_retry_after_of_the_last(
    fields: dict[str, Any],
) -> None:
    host = _Host(response(503, **fields), response(401))
    run(host, *[host.fail] * SUSPECTED, 11, 1)
    assert [time for _, time in host.probed] == [0, 12]
    assert host.states[-1] is HostState.RECOVERED


def test_a_host_is_left_alone_for_a_retry_after_beyond_the_patience() -> None:
    host = _Host(response(503, Retry_After="120"))
    run(host, *[host.fail] * SUSPECTED)
    given_up = host.states[-1]
    assert isinstance(given_up, Failure)
    assert given_up.status == 503
    run(host, 119, host.ask)
    assert len(host.probed) == 1
    run(host, 1, host.ask)
    assert len(host.probed) == 2


def test_without_a_probe_url_the_failed_url_is_probed() -> None:
    host = _Host(response(401), probe_url=None)
    run(host, *[host.fail] * SUSPECTED)
    assert host.probed == [(URL, 0)]


def test_without_retries_the_first_probe_decides() -> None:
    host = _Host(REFUSED)
    host.health = host.new_health(tries=1)
    run(host, *[host.fail] * SUSPECTED)
    assert isinstance(host.states[-1], Failure)
    assert len(host.probed) == 1


def test_another_request_probes_if_the_probing_one_is_cancelled() -> None:
    host = _Host(REFUSED, response(401))
    scopes: list[anyio.CancelScope] = []

    async def leader() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await host.fail()

    def cancel() -> None:
        scopes[0].cancel()

    run(host, *[host.fail] * (SUSPECTED - 1), leader, host.fail, cancel)
    assert host.states[SUSPECTED - 1 :] == [HostState.UP]
    assert len(host.probed) == 2


# -- silence -----------------------------------------------------------------------

SILENT = Failure(kind=FailureKind.TIMEOUT, detail="silent for 30 s")
APP = "https://registry.example.com/v2/team/app/manifests/1"
SAME = "https://registry.example.com/v2/team/app/tags/list?n=100"
OTHER = "https://registry.example.com/v2/team/other/manifests/1"
SILENCE_S = 30.0
ENOUGH = int(SILENCE_PATIENCE_S / SILENCE_S)


class _SilentHost(_Host):
    def __init__(self) -> None:
        super().__init__(response(401))

    def silent(self, url: str, times: int = 1, *, together: int = 1) -> None:
        for _ in range(times):
            sent_at = self.clock.now
            self.clock.now += SILENCE_S
            for _ in range(together):
                self.health.timed_out(url, SILENT, sent_at=sent_at)

    def refuses(self, url: str) -> bool:
        return self.health.refusal(url) is not None


def test_a_silent_repository_is_given_up_and_no_other() -> None:
    host = _SilentHost()
    host.silent(APP, ENOUGH - 1)
    assert not host.refuses(APP)
    host.silent(APP)
    assert host.refuses(APP)
    assert host.refuses(SAME)
    assert not host.refuses(OTHER)
    refusal = host.health.refusal(APP)
    assert refusal is not None
    assert refusal.kind is FailureKind.TIMEOUT
    assert refusal.attempts == 0
    assert refusal.detail == (
        "stopped requests to registry.example.com for this repository: it is up, but 10"
        " requests in a row timed out (300 s in all): silent for 30 s"
    )


def test_a_host_with_several_silent_repositories_is_given_up() -> None:
    host = _SilentHost()
    host.silent(APP, ENOUGH // 2)
    host.silent(OTHER, ENOUGH // 2)
    assert host.refuses(APP)
    assert host.refuses("https://registry.example.com/v2/new/manifests/1")


def test_requests_in_flight_together_count_as_one_silence() -> None:
    host = _SilentHost()
    host.silent(APP, ENOUGH - 1, together=8)
    assert not host.refuses(APP)


def test_pauses_between_requests_are_no_silence() -> None:
    host = _SilentHost()
    host.silent(APP)
    host.clock.now += 10 * SILENCE_PATIENCE_S
    host.silent(APP)
    assert not host.refuses(APP)


def test_a_response_ends_the_silence_of_its_repository() -> None:
    host = _SilentHost()
    host.silent(APP, ENOUGH - 1)
    host.health.responded(SAME)
    assert host.health.is_well
    host.silent(APP, ENOUGH - 1)
    assert not host.refuses(APP)


def test_a_response_of_one_repository_does_not_end_the_silence_of_another() -> None:
    host = _SilentHost()
    for _ in range(ENOUGH):
        host.silent(APP)
        host.health.responded(OTHER)
    assert host.refuses(APP)
    assert not host.refuses(OTHER)


def test_one_more_timeout_after_the_pause_gives_a_silent_repository_up_again() -> None:
    host = _SilentHost()
    host.silent(APP, ENOUGH)
    host.clock.now += DEAD_HOST_S
    assert not host.refuses(APP)
    host.silent(APP)
    assert host.refuses(APP)
    host.clock.now += DEAD_HOST_S
    host.health.responded(APP)
    assert not host.refuses(APP)
    host.silent(APP, ENOUGH - 1)
    assert not host.refuses(APP)
