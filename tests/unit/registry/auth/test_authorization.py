"""The token cache: one request per key, renewal, refusals and the bound."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from auditor.errors import Failure, FailureKind
from auditor.model import Access, AccessState
from auditor.registry.auth import authorization
from auditor.registry.auth.authorization import (
    REFUSAL_HOLD_S,
    RENEW_AFTER,
    CachedToken,
    TokenCache,
    TokenKey,
)
from tests.clock import ManualClock, settle
from tests.responses import response

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


def key(name: str = "app", namespace: str = "") -> TokenKey:
    return TokenKey(
        namespace=namespace,
        realm="https://auth.example.com/token",
        service="registry",
        scope=f"repository:{name}:pull",
    )


class _Service:
    """A token service: each request gives the next of `failures`, or a token."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.requests: list[TokenKey] = []
        self.failures: list[Failure] = []
        self.gate = anyio.Event()
        self.gate.set()
        self.cache = TokenCache(self._fetch, clock=self.clock)

    async def _fetch(self, key: TokenKey) -> CachedToken | Failure:
        self.requests.append(key)
        number = len(self.requests)
        sent_at = self.clock.monotonic()
        failure = self.failures.pop(0) if self.failures else None
        await self.gate.wait()
        return failure or CachedToken(
            key=key,
            authorization=f"Bearer {number}",
            access=ACCESS,
            obtained_at=sent_at,
            expires_at=sent_at + LIFE_S,
        )

    async def get(self, token_key: TokenKey | None = None) -> str | FailureKind:
        found = await self.cache.get(token_key or key())
        if isinstance(found, Failure):
            return found.kind
        return found.authorization.removeprefix("Bearer ")


def with_service(test: Callable[[_Service], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(_Service())

    anyio.run(main)


# -- sharing -------------------------------------------------------------------


def test_concurrent_callers_share_one_token_request() -> None:
    async def test(service: _Service) -> None:
        service.gate = anyio.Event()
        got: list[object] = []

        async def ask() -> None:
            got.append(await service.get())

        async with anyio.create_task_group() as group:
            for _ in range(500):
                group.start_soon(ask)
            await settle()
            assert not service.cache.needs_fetch(key())
            service.gate.set()
        assert got == ["1"] * 500
        assert len(service.requests) == 1

    with_service(test)


def test_a_waiting_caller_takes_over_a_cancelled_token_request() -> None:
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
        assert len(service.requests) == 2

    with_service(test)


def test_each_key_has_its_own_token() -> None:
    async def test(service: _Service) -> None:
        keys = [key(), key("other"), key(namespace="team")]
        assert [await service.get(one) for one in keys] == ["1", "2", "3"]
        assert [await service.get(one) for one in keys] == ["1", "2", "3"]

    with_service(test)


# -- renewal -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_s", "token", "needs_fetch"),
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
    age_s: float, token: str, needs_fetch: bool
) -> None:
    async def test(service: _Service) -> None:
        assert service.cache.needs_fetch(key())
        await service.get()
        await service.clock.advance(age_s)
        assert service.cache.needs_fetch(key()) is needs_fetch
        assert await service.get() == token
        assert not service.cache.needs_fetch(key())

    with_service(test)


def test_the_old_token_is_used_while_it_is_renewed() -> None:
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
            group.start_soon(ask)  # the old one has expired
            await settle()
            assert got == []
            service.gate.set()
        assert got == ["2", "2"]
        assert len(service.requests) == 2

    with_service(test)


@pytest.mark.parametrize("failure", [REFUSED, BROKEN])
def test_after_a_failed_renewal_the_old_token_is_used_until_it_expires(
    failure: Failure,
) -> None:
    async def test(service: _Service) -> None:
        await service.get()
        await service.clock.advance(RENEW_S)
        service.failures = [failure] * 10
        for _ in range(5):
            assert await service.get() == "1"
        await service.clock.advance(LIFE_S - RENEW_S)
        assert await service.get() is failure.kind

    with_service(test)


def test_a_refused_renewal_is_not_retried_for_a_minute() -> None:
    async def test(service: _Service) -> None:
        await service.get()
        await service.clock.advance(RENEW_S)
        service.failures = [REFUSED]
        for _ in range(5):
            assert await service.get() == "1"
            assert not service.cache.needs_fetch(key())
        assert len(service.requests) == 2
        await service.clock.advance(REFUSAL_HOLD_S)
        assert await service.get() == "3"

    with_service(test)


# -- refusals ------------------------------------------------------------------


def test_a_refusal_is_remembered_for_a_minute() -> None:
    async def test(service: _Service) -> None:
        service.failures = [REFUSED]
        for _ in range(5):
            assert await service.get() is FailureKind.DENIED
        assert not service.cache.needs_fetch(key())
        await service.clock.advance(REFUSAL_HOLD_S - 0.01)
        assert await service.get() is FailureKind.DENIED
        assert len(service.requests) == 1
        await service.clock.advance(0.01)
        assert service.cache.needs_fetch(key())
        assert await service.get() == "2"

    with_service(test)


def test_a_refusal_applies_to_its_key_only() -> None:
    async def test(service: _Service) -> None:
        service.failures = [REFUSED]
        assert await service.get() is FailureKind.DENIED
        assert await service.get(key("other")) == "2"

    with_service(test)


def test_a_retryable_failure_is_not_remembered() -> None:
    async def test(service: _Service) -> None:
        service.failures = [BROKEN]
        assert await service.get() is FailureKind.SERVER_ERROR
        assert await service.get() == "2"

    with_service(test)


def test_all_waiting_callers_get_the_failure() -> None:
    async def test(service: _Service) -> None:
        service.failures = [BROKEN]
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
        assert len(service.requests) == 1

    with_service(test)


# -- discarding ----------------------------------------------------------------


async def _token(service: _Service) -> CachedToken:
    found = await service.cache.get(key())
    assert isinstance(found, CachedToken)
    return found


def test_a_discarded_token_is_not_used_again() -> None:
    async def test(service: _Service) -> None:
        service.cache.discard(await _token(service))
        assert service.cache.needs_fetch(key())
        assert await service.get() == "2"

    with_service(test)


def test_a_newer_token_is_not_discarded() -> None:
    async def test(service: _Service) -> None:
        old = await _token(service)
        await service.clock.advance(LIFE_S)
        assert await service.get() == "2"
        service.cache.discard(old)
        assert await service.get() == "2"
        service.cache.discard(old)

    with_service(test)


def test_a_discarded_token_is_not_used_after_a_refused_renewal() -> None:
    async def test(service: _Service) -> None:
        old = await _token(service)
        await service.clock.advance(RENEW_S)
        service.failures = [REFUSED]
        assert await service.get() == "1"
        service.cache.discard(old)
        assert await service.get() is FailureKind.DENIED

    with_service(test)


# -- trials: tokens that replace a refused one ---------------------------------------


@pytest.mark.parametrize(
    ("accepted", "age_s", "renewed"),
    [
        (False, 0.0, False),  # refused twice in a row: final
        (False, REFUSAL_HOLD_S - 0.01, False),
        (False, REFUSAL_HOLD_S, True),
        (True, 0.0, True),  # revoked once more
    ],
)
def test_the_replacement_of_a_refused_token_has_to_be_accepted(
    accepted: bool, age_s: float, renewed: bool
) -> None:
    async def test(service: _Service) -> None:
        assert service.cache.discard(await _token(service))
        second = await _token(service)
        if accepted:
            authorization.Authorization(
                header=second.authorization, access=ACCESS, token=second
            ).observe(response(200))
        await service.clock.advance(age_s)
        assert service.cache.discard(second) is renewed
        assert await service.get() == ("3" if renewed else "2")

    with_service(test)


def test_a_token_that_replaces_an_expired_one_is_worth_a_renewal() -> None:
    async def test(service: _Service) -> None:
        await service.get()
        await service.clock.advance(LIFE_S)
        assert service.cache.discard(await _token(service))
        assert await service.get() == "3"

    with_service(test)


def test_a_token_is_discarded_once_for_all_that_were_refused_with_it() -> None:
    async def test(service: _Service) -> None:
        first = await _token(service)
        for _ in range(10):
            assert service.cache.discard(first)
            assert await service.get() == "2"

    with_service(test)


# -- bounds and secrecy --------------------------------------------------------


def test_the_least_recently_fetched_token_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authorization, "MAX_TOKENS", 10)

    async def test(service: _Service) -> None:
        names = [key(str(number)) for number in range(25)]
        for name in names:
            await service.get(name)
        held = [name for name in names if not service.cache.needs_fetch(name)]
        assert held == names[-10:]

    with_service(test)


def test_the_repr_of_a_token_hides_it() -> None:
    token = CachedToken(
        key=key(),
        authorization="Bearer s3cret",
        access=ACCESS,
        obtained_at=0,
        expires_at=1,
    )
    assert "s3cret" not in f"{token} {token!r}"
