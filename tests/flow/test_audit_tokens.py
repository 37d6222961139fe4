"""Token requests of an audit: one per scope, ahead of their use, renewed in time."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from tests.flow.harness import (
    MANIFESTS,
    TAGS,
    TOKENS,
    Passes,
    lab,
    service,
    simple,
    tokens_sent,
)
from tests.support.fault_actions import Answer, Gate, Hold, Pass

pytestmark = pytest.mark.anyio

REPOSITORIES = [f"team/app{number}" for number in range(6)]
ONE_EACH = [f"{name}:1" for name in REPOSITORIES]
# The scopes of the token requests (distribution, token specification).
SCOPES = [f"repository:{name}:pull" for name in REPOSITORIES]


async def test_a_registry_gets_one_ping_and_one_token_request_per_scope() -> None:
    names = [f"{name}:{tag}" for name in REPOSITORIES for tag in range(5)]
    async with lab(simple(names), tokens=service()) as here:
        outcome = await here.audit(*map(here.ref, names))
        assert here.faults.count("GET", "/v2/") == 1
        assert here.answered(401) == ["GET /v2/"]
        asked = [parse_qs(one.query) for one in here.faults.requests("GET", TOKENS)]
    assert outcome.kinds == ["image"] * len(names)
    assert sorted(one["scope"][0] for one in asked) == sorted(SCOPES)
    assert all(one["service"] == ["demo"] for one in asked)
    assert dict(outcome.summary.requests) == {
        "ping": 1,
        "token": len(REPOSITORIES),
        "manifest": len(names),
        "blob": len(names),
    }


async def test_listing_and_images_of_a_repository_share_its_token() -> None:
    async with lab(simple(ONE_EACH), tokens=service()) as here:
        outcome = await here.audit(*(here.ref(f"{name}:*") for name in REPOSITORIES))
        assert here.faults.count("GET", TAGS) == len(REPOSITORIES)
        assert here.faults.count("GET", TOKENS) == len(REPOSITORIES)
    assert outcome.kinds == ["image"] * len(REPOSITORIES)


async def test_tokens_of_several_scopes_are_requested_concurrently() -> None:
    gate = Gate()
    async with lab(simple(ONE_EACH), tokens=service()) as here:
        # The first request runs alone until the password is accepted.
        here.faults.on("GET", TOKENS, Pass(), Hold(gate), forever=True)

        def all_are_requested() -> bool:
            return here.faults.count("GET", TOKENS) == len(REPOSITORIES)

        # Nothing else opens the gate.
        async with here.when(all_are_requested, gate.open):
            outcome = await here.audit(*map(here.ref, ONE_EACH), requests_at_once=8)
        assert here.faults.peak("GET", TOKENS) == len(REPOSITORIES) - 1
        assert all_are_requested()
    assert outcome.kinds == ["image"] * len(REPOSITORIES)


async def test_a_password_is_sent_once_until_it_is_accepted() -> None:
    gate = Gate()
    async with lab(simple(ONE_EACH), tokens=service()) as here:
        here.faults.on("GET", TOKENS, Hold(gate, Answer(401)))
        async with here.when(lambda: here.faults.count("GET", TOKENS) > 0, gate.open):
            outcome = await here.audit(*map(here.ref, ONE_EACH))
        assert here.faults.count("GET", TOKENS) == 1
    assert outcome.kinds == ["denied"] * len(REPOSITORIES)


async def test_tokens_are_requested_ahead_of_the_workers() -> None:
    gate = Gate()
    async with lab(simple(ONE_EACH), tokens=service()) as here:
        here.faults.on("GET", "/v2/team/app0/manifests/1", Hold(gate))
        # The only worker is blocked by the first image; the next ones have tokens.
        async with here.when(lambda: here.good(TOKENS) >= 3, gate.open):
            outcome = await here.audit(*map(here.ref, ONE_EACH), workers=1)
    assert outcome.kinds == ["image"] * len(ONE_EACH)


async def test_concurrent_workers_share_one_token_request() -> None:
    names = [f"team/app:{tag}" for tag in range(40)]
    gate = Gate()
    async with lab(simple(names), tokens=service()) as here:
        here.faults.on("GET", TOKENS, Hold(gate), forever=True)
        async with here.when(lambda: here.faults.count("GET", TOKENS) > 0, gate.open):
            outcome = await here.audit(*map(here.ref, names), workers=32)
        assert here.faults.count("GET", TOKENS) == 1
        assert len(tokens_sent(here.faults.requests("GET", MANIFESTS))) == 1
    assert outcome.kinds == ["image"] * 40


@pytest.mark.parametrize("workers", [1, 8])
async def test_under_load_a_token_is_renewed_before_it_expires(workers: int) -> None:
    names = [f"team/app:{tag}" for tag in range(200)]
    async with lab(simple(names), tokens=service(lifetime_s=300)) as here:
        # Every image takes five seconds, so the run takes more than three lifetimes.
        here.faults.on("GET", MANIFESTS, Passes(here.clock, 5.0), forever=True)
        outcome = await here.audit(
            *map(here.ref, names), workers=workers, requests_at_once=16
        )
        assert here.answered(401) == ["GET /v2/"]
        asked = here.faults.count("GET", TOKENS)
        assert len(tokens_sent(here.faults.requests("GET", MANIFESTS))) == asked
    assert outcome.kinds == ["image"] * 200
    # 1000 s, renewed every 255 s (85 % of 300 s): not later, and not much earlier.
    assert asked == 4


async def test_while_a_token_is_renewed_the_old_one_is_used() -> None:
    names = [f"team/app:{tag}" for tag in range(20)]
    gate = Gate()
    async with lab(simple(names), tokens=service(lifetime_s=60)) as here:
        here.faults.on("GET", TOKENS, Hold(gate), skip=1)
        # After the first image the token is due, and good for another six seconds.
        here.faults.on("GET", "/v2/team/app/manifests/0", Passes(here.clock, 54.0))
        # One worker waits for the renewal; the other three do everything else.
        async with here.when(lambda: here.good(MANIFESTS) >= 15, gate.open):
            outcome = await here.audit(*map(here.ref, names), workers=4)
        assert here.faults.count("GET", TOKENS) == 2
        assert here.answered(401) == ["GET /v2/"]
    assert outcome.kinds == ["image"] * 20


async def test_after_a_failed_renewal_a_valid_token_is_still_used() -> None:
    names = [f"team/app:{tag}" for tag in range(3)]
    async with lab(simple(names), tokens=service(lifetime_s=60)) as here:
        here.faults.on("GET", TOKENS, Answer(403), skip=1, forever=True)
        here.faults.on("GET", "/v2/team/app/manifests/0", Passes(here.clock, 54.0))
        outcome = await here.audit(*map(here.ref, names), workers=1)
    assert outcome.kinds == ["image"] * 3


async def test_a_token_that_expires_while_a_request_waits_is_renewed() -> None:
    names = ["team/app:1"]
    async with lab(simple(names), tokens=service(lifetime_s=60)) as here:
        busy = Answer(429, {"Retry-After": "120"})
        here.faults.on("GET", MANIFESTS, busy)
        outcome = await here.audit(*map(here.ref, names))
        assert here.answered(401) == ["GET /v2/"]
        assert here.faults.count("GET", TOKENS) == 2
    assert outcome.kinds == ["image"]


@pytest.mark.parametrize("age_s", [0.0, 10.0])
@pytest.mark.parametrize(
    ("refusals", "kind"), [(1, "image"), (2, "denied"), (9, "denied")]
)
async def test_a_401_on_a_token_renews_it_once(
    refusals: int, kind: str, age_s: float
) -> None:
    names = ["team/app:1", "team/app:2"]
    second = "/v2/team/app/manifests/2"
    async with lab(simple(names), tokens=service()) as here:
        here.faults.on("GET", "/v2/team/app/manifests/1", Passes(here.clock, age_s))
        here.faults.on("GET", second, *[Answer(401)] * refusals)
        outcome = await here.audit(*map(here.ref, names), workers=1)
        assert here.faults.count("GET", TOKENS) == 2
        assert here.faults.count("GET", second) == 2
        old, new = tokens_sent(here.faults.requests("GET", second))
        assert old != new
    assert outcome.kinds == ["image", kind]


async def test_a_refused_token_is_renewed_once_for_all_requests() -> None:
    names = [f"team/app:{tag}" for tag in range(8)]
    gate = Gate()
    async with lab(simple(names), tokens=service()) as here:
        for tag in range(8):
            path = f"/v2/team/app/manifests/{tag}"
            here.faults.on("GET", path, Hold(gate, Answer(401)))
        async with here.when(
            lambda: here.faults.count("GET", MANIFESTS) == len(names), gate.open
        ):
            outcome = await here.audit(*map(here.ref, names), requests_at_once=8)
        assert here.faults.count("GET", TOKENS) == 2
        assert here.faults.count("GET", MANIFESTS) == 2 * len(names)
    assert outcome.kinds == ["image"] * 8


async def test_with_a_configured_token_url_no_ping_is_sent() -> None:
    async with lab(simple(ONE_EACH), tokens=service()) as here:
        outcome = await here.audit(
            *map(here.ref, ONE_EACH),
            token_url=f"http://{here.host}/auth/v2/token/",
            service="demo",
        )
        assert here.faults.count("GET", "/v2/") == 0
        assert here.answered(401) == []
        paths = {one.path for one in here.faults.requests("GET", "*token*")}
    assert paths == {"/auth/v2/token/"}
    assert outcome.kinds == ["image"] * len(ONE_EACH)
    assert outcome.summary.requests["ping"] == 0


async def test_with_a_configured_token_url_the_service_is_the_host() -> None:
    """As in the article on DTR: `service=$host`."""
    tokens = service()
    async with lab(simple(ONE_EACH), tokens=tokens) as here:
        tokens.service = here.host
        outcome = await here.audit(
            here.ref("team/app0:1"), token_url=f"http://{here.host}/auth/v2/token/"
        )
        (asked,) = here.faults.requests("GET", "/auth/v2/token/")
    assert parse_qs(asked.query) == {
        "service": [here.host],
        "scope": ["repository:team/app0:pull"],
    }
    assert outcome.kinds == ["image"]


async def test_the_configured_service_overrides_the_challenge() -> None:
    async with lab(simple(ONE_EACH), tokens=service()) as here:
        await here.audit(here.ref("team/app0:1"), service="another")
        (asked,) = here.faults.requests("GET", TOKENS)
    assert parse_qs(asked.query)["service"] == ["another"]


@pytest.mark.parametrize("field", ["token", "access_token"])
async def test_both_names_of_the_token_field_are_accepted(field: str) -> None:
    tokens = service(token_fields=(field,))
    async with lab(simple(ONE_EACH), tokens=tokens) as here:
        assert (await here.audit(here.ref("team/app0:1"))).kinds == ["image"]


async def test_a_refused_token_request_is_not_repeated() -> None:
    names = [f"team/app:{tag}" for tag in range(5)]
    async with lab(simple(names), tokens=service()) as here:
        here.faults.on("GET", TOKENS, Answer(403), forever=True)
        outcome = await here.audit(*map(here.ref, names), workers=1)
        assert here.faults.count("GET", TOKENS) == 2  # for the scope, and without one
    assert outcome.kinds == ["denied"] * 5


async def test_a_token_request_is_retried_after_a_server_error() -> None:
    async with lab(simple(ONE_EACH), tokens=service()) as here:
        here.faults.on("GET", TOKENS, Answer(503), Answer(429))
        outcome = await here.audit(here.ref("team/app0:1"))
        assert here.faults.count("GET", TOKENS) == 3
    assert outcome.kinds == ["image"]
