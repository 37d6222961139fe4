"""The request loop, with a scripted transport and a manual clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import Any

import anyio
import pytest

from auditor.config import RegistrySettings
from auditor.config.requests_at_once import DEFAULT_REQUESTS_AT_ONCE, RequestsAtOnce
from auditor.errors import Failure, FailureKind
from auditor.model import Access, AccessState
from auditor.registry.auth.authorization import (
    ANONYMOUS,
    Authorization,
    CachedToken,
    TokenKey,
)
from auditor.registry.concurrency_limiter import HostLimiters
from auditor.registry.host_health import PATIENCE_S
from auditor.registry.request import RequestCounts, RequestKind, RequestSender
from auditor.registry.transport.connection_budget import ConnectionBudget
from auditor.wire.challenge import Challenge
from auditor.wire.response import Response
from auditor.wire.retry_policy import MAX_REAUTHENTICATIONS
from tests.clock import ManualClock, settle
from tests.responses import response

URL = "https://registry.example.com/v2/app/manifests/1"
PING = "https://registry.example.com/v2/"
BEARER = 'Bearer realm="https://auth.example.com/token"'
KEY = TokenKey(namespace="", realm="", service=None, scope=None)
LIFE_S = 60.0
ACCESS = Access(
    state=AccessState.GRANTED,
    actions=("pull",),
    subject=None,
    issuer=None,
    verified=False,
    credential=None,
)


class _ScriptedHost:
    """A host that answers by script, and an authorizer with tokens t1, t2, ..."""

    def __init__(
        self,
        *script: Response | Failure,
        anonymous: bool = False,
        descriptors: int = 16,
        bounds: RequestsAtOnce | None = None,
    ) -> None:
        self.clock = ManualClock(random=0.0)
        self.script = list(script)
        self.sent: list[str | None] = []
        self.urls: list[str] = []
        self.challenges: list[Challenge | None] = []
        self.tokens = 0
        self.renewals = 100
        self.anonymous_token: str | None = None
        self.elsewhere_asked: list[str] = []
        self.last: CachedToken | None = None
        self.probes: list[Response | Failure] = []
        self.probed: list[str] = []
        self.anonymous = anonymous
        self.counts = RequestCounts()
        transport: Any = self
        self.budget = ConnectionBudget(descriptors if bounds is None else 8000)
        limiters = HostLimiters(budget=self.budget, clock=self.clock)
        at_once = 2 if bounds is None else bounds
        settings = RegistrySettings(requests_at_once=at_once, tries=3)
        self.concurrency = limiters.of(URL, settings.concurrency)[1]
        self.sender = RequestSender(
            "registry.example.com",
            settings=settings,
            limiters=limiters,
            transport=transport,
            clock=self.clock,
            counts=self.counts,
            budget=self.budget,
            credential_base="https://registry.example.com",
            probe_url=PING,
        )

    async def request(self, method: str, url: str, **more: Any) -> Response | Failure:
        if url == PING:
            return await self.probe(url)
        self.sent.append(more["headers"].get("Authorization"))
        self.urls.append(url)
        return self.script.pop(0)

    async def probe(self, url: str) -> Response | Failure:
        self.probed.append(url)
        return self.probes.pop(0) if self.probes else response(401, url=url)

    def cached(self) -> Authorization | None:
        return None

    async def authorization(self) -> Authorization | Failure:
        if self.anonymous:
            return ANONYMOUS
        self.tokens += 1
        now = self.clock.monotonic()
        header = f"Bearer t{self.tokens}"
        token = CachedToken(
            key=KEY,
            authorization=header,
            access=ACCESS,
            obtained_at=now,
            expires_at=now + LIFE_S,
            on_trial=True,
        )
        self.last = token
        return Authorization(header=header, access=ACCESS, token=token)

    async def after_401(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure | None:
        self.challenges.append(challenge)
        if len(self.challenges) > self.renewals:
            return None
        self.anonymous = False
        return await self.authorization()

    async def elsewhere(
        self, refused: Authorization, challenge: Challenge, url: str
    ) -> Authorization | None:
        self.elsewhere_asked.append(url)
        if self.anonymous_token in {None, refused.header}:
            return None
        return Authorization(header=self.anonymous_token, access=ACCESS, url=url)

    async def send(
        self, *, authorized: bool = True, accepted_statuses: Container[int] = ()
    ) -> Response | Failure:
        return await self.sender.send(
            RequestKind.MANIFEST,
            "GET",
            URL,
            headers={"Accept": "*/*"},
            max_bytes=100,
            authorizer=self if authorized else None,
            accepted_statuses=accepted_statuses,
        )


def outcome(host: _ScriptedHost, *advances_s: float) -> Response | Failure:
    """The outcome of one request while the clock advances by these steps."""
    got: list[Response | Failure] = []

    async def ask() -> None:
        got.append(await host.send())

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await settle()
            for seconds in advances_s:
                await host.clock.advance(seconds)

    anyio.run(main)
    return got[0]


def test_a_good_response_takes_one_request_with_its_token() -> None:
    host = _ScriptedHost(response(200, url=URL))
    assert isinstance(outcome(host), Response)
    assert host.sent == ["Bearer t1"]
    assert host.counts.sent == {"manifest": 1}


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
@pytest.mark.parametrize("authorized", [True, False])
def test_any_2xx_is_returned_at_once(status: int, authorized: bool) -> None:
    async def main() -> None:
        good = response(status, url=URL)
        host = _ScriptedHost(good)
        assert await host.send(authorized=authorized) is good
        assert len(host.sent) == 1
        assert host.counts.repeated == {}

    anyio.run(main)


@pytest.mark.parametrize("status", [401, 404, 429, 500, 301])
@pytest.mark.parametrize("authorized", [True, False])
def test_an_accepted_status_is_returned_whatever_else_it_means(
    status: int, authorized: bool
) -> None:
    async def main() -> None:
        fields = {"WWW_Authenticate": BEARER, "Retry_After": "5"}
        good = response(status, url=URL, **fields)  # type: ignore[arg-type]
        host = _ScriptedHost(good)
        assert (
            await host.send(authorized=authorized, accepted_statuses={status}) is good
        )
        assert len(host.sent) == 1
        assert (host.challenges, host.counts.repeated) == ([], {})

    anyio.run(main)


@pytest.mark.parametrize("status", [199, 300, 416])
def test_any_other_status_is_a_failure(status: int) -> None:
    async def main() -> None:
        host = _ScriptedHost(response(status, url=URL))
        found = await host.send(accepted_statuses={404})
        assert isinstance(found, Failure)
        assert found.status == status

    anyio.run(main)


def test_the_401_is_the_failure_if_there_is_no_other_authorization() -> None:
    refused = response(401, url=URL, WWW_Authenticate=BEARER)
    host = _ScriptedHost(refused, refused, anonymous=True)
    host.renewals = 1
    found = outcome(host)
    assert isinstance(found, Failure)
    assert (found.kind, found.attempts) == (FailureKind.DENIED, 2)
    assert host.sent == [None, "Bearer t1"]
    assert host.counts.repeated["unauthorized"] == 2


def test_a_host_that_refuses_every_token_is_not_asked_for_ever() -> None:
    refused = response(401, url=URL, WWW_Authenticate=BEARER)
    host = _ScriptedHost(*[refused] * 100)
    found = outcome(host)
    assert isinstance(found, Failure)
    assert found.kind is FailureKind.DENIED
    assert len(host.sent) == 1 + MAX_REAUTHENTICATIONS


@pytest.mark.parametrize(
    ("status", "on_trial"),
    [(200, False), (404, False), (403, False), (401, True), (429, True), (503, True)],
)
def test_a_response_that_shows_acceptance_ends_the_trial_of_a_token(
    status: int, on_trial: bool
) -> None:
    host = _ScriptedHost(*[response(status, url=URL)] * 100)
    host.renewals = 0
    outcome(host, *[60.0] * 10)
    assert host.last is not None
    assert host.last.on_trial is on_trial


OTHER = "https://other.example.net/v2/team/app/manifests/1"


@pytest.mark.parametrize("challenge", [BEARER, "Basic realm=x", ""])
def test_a_challenge_of_a_redirect_target_gets_no_login(challenge: str) -> None:
    elsewhere = response(401, url=OTHER, WWW_Authenticate=challenge)
    for anonymous in (True, False):
        host = _ScriptedHost(elsewhere, anonymous=anonymous)
        found = outcome(host)
        assert isinstance(found, Failure)
        assert found.kind is FailureKind.DENIED
        assert found.detail.startswith(
            "other.example.net, to which the registry redirects, rejected the login"
        )
        assert host.challenges == []
        assert host.sent == [None if anonymous else "Bearer t1"]
        assert host.elsewhere_asked == ([OTHER] if challenge == BEARER else [])


def test_an_anonymous_token_is_sent_to_the_redirect_target_only() -> None:
    elsewhere = response(401, url=OTHER, WWW_Authenticate=BEARER)
    busy = response(503, url=OTHER)
    host = _ScriptedHost(elsewhere, busy, elsewhere, response(200, url=OTHER))
    host.anonymous_token = "Bearer anonymous"
    found = outcome(host, 60)
    assert isinstance(found, Response)
    assert list(zip(host.urls, host.sent, strict=True)) == [
        (URL, "Bearer t1"),
        (OTHER, "Bearer anonymous"),
        (URL, "Bearer t2"),  # never to the other host
        (OTHER, "Bearer anonymous"),
    ]


def test_a_refused_anonymous_token_is_final() -> None:
    elsewhere = response(401, url=OTHER, WWW_Authenticate=BEARER)
    host = _ScriptedHost(*[elsewhere] * 9)
    host.anonymous_token = "Bearer anonymous"
    assert isinstance(outcome(host), Failure)
    assert host.urls == [URL, OTHER]


@pytest.mark.parametrize(
    ("bounds", "most"), [(DEFAULT_REQUESTS_AT_ONCE, 8), (RequestsAtOnce(1, 32), 32)]
)
def test_a_name_that_redirects_to_a_public_registry_gets_as_few_requests(
    bounds: RequestsAtOnce, most: int
) -> None:
    def most_after(url: str) -> int:
        host = _ScriptedHost(response(200, url=url), bounds=bounds)
        anyio.run(host.send)
        return host.concurrency.control.most

    assert most_after("https://ghcr.io/v2/team/app/manifests/1") == most
    assert most_after("https://cdn.example.com/layer") == bounds.most
    assert most_after(URL) == bounds.most


@pytest.mark.parametrize(
    ("wait_s", "sent"),
    [(10, ["Bearer t1", "Bearer t2"]), (90, ["Bearer t1", "Bearer t3"])],
)
def test_a_token_that_expired_while_held_back_is_not_sent(
    wait_s: int, sent: list[str]
) -> None:
    host = _ScriptedHost(
        response(429, url=URL, Retry_After=str(wait_s)), response(200, url=URL)
    )
    assert isinstance(outcome(host, wait_s), Response)
    assert host.sent == sent
    assert host.counts == RequestCounts(Counter(manifest=2), Counter(retries=1))


def test_a_401_on_a_token_that_aged_in_the_queue_is_answered() -> None:
    refused = response(401, url=URL, WWW_Authenticate=BEARER)
    host = _ScriptedHost(refused, response(200, url=URL))
    host.concurrency.hold_back(30)
    assert isinstance(outcome(host, 30), Response)
    assert host.sent == ["Bearer t1", "Bearer t2"]


def test_no_slot_is_held_while_waiting_for_a_retry() -> None:
    async def main() -> None:
        broken = Failure(kind=FailureKind.CONNECT, detail="x")
        host = _ScriptedHost(
            broken, broken, response(200, url=URL), response(200, url=URL)
        )
        async with anyio.create_task_group() as group:
            group.start_soon(host.send)
            group.start_soon(host.send)
            await settle()
            assert len(host.sent) == 2
            for _ in range(2):
                await host.concurrency.acquire()
                host.concurrency.release()
            await host.clock.advance(60)

    anyio.run(main)


@pytest.mark.parametrize(
    "first",
    [response(503), response(500), Failure(kind=FailureKind.CONNECT, detail="x")],
)
def test_no_request_takes_the_slot_of_one_in_distress(
    first: Response | Failure,
) -> None:
    """It would be one too many, and lower the limit again if it is refused, too."""

    async def main() -> None:
        host = _ScriptedHost(bounds=RequestsAtOnce.fixed(4))
        answers: list[anyio.Event] = []

        async def held(*_: Any, **__: Any) -> Response | Failure:
            answers.append(anyio.Event())
            number = len(answers)
            await answers[-1].wait()
            return first if number == 1 else response(200, url=URL)

        host.request = held  # type: ignore[method-assign]
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(host.send)
            await settle()
            assert len(answers) == 4
            answers[0].set()
            await settle()
            assert (len(answers), host.concurrency.limit) == (4, 2)
            for answer in answers[1:3]:
                answer.set()
            await settle()
            assert len(answers) == 5
            group.cancel_scope.cancel()

    anyio.run(main)


def test_without_an_authorizer_a_401_is_final() -> None:
    async def main() -> Response | Failure:
        host = _ScriptedHost(response(401, url=URL, WWW_Authenticate=BEARER))
        return await host.send(authorized=False)

    found = anyio.run(main)
    assert isinstance(found, Failure)
    assert found.status == 401


# -- when the host is down -------------------------------------------------------

REFUSED = Failure(kind=FailureKind.CONNECT, detail="connection refused")


def test_attempts_during_an_outage_do_not_count() -> None:
    host = _ScriptedHost(*[REFUSED] * 5, response(200, url=URL))
    # Down for three failures and one probe; the two failures after that count.
    host.probes = [REFUSED, response(401)]
    assert isinstance(outcome(host, *[1] * 10), Response)
    assert host.probed == [PING, PING]
    assert len(host.sent) == 6
    assert host.counts.repeated["retries"] == 5


def test_a_request_does_not_restart_without_end() -> None:
    host = _ScriptedHost(*[REFUSED] * 50)
    host.probes = [REFUSED, response(401)] * 25
    found = outcome(host, *[1] * 50)
    assert isinstance(found, Failure)
    assert found.detail == "connection refused"
    assert len(host.sent) < 15


def test_a_request_fails_after_its_attempts_if_the_host_is_up() -> None:
    broken = response(500, url=URL)
    host = _ScriptedHost(broken, broken, broken)
    found = outcome(host, 1, 1, 1)
    assert isinstance(found, Failure)
    assert (found.kind, found.attempts) == (FailureKind.SERVER_ERROR, 3)
    assert host.probed == [PING]


def test_requests_in_the_queue_of_a_dead_host_are_not_sent() -> None:
    async def main() -> None:
        host = _ScriptedHost(*[REFUSED] * 6)
        host.probes = [REFUSED] * 99
        got: list[Response | Failure] = []

        async def ask() -> None:
            got.append(await host.send())

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask)
            for _ in range(100):
                await settle()
                await host.clock.advance(1)
        assert len(got) == 20
        details = {one.detail for one in got if isinstance(one, Failure)}
        assert len(details) == 1
        assert (
            "stopped requests to registry.example.com: no response for" in details.pop()
        )
        # Two slots: requests sent before the third failure, and none after it.
        assert len(host.sent) <= 4
        never_sent = [
            one for one in got if isinstance(one, Failure) and not one.attempts
        ]
        assert len(never_sent) >= 16

    anyio.run(main)


def test_retries_end_with_the_retry_budget() -> None:
    async def main() -> list[int]:
        host = _ScriptedHost(*[response(500, url=URL)] * 200)
        for _ in range(30):
            async with anyio.create_task_group() as group:
                group.start_soon(host.send)
                for _ in range(4):
                    await settle()
                    await host.clock.advance(1)
        found = await host.send()
        assert isinstance(found, Failure)
        assert found.detail.endswith("not retried: too many requests to this host fail")
        return [len(host.sent), host.counts.repeated["retries"]]

    # 31 requests, and the budget of 4 rounds of 2 slots with 2 retries each.
    assert anyio.run(main) == [31 + 16, 16]


def test_failures_between_good_responses_send_no_probe() -> None:
    script = [
        failure for _ in range(6) for failure in (_BROKEN, response(200, url=URL))
    ]
    host = _ScriptedHost(*script)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(host.send)
                await settle()
                await host.clock.advance(60)
                await settle()

    anyio.run(main)
    assert host.script == []
    assert host.probed == []


_BROKEN = Failure(kind=FailureKind.CONNECT, detail="broke")


# -- when this program is short of connections -------------------------------------

NO_DESCRIPTOR = Failure(kind=FailureKind.INTERRUPTED, detail="too many open files")


def test_a_lack_of_descriptors_says_nothing_about_the_host() -> None:
    host = _ScriptedHost(*[NO_DESCRIPTOR] * 4, response(200, url=URL))
    for _ in range(4):
        assert outcome(host) is not None
    assert isinstance(outcome(host), Response)
    assert host.probed == []
    assert len(host.sent) == 5
    assert host.concurrency.limit == 2


def test_failures_before_and_after_a_lack_of_descriptors_are_in_a_row() -> None:
    # The lack is no sign of life either: two failures, the lack, and the third.
    host = _ScriptedHost(REFUSED, REFUSED, NO_DESCRIPTOR, REFUSED, response(200))
    assert isinstance(outcome(host, 1, 1), Failure)
    assert host.probed == []
    assert isinstance(outcome(host, 1, 1), Response)
    assert host.probed == [PING]


def test_a_ping_without_a_descriptor_does_not_close_the_host() -> None:
    async def main() -> None:
        host = _ScriptedHost(response(200, url=URL))
        host.probes = [NO_DESCRIPTOR]
        found = await host.sender.send(
            RequestKind.PING, "GET", PING, headers={}, max_bytes=100
        )
        assert isinstance(found, Failure)
        assert isinstance(await host.send(), Response)

    anyio.run(main)


def test_a_probe_that_waits_for_a_connection_gives_no_host_up() -> None:
    async def main() -> None:
        got: list[Response | Failure] = []

        class Host(_ScriptedHost):
            async def request(
                self, method: str, url: str, **more: Any
            ) -> Response | Failure:
                if len(self.sent) == 2 and url == URL:
                    # Another host waits for the only connection, and gets it next.
                    group.start_soon(self.budget.requests.acquire)
                    await settle()
                return await super().request(method, url, **more)

        async def ask() -> None:
            got.append(await host.send())

        host = Host(*[REFUSED] * 3, response(200, url=URL), descriptors=2)
        host.probes = [REFUSED, response(401)]
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            for _ in range(10):
                await settle()
                await host.clock.advance(PATIENCE_S)
            assert (len(host.sent), host.probed) == (3, [])
            host.budget.requests.release()
            for _ in range(5):
                await settle()
                await host.clock.advance(1)
        assert isinstance(got[0], Response)
        assert host.probed == [PING, PING]

    anyio.run(main)
