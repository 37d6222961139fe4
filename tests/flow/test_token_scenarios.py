"""Unusual token responses, clocks of token services, and unusual passwords."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.demo.demo_tokens import ANONYMOUS, DemoAccount
from auditor.errors import Stage
from auditor.model import FailureRecord
from tests.flow.harness import MANIFESTS, TOKENS, Passes, lab, service, simple
from tests.support.fault_actions import Action, Answer, Close, Edit, Flood, Truncate
from tests.support.registry import Basic
from tests.support.token_service import FakeTokenService

pytestmark = pytest.mark.anyio

# 40 images of five seconds each: longer than the default lifetime of a token.
NAMES = [f"team/app:{number}" for number in range(40)]
SLOW_S = 5.0


def _with_fields(**changes: object) -> Edit:
    """The service's own response with other fields; None removes one."""

    def changed(body: bytes) -> bytes:
        answer = {**orjson.loads(body), **changes}
        # Numbers beyond 64 bits, which orjson does not write.
        return json.dumps(
            {key: value for key, value in answer.items() if value is not None}
        ).encode()

    return Edit(body=changed)


@pytest.mark.parametrize(
    "lifetime",
    [None, 0, -300, "300", "soon", 1e30, 10**40, True, [], {"seconds": 300}, 0.001],
)
async def test_any_expires_in_is_survived(
    lifetime: object,
) -> None:
    async with lab(simple(NAMES), tokens=service(lifetime_s=300)) as here:
        here.faults.on("GET", TOKENS, _with_fields(expires_in=lifetime), forever=True)
        here.faults.on("GET", MANIFESTS, Passes(here.clock, SLOW_S), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        asked = here.faults.count("GET", TOKENS)
    assert outcome.kinds == ["image"] * len(NAMES)
    # 200 seconds: a request every 51 s at most, not one per image.
    assert asked <= 4


async def test_a_token_that_expires_early_is_renewed_after_a_401() -> None:
    async with lab(simple(NAMES), tokens=service(lifetime_s=60)) as here:
        here.faults.on("GET", TOKENS, _with_fields(expires_in=10**9), forever=True)
        here.faults.on("GET", MANIFESTS, Passes(here.clock, SLOW_S), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        refused = len(here.answered(401)) - 1  # without the ping
        assert refused == here.faults.count("GET", TOKENS) - 1
    assert outcome.kinds == ["image"] * len(NAMES)
    assert 2 <= refused <= 4


@pytest.mark.parametrize("ahead_s", [-86_400.0, -300.0, 300.0, 86_400.0])
async def test_clock_skew_of_the_token_service_does_not_matter(ahead_s: float) -> None:
    tokens = service(lifetime_s=300)
    async with lab(simple(NAMES), tokens=tokens) as here:
        tokens.clock = lambda: here.clock.epoch() + ahead_s
        here.faults.on("GET", MANIFESTS, Passes(here.clock, SLOW_S), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        assert here.answered(401) == ["GET /v2/"]
    assert outcome.kinds == ["image"] * len(NAMES)


HTML = {"Content-Type": "text/html"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(500), "server_error"),
        (Answer(503, HTML, b"<html>down</html>"), "server_error"),
        (Answer(429, {"Retry-After": "0"}), "rate_limited"),
        (Answer(200, HTML, b"<html>log in"), "token_rejected"),
        (Answer(200), "token_rejected"),
        (Answer(204), "token_rejected"),
        (Answer(404), "not_found"),
        (Flood(10 * 1024 * 1024, chunk=b'{"token":"' + b"x" * 65536), "too_large"),
        (Truncate(at_bytes=20), "connect"),
        (Close(reset=True), "connect"),
    ],
)  # fmt: skip
async def test_a_useless_token_response_is_a_failure_of_the_token_stage(
    answer: Action, kind: str
) -> None:
    async with lab(simple(NAMES[:3]), tokens=service()) as here:
        here.faults.on("GET", TOKENS, answer, forever=True)
        outcome = await here.audit(*map(here.ref, NAMES[:3]), workers=1)
        assert here.faults.count("GET", MANIFESTS) == 0
    assert outcome.kinds == [kind] * 3
    for record in outcome.records:
        assert isinstance(record, FailureRecord)
        assert record.stage is Stage.TOKEN


# -- passwords with special characters ----------------------------------------------

SPECIAL = {
    "colons": "a:b::c:",
    "quotes": '"it\'s" `\\"',
    "spaces": "  a  b ",
    "unicode": "pässwörd→密码🔑",
    "percent": "%41%00%0d%0a+&=?#/",
    "shell": "$(id);${HOME}|<>*~!",
    # In base64 as long as a header line may be for most servers (8 KiB).
    "long": "p" * 5_000,
    "base64": "YTpi==",
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("scheme", ["token", "basic", "docker"])
async def test_a_password_with_special_characters_arrives_unchanged(
    kind: str, scheme: str, tmp_path: Path
) -> None:
    user = "rôbot$team+x" if kind == "unicode" else "robot$team+x"
    account = DemoAccount(user, SPECIAL[kind], {"*": ("*",)})
    tokens = None if scheme == "basic" else FakeTokenService(accounts=[account])
    access = Basic([account]) if scheme == "basic" else None
    login = DemoAccount(ANONYMOUS) if scheme == "docker" else account
    settings: dict[str, Any] = {}
    if scheme == "docker":
        pair = base64.b64encode(f"{user}:{SPECIAL[kind]}".encode()).decode()
    async with lab(
        simple(NAMES[:2]), tokens=tokens, access=access, login=login
    ) as here:
        if scheme == "docker":
            path = tmp_path / "auth.json"
            path.write_text(json.dumps({"auths": {here.host: {"auth": pair}}}))
            settings = {"docker_config": True, "authfiles": (str(path),)}
        outcome = await here.audit(*map(here.ref, NAMES[:2]), **settings)
    assert outcome.kinds == ["image"] * 2
    assert SPECIAL[kind] not in repr(outcome)


async def test_without_expires_in_a_token_is_kept_as_long_as_its_claims_say() -> None:
    """docker_auth and Pulp: no `expires_in`; the default of 60 s is too short."""
    async with lab(simple(NAMES), tokens=service(lifetime_s=900)) as here:
        here.faults.on("GET", TOKENS, _with_fields(expires_in=None), forever=True)
        here.faults.on("GET", MANIFESTS, Passes(here.clock, SLOW_S), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        assert here.faults.count("GET", TOKENS) == 1  # 200 s in all
    assert outcome.kinds == ["image"] * len(NAMES)
