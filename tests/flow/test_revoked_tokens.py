"""Tokens that a registry refuses although they have not expired.

A registry that keeps its tokens in memory forgets them when it restarts (olareg);
several replicas may not know each other's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from auditor.demo.demo_tokens import DemoAccount, SigningKey
from auditor.registry.auth.authorization import REFUSAL_HOLD_S
from auditor.wire.retry_policy import MAX_REAUTHENTICATIONS
from tests.clock import FakeClock
from tests.flow.harness import (
    ADMIN,
    MANIFESTS,
    TAGS,
    TOKENS,
    Lab,
    lab,
    service,
    simple,
    tokens_sent,
)
from tests.support.fault_actions import Answer, Gate, Hold
from tests.support.token_service import FakeTokenService

pytestmark = pytest.mark.anyio

ONE_REPOSITORY = [f"team/app:{number}" for number in range(60)]
MANY_REPOSITORIES = [f"team/app{number}:1" for number in range(60)]


@dataclass
class Revokes:
    """A fault: after `every` responses with content, all tokens are revoked."""

    revoke: Callable[[], None]
    every: int
    seen: int = field(default=0)

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if response.status == 200:
            self.seen += 1
            if self.seen % self.every == 0:
                self.revoke()
        return response


@dataclass
class Waits:
    """A fault: 401, after `seconds` of the fake clock."""

    clock: FakeClock
    seconds: float

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        del request, handler
        self.clock.now += self.seconds
        return web.Response(status=401)


def _new_key(tokens: FakeTokenService) -> Callable[[], None]:
    """A token service that gets another signing key: all its JWTs are invalid."""

    def revoke() -> None:
        tokens.key = SigningKey.generate()

    return revoke


@pytest.mark.parametrize("workers", [1, 32])
@pytest.mark.parametrize("opaque", [True, False])
@pytest.mark.parametrize(
    ("names", "every"),
    [
        (ONE_REPOSITORY, 40),
        (ONE_REPOSITORY, 10),
        (MANY_REPOSITORIES, 40),
        (MANY_REPOSITORIES, 30),
    ],
)
async def test_no_reference_is_lost_when_tokens_are_revoked(
    names: list[str], every: int, workers: int, opaque: bool
) -> None:
    tokens = service(opaque=opaque, lifetime_s=3600)
    async with lab(simple(names), tokens=tokens) as here:
        revoke = tokens.revoke if opaque else _new_key(tokens)
        here.faults.on("GET", MANIFESTS, Revokes(revoke, every), forever=True)
        outcome = await here.audit(*map(here.ref, names), workers=workers)
        assert len(here.answered(401)) > 1  # not only the ping
    assert outcome.kinds == ["image"] * len(names)


@pytest.mark.parametrize("path", [MANIFESTS, "/v2/*/blobs/*", TAGS])
async def test_a_young_token_that_was_revoked_is_renewed_for_every_request(
    path: str,
) -> None:
    tokens = service(opaque=True)
    async with lab(simple(ONE_REPOSITORY[:3]), tokens=tokens) as here:
        here.faults.on("GET", path, Revokes(tokens.revoke, 1))
        outcome = await here.audit(here.ref("team/app:*"), workers=1)
        assert here.faults.count("GET", TOKENS) == 2
    assert outcome.kinds == ["image"] * 3


async def test_concurrent_requests_share_the_renewal_of_a_revoked_token() -> None:
    names, gate = ONE_REPOSITORY[:8], Gate()
    tokens = service(opaque=True)
    async with lab(simple(names), tokens=tokens) as here:
        here.faults.on("GET", MANIFESTS, *[Hold(gate)] * len(names))

        def restart() -> None:
            tokens.revoke()
            gate.open()

        async with here.when(
            lambda: here.faults.count("GET", MANIFESTS) == len(names), restart
        ):
            outcome = await here.audit(*map(here.ref, names), requests_at_once=8)
        assert here.faults.count("GET", TOKENS) == 2
        assert here.faults.count("GET", MANIFESTS) == 2 * len(names)
    assert outcome.kinds == ["image"] * len(names)


async def _refused(here: Lab, *, workers: int = 1) -> list[str]:
    """The kinds of an audit of a repository whose tokens the registry refuses."""
    refusal = Answer(401, {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1/x"'})
    here.faults.on("GET", MANIFESTS, refusal, forever=True)
    names = map(here.ref, ONE_REPOSITORY)
    return (await here.audit(*names, workers=workers, token_url=_realm(here))).kinds


def _realm(here: Lab) -> str:
    return f"http://{here.host}{TOKENS}"


@pytest.mark.parametrize("opaque", [True, False])
@pytest.mark.parametrize("workers", [1, 32])
async def test_a_scope_is_refused_for_good_after_two_tokens(
    opaque: bool, workers: int
) -> None:
    tokens = service(opaque=opaque)
    async with lab(simple(ONE_REPOSITORY), tokens=tokens) as here:
        kinds = await _refused(here, workers=workers)
        sent = here.faults.requests("GET", MANIFESTS)
        assert here.faults.count("GET", TOKENS) == 2
        # Every reference is asked for; those with the first token twice.
        assert len(tokens_sent(sent)) == 2
        assert len(sent) <= len(ONE_REPOSITORY) + workers
    assert kinds == ["denied"] * len(ONE_REPOSITORY)


async def test_a_token_service_that_repeats_its_token_is_asked_once_more() -> None:
    tokens = service(opaque=True)
    async with lab(simple(ONE_REPOSITORY), tokens=tokens) as here:
        same = Answer(body=b'{"token":"the-same","expires_in":300}')
        here.faults.on("GET", TOKENS, same, forever=True)
        kinds = await _refused(here)
        assert here.faults.count("GET", TOKENS) == 2
        assert here.faults.count("GET", MANIFESTS) == len(ONE_REPOSITORY)
    assert kinds == ["denied"] * len(ONE_REPOSITORY)


async def test_a_scope_that_is_refused_for_good_is_tried_again_after_a_minute() -> None:
    async with lab(simple(ONE_REPOSITORY), tokens=service(lifetime_s=3600)) as here:
        first = "/v2/team/app/manifests/0"
        here.faults.on("GET", first, Answer(401), Answer(401))
        second = "/v2/team/app/manifests/1"
        here.faults.on("GET", second, Waits(here.clock, REFUSAL_HOLD_S - 1))
        here.faults.on("GET", "/v2/team/app/manifests/2", Waits(here.clock, 1))
        outcome = await here.audit(*map(here.ref, ONE_REPOSITORY[:4]), workers=1)
    assert outcome.kinds == ["denied", "denied", "image", "image"]


async def test_a_path_that_is_always_refused_does_not_affect_the_others() -> None:
    closed = "/v2/team/app/manifests/3"
    async with lab(simple(ONE_REPOSITORY), tokens=service()) as here:
        here.faults.on("GET", closed, Answer(401), forever=True)
        outcome = await here.audit(*map(here.ref, ONE_REPOSITORY), workers=8)
        assert here.faults.count("GET", closed) <= 1 + MAX_REAUTHENTICATIONS
        assert here.faults.count("GET", TOKENS) <= 1 + MAX_REAUTHENTICATIONS
    assert outcome.kinds.count("image") == len(ONE_REPOSITORY) - 1


async def test_a_token_that_is_too_narrow_for_a_listing_stays_valid() -> None:
    login = DemoAccount("me", "secret", {"*": ("pull", "metadata_read")})
    tokens = service(login)
    async with lab(simple(ONE_REPOSITORY[:3]), tokens=tokens, login=login) as here:
        wider = {
            "WWW-Authenticate": f'Bearer realm="{_realm(here)}",service="demo",'
            'scope="repository:team/app:metadata_read"'
        }
        here.faults.on("GET", TAGS, Answer(401, wider))
        outcome = await here.audit(here.ref("team/app:*"), here.ref("team/app:1"))
        scopes = [one.target for one in here.faults.requests("GET", TOKENS)]
        assert len(scopes) == len(set(scopes)) == 2
    assert outcome.kinds.count("image") == 3
    assert ADMIN.password not in repr(outcome)
