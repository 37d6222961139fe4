"""An authorization is at hand exactly as long as asking for it would give the same."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from auditor.config import RegistrySettings
from auditor.model import Access, AccessState
from auditor.registry.auth.authorization import (
    RENEW_AFTER,
    Authorization,
    HeldToken,
    TokenKey,
)
from auditor.registry.auth.scope_auth import HostAuth
from auditor.registry.host_plan import HostPlan
from auditor.wire.challenge import Challenge, pull_scope
from tests.flow.harness import FakeClock

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
