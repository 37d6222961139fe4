"""Tokens are shared, renewed in time, and refused only as often as is decent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
import pytest

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind
from auditor.model import Access, AccessState
from auditor.registry.auth import authorization
from auditor.registry.auth.authorization import (
    REFUSAL_HOLD_S,
    RENEW_AFTER,
    Authorization,
    HeldToken,
    TokenKey,
    TokenStore,
)
from auditor.registry.auth.scope_auth import HostAuth
from auditor.registry.host_plan import HostPlan
from auditor.wire.challenge import Challenge, pull_scope
from tests.clock import ManualClock, settle
from tests.flow.harness import FakeClock

ACCESS = Access(
    state=AccessState.GRANTED,
    actions=("pull",),
    subject=None,
    issuer=None,
    verified=False,
    credential=None,
)
REFUSED = Failure(kind=FailureKind.DENIED, detail="no")
BROKEN = Failure(kind=FailureKind.SERVER_ERROR, detail="broken")
LIFE_S = 100.0
RENEW_S = RENEW_AFTER * LIFE_S


def key(name: str = "app", part: str = "") -> TokenKey:
    return TokenKey(
        part=part,
        realm="https://auth.example.com/token",
        service="registry",
        scope=f"repository:{name}:pull",
    )


class _Service:
    """A token service: each request gives what `answers` says next, or a token."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.asked: list[TokenKey] = []
        self.answers: list[Failure] = []
        self.gate = anyio.Event()
        self.gate.set()
        self.store = TokenStore(self._fetch, clock=self.clock)

    async def _fetch(self, wanted: TokenKey) -> HeldToken | Failure:
        self.asked.append(wanted)
        number = len(self.asked)
        sent_at = self.clock.monotonic()
        failure = self.answers.pop(0) if self.answers else None
        await self.gate.wait()
        return failure or HeldToken(
            authorization=f"Bearer {number}",
            access=ACCESS,
            obtained_at=sent_at,
            expires_at=sent_at + LIFE_S,
        )

    async def get(self, wanted: TokenKey | None = None) -> str | FailureKind:
        found = await self.store.get(wanted or key())
        if isinstance(found, Failure):
            return found.kind
        return found.authorization.removeprefix("Bearer ")


def with_service(test: Callable[[_Service], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(_Service())

    anyio.run(main)


# -- sharing -------------------------------------------------------------------


def test_a_token_is_asked_for_once_by_all_who_want_it_at_once() -> None:
    async def test(service: _Service) -> None:
        service.gate = anyio.Event()
        got: list[object] = []

        async def ask() -> None:
            got.append(await service.get())

        async with anyio.create_task_group() as group:
            for _ in range(500):
                group.start_soon(ask)
            await settle()
            assert not service.store.wanted(key())
            service.gate.set()
        assert got == ["1"] * 500
        assert len(service.asked) == 1

    with_service(test)


def test_a_cancelled_request_is_taken_over() -> None:
    async def test(service: _Service) -> None:
        service.gate = anyio.Event()
        leader = anyio.CancelScope()
        got: list[object] = []

        async def lead() -> None:
            with leader:
                await service.get()

        async def ask() -> None:
            got.append(await service.get())

        async with anyio.create_task_group() as group:
            group.start_soon(lead)
            await settle()
            for _ in range(500):
                group.start_soon(ask)
            await settle()
            leader.cancel()
            await settle()
            service.gate.set()
        assert got == ["2"] * 500
        assert len(service.asked) == 2

    with_service(test)


def test_tokens_differ_by_everything_that_makes_them_differ() -> None:
    async def test(service: _Service) -> None:
        keys = [key(), key("other"), key(part="team")]
        assert [await service.get(one) for one in keys] == ["1", "2", "3"]
        assert [await service.get(one) for one in keys] == ["1", "2", "3"]

    with_service(test)


# -- renewal -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_s", "got", "wanted"),
    [
        (0, "1", False),
        (RENEW_S - 0.01, "1", False),
        (RENEW_S, "2", True),
        (LIFE_S - 0.01, "2", True),
        (LIFE_S, "2", True),
        (10 * LIFE_S, "2", True),
    ],
)
def test_a_token_is_renewed_before_it_expires(
    age_s: float, got: str, wanted: bool
) -> None:
    async def test(service: _Service) -> None:
        assert service.store.wanted(key())
        await service.get()
        await service.clock.advance(age_s)
        assert service.store.wanted(key()) is wanted
        assert await service.get() == got
        assert not service.store.wanted(key())

    with_service(test)


def test_the_old_token_serves_while_its_successor_is_on_the_way() -> None:
    async def test(service: _Service) -> None:
        await service.get()
        await service.clock.advance(RENEW_S)
        service.gate = anyio.Event()
        got: list[object] = []

        async def ask() -> None:
            got.append(await service.get())

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await settle()
            for _ in range(10):
                assert await service.get() == "1"
            await service.clock.advance(LIFE_S - RENEW_S)
            group.start_soon(ask)  # now the old one is no good any more
            await settle()
            assert got == []
            service.gate.set()
        assert got == ["2", "2"]
        assert len(service.asked) == 2

    with_service(test)


@pytest.mark.parametrize("failure", [REFUSED, BROKEN])
def test_a_renewal_that_fails_leaves_the_old_token_to_its_end(failure: Failure) -> None:
    async def test(service: _Service) -> None:
        await service.get()
        await service.clock.advance(RENEW_S)
        service.answers = [failure] * 10
        for _ in range(5):
            assert await service.get() == "1"
        await service.clock.advance(LIFE_S - RENEW_S)
        assert await service.get() is failure.kind

    with_service(test)


def test_a_renewal_that_was_refused_is_not_asked_for_again_so_soon() -> None:
    async def test(service: _Service) -> None:
        await service.get()
        await service.clock.advance(RENEW_S)
        service.answers = [REFUSED]
        for _ in range(5):
            assert await service.get() == "1"
            assert not service.store.wanted(key())
        assert len(service.asked) == 2
        await service.clock.advance(REFUSAL_HOLD_S)
        assert await service.get() == "3"

    with_service(test)


# -- refusals ------------------------------------------------------------------


def test_a_refusal_is_held_and_then_asked_again() -> None:
    async def test(service: _Service) -> None:
        service.answers = [REFUSED]
        for _ in range(5):
            assert await service.get() is FailureKind.DENIED
        assert not service.store.wanted(key())
        await service.clock.advance(REFUSAL_HOLD_S - 0.01)
        assert await service.get() is FailureKind.DENIED
        assert len(service.asked) == 1
        await service.clock.advance(0.01)
        assert service.store.wanted(key())
        assert await service.get() == "2"

    with_service(test)


def test_a_refusal_holds_for_its_own_key_only() -> None:
    async def test(service: _Service) -> None:
        service.answers = [REFUSED]
        assert await service.get() is FailureKind.DENIED
        assert await service.get(key("other")) == "2"

    with_service(test)


def test_a_failure_that_may_pass_is_not_held() -> None:
    async def test(service: _Service) -> None:
        service.answers = [BROKEN]
        assert await service.get() is FailureKind.SERVER_ERROR
        assert await service.get() == "2"

    with_service(test)


def test_everybody_who_waited_gets_the_failure() -> None:
    async def test(service: _Service) -> None:
        service.answers = [BROKEN]
        service.gate = anyio.Event()
        got: list[object] = []

        async def ask() -> None:
            got.append(await service.get())

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask)
            await settle()
            service.gate.set()
        assert got == [FailureKind.SERVER_ERROR] * 20
        assert len(service.asked) == 1

    with_service(test)


# -- discarding ----------------------------------------------------------------


async def _held(service: _Service) -> HeldToken:
    found = await service.store.get(key())
    assert isinstance(found, HeldToken)
    return found


def test_a_discarded_token_is_not_used_again() -> None:
    async def test(service: _Service) -> None:
        service.store.discard(key(), await _held(service))
        assert service.store.wanted(key())
        assert await service.get() == "2"

    with_service(test)


def test_only_the_token_that_was_sent_is_discarded() -> None:
    async def test(service: _Service) -> None:
        old = await _held(service)
        await service.clock.advance(LIFE_S)
        assert await service.get() == "2"
        service.store.discard(key(), old)
        assert await service.get() == "2"
        service.store.discard(key("unknown"), old)

    with_service(test)


def test_a_discarded_token_does_not_serve_on_after_a_refused_renewal() -> None:
    async def test(service: _Service) -> None:
        old = await _held(service)
        await service.clock.advance(RENEW_S)
        service.answers = [REFUSED]
        assert await service.get() == "1"
        service.store.discard(key(), old)
        assert await service.get() is FailureKind.DENIED

    with_service(test)


# -- bounds and secrecy --------------------------------------------------------


def test_no_more_than_so_many_tokens_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorization, "MAX_TOKENS", 10)

    async def test(service: _Service) -> None:
        names = [key(str(number)) for number in range(25)]
        for name in names:
            await service.get(name)
        held = [name for name in names if not service.store.wanted(name)]
        assert held == names[-10:]

    with_service(test)


def test_a_token_does_not_show_itself() -> None:
    token = HeldToken(
        authorization="Bearer s3cret", access=ACCESS, obtained_at=0, expires_at=1
    )
    assert "s3cret" not in f"{token} {token!r}"


# -- test_auth_at_hand --
# An authorization is at hand exactly as long as asking for it would give the same.

LIFE_S = 100.0
SCOPE = pull_scope("team/app")


class _Host:
    """A host whose configuration names its token service."""

    def __init__(
        self, state: AccessState = AccessState.GRANTED, token_url: str | None = ""
    ) -> None:
        self.clock = FakeClock()
        self.state = state
        self.fetched: list[str | None] = []
        settings = RegistrySettings(
            token_url=None if token_url is None else "https://r.example.com/token"
        )
        self.plan = HostPlan(
            ping_url="https://r.example.com/v2/",
            settings=settings,
            exchange=cast("Any", None),
            clock=self.clock,
        )
        self.auth = HostAuth(
            registry="r.example.com",
            plan=self.plan,
            credentials=cast("Any", self),
            service=lambda _: cast("Any", self),
            clock=self.clock,
        )

    def part_of(self, registry: str, repository: str) -> str:
        return ""

    async def find(self, registry: str, part: str, *, anew: bool = False) -> None:
        return None

    async def fetch(self, key: TokenKey) -> HeldToken:
        self.fetched.append(key.scope)
        now = self.clock.monotonic()
        return HeldToken(
            authorization=f"Bearer {len(self.fetched)}",
            access=Access(
                state=self.state,
                actions=("pull",),
                subject=None,
                issuer=None,
                verified=False,
                credential=None,
            ),
            obtained_at=now,
            expires_at=now + LIFE_S,
        )

    async def given(self) -> Authorization:
        found = await self.auth.for_scope(SCOPE).authorization()
        assert isinstance(found, Authorization)
        return found

    def at_hand(self) -> Authorization | None:
        return self.auth.for_scope(SCOPE).at_hand()


async def _until_its_renewal(host: _Host) -> None:
    assert host.at_hand() is None
    given = await host.given()
    host.clock.now += RENEW_AFTER * LIFE_S - 1
    assert host.at_hand() is given
    assert not host.auth.for_scope(SCOPE).wanted()
    host.clock.now += 1
    assert host.at_hand() is None
    renewed = await host.given()
    assert renewed.header == "Bearer 2"
    assert host.at_hand() is renewed


def test_a_token_is_at_hand_until_it_is_to_be_renewed() -> None:
    asyncio.run(_until_its_renewal(_Host()))


async def _of_one_scope(host: _Host) -> None:
    await host.given()
    other = host.auth.for_scope(pull_scope("team/other"))
    assert other.at_hand() is None
    assert other.wanted()


def test_a_token_is_at_hand_for_its_scope_only() -> None:
    asyncio.run(_of_one_scope(_Host()))


async def _until_it_is_refused(host: _Host) -> None:
    refused = await host.given()
    again = await host.auth.for_scope(SCOPE).again(refused, None)
    assert isinstance(again, Authorization)
    assert again.header == "Bearer 2"
    assert host.at_hand() is again


def test_a_token_that_was_refused_is_not_at_hand() -> None:
    asyncio.run(_until_it_is_refused(_Host()))


async def _not_without_a_right(host: _Host) -> None:
    assert not isinstance(
        await host.auth.for_scope(SCOPE).authorization(), Authorization
    )
    assert host.at_hand() is None


def test_a_token_that_grants_nothing_is_not_at_hand() -> None:
    asyncio.run(_not_without_a_right(_Host(AccessState.DENIED)))


async def _until_the_plan_changes(host: _Host) -> None:
    def challenge(realm: str) -> Challenge:
        return Challenge(scheme="bearer", parameters={"realm": realm})

    host.plan.learn(challenge("https://r.example.com/token"))
    await host.given()
    assert host.at_hand() is not None
    host.plan.learn(challenge("https://r.example.com/elsewhere"))
    assert host.at_hand() is None


def test_nothing_is_at_hand_once_the_host_asks_otherwise() -> None:
    asyncio.run(_until_the_plan_changes(_Host(token_url=None)))
