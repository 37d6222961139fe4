"""What a service is waited for, as the progress shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, FailureReason
from auditor.registry.host_health import DEAD_HOST_S, FAILURES_IN_A_ROW
from auditor.registry.host_status import HostStatus, cause_of
from auditor.registry.request import RequestCounts, RequestKind, RequestSender
from auditor.wire.response import Response
from auditor.wire.retry_policy import THROTTLED_TRIES
from tests.clock import ManualClock, settle
from tests.responses import response

NAME = "registry.example.com"
URL = f"https://{NAME}/v2/app/manifests/1"
PING = f"https://{NAME}/v2/"
REFUSED = Failure(
    kind=FailureKind.CONNECT,
    detail="no connection: Connection refused",
    reason=FailureReason.CONNECTION_REFUSED,
)
GOOD = response(200)


class _Host:
    """A host with these outcomes, and what a person was told."""

    def __init__(self, *script: Response | Failure, is_awaited: bool = True) -> None:
        self.clock = ManualClock(random=0.0)
        self.script = list(script)
        self.told: list[str] = []
        transport: Any = self
        self.sender = RequestSender(
            NAME,
            settings=RegistrySettings(requests_at_once=8, tries=3),
            transport=transport,
            clock=self.clock,
            counts=RequestCounts(),
            probe_url=PING,
            notify=self.told.append if is_awaited else None,
        )

    async def request(self, method: str, url: str, **more: Any) -> Response | Failure:
        del method, url, more
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    async def ping(self) -> None:
        await self.sender.send(
            RequestKind.PING, "GET", PING, headers={}, max_bytes=9, max_attempts=6
        )

    async def get(self) -> None:
        await self.sender.send(
            RequestKind.MANIFEST, "GET", URL, headers={}, max_bytes=9
        )


def statuses(
    host: _Host, send: Callable[[], Any], *seconds: float
) -> list[HostStatus | None]:
    """The status at the start of a request, and after these seconds each."""
    found: list[HostStatus | None] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await settle()
            found.append(host.sender.status())
            for one in seconds:
                await host.clock.advance(one)
                found.append(host.sender.status())
            group.cancel_scope.cancel()

    anyio.run(main)
    return found


def status(text: str, **more: Any) -> HostStatus:
    return HostStatus(name=NAME, text=text, **more)


def test_a_host_that_answers_has_no_status() -> None:
    host = _Host(GOOD)
    assert statuses(host, host.get, 1) == [None, None]
    assert host.told == []


def test_the_pings_of_a_host_that_refuses_connections_are_told() -> None:
    host = _Host(REFUSED)
    found = statuses(host, host.ping, 0.3, 0.6)
    sentences = [
        f"retrying {NAME} (2 of 3): connection refused",
        f"retrying {NAME} (3 of 3): connection refused",
    ]
    assert host.told == sentences
    stopped = status(
        "not asked after connection refused", until=host.clock.epoch() + DEAD_HOST_S
    )
    assert found == [*map(status, sentences), stopped]


TIMEOUT = Failure(
    kind=FailureKind.TIMEOUT, detail="x", reason=FailureReason.CONNECT_TIMEOUT
)
DNS_DOWN = Failure(
    kind=FailureKind.DNS, detail="x", reason=FailureReason.LOOKUP_TIMEOUT
)


@pytest.mark.parametrize(
    ("failure", "takes_s", "is_awaited", "said"),
    [
        (TIMEOUT, 10, False, ["(2 of 3)", "(3 of 3)"]),
        # Six if they come at once, three if each is waited for.
        (DNS_DOWN, 10, False, ["(2)", "(3)"]),
        # A person does not wait for all of them.
        (TIMEOUT, 3, True, ["(2)", "(3)"]),
        (TIMEOUT, 5, True, ["(2)"]),
        (TIMEOUT, 10, True, []),
        (DNS_DOWN, 2, True, ["(2)", "(3)", "(4)"]),
    ],
)
def test_the_number_of_pings_that_is_told_is_the_one_that_is_sent(
    failure: Failure, takes_s: int, is_awaited: bool, said: list[str]
) -> None:
    host = _Host(failure, is_awaited=is_awaited)
    asked = 0

    async def later(*_: Any, **__: Any) -> Failure:
        nonlocal asked
        asked += 1
        await host.clock.sleep(takes_s)
        return failure

    host.request = later  # type: ignore[method-assign]
    found = statuses(host, host.ping, *[1] * 40)
    texts = [one.text for one in found if one is not None]
    assert asked == 1 + len(said)
    cause = f"{failure.reason}".replace("_", " ")
    sentences = [f"retrying {NAME} {one}: {cause}" for one in said]
    told = [one for one in dict.fromkeys(texts) if one.startswith("retrying")]
    assert told == sentences
    assert host.told == (sentences if is_awaited else [])


def test_a_host_that_answers_a_later_ping_has_no_status() -> None:
    host = _Host(response(503), GOOD)
    found = statuses(host, host.ping, 0.5)
    assert host.told == [f"retrying {NAME} (2 of 6): 503"]
    assert found[0] is not None
    assert found[1] == HostStatus(name=NAME, text="", at_once=4)


def test_a_wait_for_429_has_its_end() -> None:
    host = _Host(response(429, Retry_After="20"), GOOD)
    until = host.clock.epoch() + 20
    found = statuses(host, host.get, 19, 2)
    waiting = status("waiting for 429", until=until, at_once=4)
    assert found == [waiting, waiting, status("", at_once=4)]
    assert host.told == [f"retrying {NAME} (2 of {THROTTLED_TRIES}): 429"]


def test_a_silent_host_has_a_status_until_it_answers() -> None:
    host = _Host(GOOD)

    async def after_a_minute(*_: Any, **__: Any) -> Response:
        await host.clock.sleep(60)
        return GOOD

    host.request = after_a_minute  # type: ignore[method-assign]

    async def twice() -> None:
        await host.get()
        await host.clock.sleep(60)
        await host.get()

    found = statuses(host, twice, 4, 1, 54, 1, 59, 1, 4, 1)
    silent = [status(f"no answer for {seconds} s") for seconds in (5, 59, 5)]
    # Not while nothing is asked, and the silence of the second request begins with it.
    assert found == [None, None, *silent[:2], None, None, None, None, silent[2]]


def test_an_error_is_an_answer() -> None:
    host = _Host(GOOD)

    async def failing(*_: Any, **__: Any) -> Response:
        await host.clock.sleep(4)
        return response(500)

    host.request = failing  # type: ignore[method-assign]
    found = statuses(host, host.get, 4, 0, 4)
    assert all(one is None or "no answer" not in one.text for one in found)


def test_a_host_that_went_down_is_told_once() -> None:
    lost = Failure(kind=FailureKind.CONNECT, detail="closed")
    host = _Host(GOOD, *[lost] * FAILURES_IN_A_ROW, lost, lost, GOOD)

    async def both() -> None:
        await host.get()
        await host.get()

    found = statuses(host, both, 0, 0, 0.25, 5)
    assert host.told[-1] == f"waiting for {NAME}: connection lost"
    assert status("not responding for 0 s: connection lost") in found
    assert found[-1] == status("", at_once=4)


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (REFUSED, "connection refused"),
        (Failure(kind=FailureKind.SERVER_ERROR, detail="x", status=503), "503"),
        (Failure(kind=FailureKind.TIMEOUT, detail="x"), "timeout"),
        (
            Failure(
                kind=FailureKind.DNS, detail="x", reason=FailureReason.LOOKUP_TIMEOUT
            ),
            "lookup timeout",
        ),
    ],
)
def test_a_cause_is_a_few_words(failure: Failure, cause: str) -> None:
    assert cause_of(failure) == cause
