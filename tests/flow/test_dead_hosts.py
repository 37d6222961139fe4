"""Hosts that are down, restart, or fail in part: the cost, and what fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from auditor.errors import Failure
from auditor.model import FailureRecord
from auditor.registry.host_health import (
    DEAD_HOST_S,
    FAILURES_IN_A_ROW,
    PATIENCE_S,
    REFUSED_PATIENCE_S,
    SILENCE_PATIENCE_S,
)
from auditor.registry.retry_budget import RETRY_EARNED
from auditor.registry.transport.failures import failure_of
from auditor.registry.transport.http1_parser import SilentError
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.transport import Transport
from auditor.wire.response import Response
from tests.clock import FakeClock
from tests.flow.harness import MANIFESTS, TOKENS, Outcome, lab, service, simple
from tests.support.fault_actions import Action, Answer, Close

pytestmark = pytest.mark.anyio
NAMES = [f"team/app:{number}" for number in range(60)]
# The requests a dead host may cost: full slots with their retries, and the probes.
A_FEW = 40
# The default read timeout.
SILENCE_S = 30.0


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Lets requests whose URL starts with a prefix time out, by the fake clock alone.

    Returns the list of the URLs that timed out. Real time has no part in it, so that
    a slow machine changes nothing: the first `skip` requests have their responses,
    which end a silence, before the first one times out.
    """

    def start(clock: FakeClock, prefix: str, *, skip: int = 0) -> list[str]:
        send, urls, answered = Transport.request, list[str](), anyio.Event()
        expected = skip
        timeouts = Timeouts(connect_s=10, read_s=SILENCE_S, request_s=120)

        async def request(
            self: Transport, method: str, url: str, **arguments: Any
        ) -> Response | Failure:
            nonlocal skip, expected
            if not url.startswith(prefix):
                return await send(self, method, url, **arguments)
            skip -= 1
            if skip < 0:
                urls.append(url)
                if expected:
                    await answered.wait()
                await clock.sleep(SILENCE_S)
                return failure_of(SilentError(), url, timeouts)
            outcome = await send(self, method, url, **arguments)
            expected -= 1
            if not expected:
                answered.set()
            return outcome

        monkeypatch.setattr(Transport, "request", request)
        return urls

    return start


def _details(outcome: Outcome) -> list[str]:
    return [one.detail for one in outcome.records if isinstance(one, FailureRecord)]


@pytest.mark.parametrize(
    "fault", [Close(), Close(reset=True), Answer(503), Answer(502), Answer(504)]
)
async def test_a_registry_restart_costs_no_reference(
    fault: Action,
) -> None:
    async with lab(simple(NAMES)) as here:
        # Lost: all eight in flight, and probes.
        here.faults.on("GET", "/v2/*", *[fault] * 13, skip=30)
        outcome = await here.audit(*map(here.ref, NAMES))
        here.faults.assert_used_up()
        assert here.faults.count("GET", "/v2/") >= 2
    assert outcome.kinds == ["image"] * 60


async def test_a_registry_restart_costs_no_reference_with_one_worker() -> None:
    async with lab(simple(NAMES)) as here:
        fault = [Answer(503)] * (FAILURES_IN_A_ROW + 5)
        here.faults.on("GET", "/v2/*", *fault, skip=30)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        here.faults.assert_used_up()
        assert here.faults.count("GET", "/v2/") == 1 + 6
    assert outcome.kinds == ["image"] * 60


@pytest.mark.parametrize(
    ("fault", "patience_s"),
    [
        (Close(), PATIENCE_S),
        (Answer(502), PATIENCE_S),
        (Answer(503), REFUSED_PATIENCE_S),  # it may be a limit of requests a minute
    ],
    ids=["closed", "502", "503"],
)
async def test_the_references_of_a_dead_registry_fail_at_once(
    fault: Action, patience_s: float
) -> None:
    async with lab(simple(NAMES)) as dying, lab(simple(NAMES)) as living:
        dying.faults.on("GET", "/v2/*", fault, skip=30, forever=True)
        outcome = await dying.audit(
            *map(dying.ref, NAMES), *map(living.ref, NAMES), workers=4
        )
        assert dying.faults.count() <= 30 + A_FEW
        assert living.faults.count("GET", MANIFESTS) == 60
    assert outcome.kinds[60:] == ["image"] * 60
    assert 5 <= outcome.kinds[:60].count("image") <= 15
    (sentence,) = {detail.partition(": ")[0] for detail in _details(outcome)}
    assert sentence == f"stopped requests to {dying.host}"
    # One after the other would take minutes.
    assert dying.clock.now - 1000 < patience_s + 30


async def test_a_dead_registry_is_tried_again_after_a_pause() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", MANIFESTS, Close(), skip=10, forever=True)
        here.faults.on("GET", "/v2/", Close(), skip=1, forever=True)
        outcome = await here.audit(
            *map(here.ref, NAMES), workers=2, requests_at_once=16
        )
        # No request waits for those 30 s: they pass before the next audit.
        failed = outcome.kinds.count("connect")
        assert 0 < failed < 60
        here.clock.now += DEAD_HOST_S
        here.faults.rules.clear()
        again = await here.audit(*map(here.ref, NAMES), requests_at_once=16)
    assert again.kinds == ["image"] * 60


async def test_a_failing_repository_does_not_affect_others() -> None:
    names = [f"team/{name}:{tag}" for tag in range(60) for name in ("bad", "good")]
    async with lab(simple(names)) as here:
        here.faults.on("GET", "/v2/team/bad/manifests/*", Answer(500), forever=True)
        outcome = await here.audit(*map(here.ref, names))
        # Each once, the budget (see below), and what the good requests earn: a manifest
        # and a config each. That is less than three attempts each.
        earned = int(60 * 2 * RETRY_EARNED)
        assert here.faults.count("GET", "/v2/team/bad/*") <= 60 + 64 + earned < 60 * 3
    assert outcome.kinds == ["server_error", "image"] * 60


async def test_the_retry_budget_bounds_the_retries_of_an_audit() -> None:
    names = [f"team/bad:{tag}" for tag in range(200)]
    async with lab(simple(names)) as here:
        here.faults.on("GET", MANIFESTS, Answer(500), forever=True)
        outcome = await here.audit(*map(here.ref, names))
        # Each once, and the budget: 4 rounds of 4 slots with 2 retries each.
        assert here.faults.count("GET", MANIFESTS) == 200 + 32
    assert outcome.kinds == ["server_error"] * 200


async def test_a_dead_token_service_does_not_affect_its_registry() -> None:
    names = [f"team/app{number}:1" for number in range(60)]
    async with lab(simple(names), tokens=service()) as here:
        here.faults.on("GET", TOKENS, Answer(503), skip=10, forever=True)
        outcome = await here.audit(*map(here.ref, names), workers=4)
        assert here.faults.count("GET", TOKENS) <= 10 + A_FEW
        # The registry itself is never probed, and references with a token are audited.
        assert here.faults.count("GET", "/v2/") == 1
    assert outcome.kinds.count("image") == 10
    assert outcome.kinds.count("server_error") == 50
    sentence = (
        f"stopped requests to the token service of {here.host}: no response for 9"
    )
    assert sum(detail.startswith(sentence) for detail in _details(outcome)) >= 45


async def test_a_token_service_restart_costs_no_reference() -> None:
    names = [f"team/app{number}:1" for number in range(60)]
    async with lab(simple(names), tokens=service()) as here:
        here.faults.on("GET", TOKENS, *[Close()] * 12, skip=10)
        outcome = await here.audit(*map(here.ref, names), workers=4)
        here.faults.assert_used_up()
        tokens = here.faults.requests("GET", TOKENS)
        # Probes are sent without the password.
        assert any("Authorization" not in one.headers for one in tokens)
    assert outcome.kinds == ["image"] * 60


async def test_a_host_that_answers_only_its_ping_gets_no_more_requests(
    silence: Callable[..., list[str]],
) -> None:
    names = [f"team/app{number % 9}:{number}" for number in range(200)]
    async with lab(simple(names)) as silent, lab(simple(names)) as living:
        requests = f"http://{silent.host}/v2/team/"
        timed_out = silence(silent.clock, requests, skip=20)
        outcome = await silent.audit(*map(silent.ref, names), *map(living.ref, names))
        # Ten silences, and what is in flight with the last of them.
        silences = SILENCE_PATIENCE_S / SILENCE_S
        assert silences <= len(timed_out) <= silences + 8
    assert outcome.kinds[200:] == ["image"] * 200
    # An image whose config times out is a timeout, too.
    assert outcome.kinds[:200].count("timeout") >= 180
    assert {*outcome.kinds[:200]} == {"image", "timeout"}
    stopped = f"stopped requests to {silent.host}: it is up, but "
    assert sum(detail.startswith(stopped) for detail in _details(outcome)) > 160


async def test_a_silent_repository_gets_no_more_requests_and_the_others_are_audited(
    silence: Callable[..., list[str]],
) -> None:
    names = [f"team/{name}:{tag}" for tag in range(60) for name in ("silent", "good")]
    async with lab(simple(names)) as here:
        timed_out = silence(here.clock, f"http://{here.host}/v2/team/silent/")
        outcome = await here.audit(*map(here.ref, names))
        assert len(timed_out) <= SILENCE_PATIENCE_S / SILENCE_S + 8
    assert outcome.kinds == ["timeout", "image"] * 60
    stopped = f"stopped requests to {here.host} for this repository: it is up, but "
    assert sum(detail.startswith(stopped) for detail in _details(outcome)) > 40
