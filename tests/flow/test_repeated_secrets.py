"""Servers that repeat the login of a request in their error messages."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from auditor.demo.demo_tokens import DemoAccount
from tests.flow.commands import auditor
from tests.flow.harness import MANIFESTS, TOKENS, lab, service, simple
from tests.support.fault_actions import Answer
from tests.support.registry import Basic

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1", "team/app:2"]
TEXTS = ["no such user: robot/{}", '{{"errors":[{{"message":"{} is wrong"}}]}}']


@pytest.mark.parametrize("password", ["sunshine", "pw", "tr0ub4dor & three"])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_a_bare_password_in_a_response_is_masked(
    status: int, text: str, password: str
) -> None:
    login = DemoAccount("robot", password, {"*": ("*",)})
    body = text.format(password).encode()
    answer = Answer(status, {"Content-Type": "text/plain"}, body)
    for access in (None, Basic([login])):
        tokens = service(login) if access is None else None
        async with lab(
            simple(NAMES), tokens=tokens, access=access, login=login
        ) as here:
            path = MANIFESTS if tokens is None else TOKENS
            here.faults.on("GET", path, answer, forever=True)
            outcome = await here.audit(*map(here.ref, NAMES), tries=1)
        assert "image" not in outcome.kinds
        for record in outcome.records:
            assert password not in repr(record)


@pytest.mark.parametrize(
    "location",
    [
        "ftp://files.example/sunshine",
        "/v2/sunshine",  # redirects to itself
        "http://sunshine.invalid/",
    ],
)
async def test_a_password_in_the_location_of_a_redirect_is_masked(
    location: str,
) -> None:
    login = DemoAccount("robot", "sunshine", {"*": ("*",)})
    async with lab(simple(NAMES), access=Basic([login]), login=login) as here:
        for path in (MANIFESTS, "/v2/sunshine"):
            answer = Answer(302, {"Location": location})
            here.faults.on("GET", path, answer, forever=True)
        failure = (await here.audit(here.ref(NAMES[0]), tries=1)).failure
    assert "***" in failure.detail
    assert "sunshine" not in failure.detail


async def test_neither_report_nor_log_has_the_password_or_token(tmp_path: Path) -> None:
    login = DemoAccount("robot", "sunshine", {"*": ("*",)})
    tokens = service(login, opaque=True)
    async with lab(simple(NAMES), tokens=tokens, login=login) as here:
        body = b"sunshine (opaque-1) (opaque-2) for robot"
        here.faults.on("GET", MANIFESTS, Answer(503, body=body), forever=True)
        config = tmp_path / "night.toml"
        config.write_text(
            f'log_level = "debug"\n[registry."{here.host}"]\n'
            'username = "robot"\npassword_env = "SECRET"\n'
        )
        done = await auditor(
            "audit", "--config", str(config), "--no-cache", *map(here.ref, NAMES),
            environment={"SECRET": login.password},
        )  # fmt: skip
    assert done.code == 1
    written = done.out.decode() + "\n".join(done.stderr)
    assert "for robot" in written
    assert "sunshine" not in written
    assert all(
        "sunshine" not in str(orjson.loads(one)) for one in done.out.splitlines()
    )
