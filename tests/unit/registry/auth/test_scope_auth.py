"""When a `ScopeAuth` returns its cached authorization."""

from __future__ import annotations

from typing import Any, cast

import pytest

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind
from auditor.model import Access, AccessState
from auditor.registry.auth.authorization import (
    RENEW_AFTER,
    Authorization,
    CachedToken,
    TokenKey,
)
from auditor.registry.auth.scope_auth import HostAuth
from auditor.registry.host_plan import HostPlan
from auditor.wire.challenge import Challenge, pull_scope
from tests.clock import ManualClock

pytestmark = pytest.mark.anyio
LIFE_S = 100.0
REALM = "https://r.example.com/token"
SCOPE = pull_scope("team/app")


class _Host:
    """A host that uses bearer tokens, and its token service."""

    def __init__(
        self,
        *,
        state: AccessState = AccessState.GRANTED,
        has_token_url: bool = True,
    ) -> None:
        self.clock = ManualClock()
        self.state = state
        self.tokens = 0
        self.plan = HostPlan(
            ping_url="https://r.example.com/v2/",
            settings=RegistrySettings(token_url=REALM if has_token_url else None),
            sender=cast("Any", None),
        )
        auth = HostAuth(
            registry="r.example.com",
            plan=self.plan,
            credentials=cast("Any", self),
            service=lambda _: cast("Any", self),
            clock=self.clock,
        )
        self.for_scope = auth.for_scope
        self.auth = auth.for_scope(SCOPE)

    def namespace_of(self, registry: str, repository: str) -> str:
        return ""

    async def find(
        self,
        registry: str,
        namespace: str,
        *,
        refresh: bool = False,
        cloud: object = None,
    ) -> None:
        return None

    async def fetch(self, key: TokenKey) -> CachedToken:
        self.tokens += 1
        now = self.clock.monotonic()
        return CachedToken(
            key=key,
            authorization=f"Bearer {self.tokens}",
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

    async def authorized(self) -> Authorization:
        authorization = await self.auth.authorization()
        assert isinstance(authorization, Authorization)
        return authorization


async def test_a_token_is_cached_until_its_renewal_is_due() -> None:
    host = _Host()
    assert host.auth.cached() is None
    first = await host.authorized()
    host.clock.now += RENEW_AFTER * LIFE_S - 1
    assert host.auth.cached() is first
    assert not host.auth.needs_fetch()
    host.clock.now += 1
    assert host.auth.cached() is None
    renewed = await host.authorized()
    assert renewed.header == "Bearer 2"
    assert host.auth.cached() is renewed


async def test_a_token_is_cached_for_its_scope_only() -> None:
    host = _Host()
    await host.authorized()
    other = host.for_scope(pull_scope("team/other"))
    assert other.cached() is None
    assert other.needs_fetch()


async def test_after_a_401_the_new_token_is_cached() -> None:
    host = _Host()
    renewed = await host.auth.after_401(await host.authorized(), None)
    assert isinstance(renewed, Authorization)
    assert renewed.header == "Bearer 2"
    assert host.auth.cached() is renewed


async def test_a_token_without_a_pull_grant_is_not_cached() -> None:
    host = _Host(state=AccessState.DENIED)
    failure = await host.auth.authorization()
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.NO_PULL_GRANT
    assert host.auth.cached() is None


async def test_nothing_is_cached_after_the_plan_of_the_host_changed() -> None:
    host = _Host(has_token_url=False)
    for realm in (REALM, "https://r.example.com/elsewhere"):
        host.plan.update(Challenge(scheme="bearer", parameters={"realm": realm}))
        assert host.auth.cached() is None
        await host.authorized()
        assert host.auth.cached() is not None
