"""Registries that serve everybody something, and accounts more (zot, olareg).

zot with `anonymousPolicy` answers the ping with 200 and `WWW-Authenticate: basic`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from auditor.demo.demo_tokens import (
    ANONYMOUS,
    BearerAccess,
    DemoAccount,
    basic_credential,
    unauthorized,
)
from auditor.model import AccessState, CredentialSource, FailureRecord, ImageRecord
from auditor.registry.auth.authorization import MAX_REFUSALS
from auditor.report.summary_text import summary_lines
from tests.flow.commands import auditor
from tests.flow.harness import ADMIN, MANIFESTS, Lab, Outcome, lab, service, simple
from tests.support.fault_actions import Answer, Edit
from tests.support.registry import Basic

pytestmark = pytest.mark.anyio

PUBLIC = [f"public/app{number}:1" for number in range(2)]
PRIVATE = [f"private/app{number}:1" for number in range(5)]
NAMES = PUBLIC + PRIVATE
STRANGER = DemoAccount(ANONYMOUS, "", {"public/*": ("pull",)})


@dataclass(frozen=True, slots=True)
class PartlyOpen:
    """Basic for the accounts, and the public repositories for everybody."""

    accounts: Iterable[DemoAccount]
    ping_is_open: bool

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        if basic_credential(request) is not None:
            return Basic(self.accounts).refusal(request, scope)
        is_open = "public/" in request.path or request.path == "/v2/_catalog"
        if is_open or (scope is None and self.ping_is_open):
            return None
        return unauthorized("basic")

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return ()


def catalog_by_account() -> Middleware:
    """The catalog of a stranger has the public repositories only."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/v2/_catalog" and "Authorization" not in request.headers:
            names = [name.partition(":")[0] for name in PUBLIC]
            return web.json_response({"repositories": names})
        return await handler(request)

    return middleware


def offers(here: Lab, challenge: str, status: int = 200) -> None:
    """The ping answers everybody with this status and challenge."""
    headers = {"WWW-Authenticate": challenge}
    here.faults.on("GET", "/v2/", Edit(status, headers), forever=True)


async def _audit_all(here: Lab) -> Outcome:
    return await here.audit(here.ref("**:*"))


# -- a ping that asks for nothing, and offers a login (zot)


@pytest.mark.parametrize("status", [200, 404, 403])
@pytest.mark.parametrize("challenge", ["basic", 'Basic realm="zot"'])
async def test_an_offered_login_is_used(challenge: str, status: int) -> None:
    access = PartlyOpen([ADMIN], ping_is_open=True)
    async with lab(
        simple(NAMES), access=access, login=ADMIN, dialect=[catalog_by_account()]
    ) as here:
        offers(here, challenge, status)
        outcome = await _audit_all(here)
    assert outcome.kinds == ["image"] * len(NAMES)
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert record.access.credential is CredentialSource.CONFIG
        assert not record.access.login_unused
    assert outcome.summary.unused_logins == []


async def test_an_offered_bearer_login_is_used() -> None:
    tokens = service(ADMIN, STRANGER)
    async with lab(
        simple(NAMES), tokens=tokens, login=ADMIN, dialect=[catalog_by_account()]
    ) as here:
        realm = f"http://{here.host}{tokens.realm}"
        offers(here, f'Bearer realm="{realm}",service="{tokens.service}"')
        outcome = await _audit_all(here)
    assert outcome.kinds == ["image"] * len(NAMES)


async def test_without_a_login_an_offered_one_is_not_missed() -> None:
    access = PartlyOpen([ADMIN], ping_is_open=True)
    async with lab(
        simple(NAMES), access=access, dialect=[catalog_by_account()]
    ) as here:
        offers(here, "basic")
        outcome = await _audit_all(here)
        assert not any("Authorization" in one.headers for one in here.faults.log)
    assert outcome.kinds == ["image"] * len(PUBLIC)
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert record.access.state is AccessState.ANONYMOUS


async def test_a_wrong_password_for_an_offered_login_is_a_failure() -> None:
    wrong = DemoAccount(ADMIN.name, "guess")
    access = PartlyOpen([ADMIN], ping_is_open=True)
    async with lab(simple(NAMES), access=access, login=wrong) as here:
        offers(here, "basic")
        outcome = await here.audit(*map(here.ref, NAMES))
        sent = [one for one in here.faults.log if "Authorization" in one.headers]
        assert len(sent) == MAX_REFUSALS
    assert outcome.kinds == ["denied"] * len(NAMES)


async def test_the_challenge_of_a_redirected_ping_gets_no_login() -> None:
    async with lab(simple(NAMES), login=ADMIN) as here, lab() as other:
        other.faults.on(
            "GET", "/v2/", Answer(200, {"WWW-Authenticate": "basic"}), forever=True
        )
        to = Answer(307, {"Location": f"http://{other.host}/v2/"})
        here.faults.on("GET", "/v2/", to, forever=True)
        outcome = await here.audit(here.ref(PUBLIC[0]))
        for one in (*here.faults.log, *other.faults.log):
            assert "Authorization" not in one.headers
    assert outcome.image.access.login_unused


# -- nothing asks for the login


async def test_an_unused_login_is_in_the_record_and_the_summary() -> None:
    async with lab(simple(NAMES), login=ADMIN) as here:
        outcome = await here.audit(*map(here.ref, NAMES))
        location = f'configuration: [registry."{here.host}"]'
        assert outcome.summary.unused_logins == [(here.host, location)]
        text = "\n".join(summary_lines(outcome.summary.to_json()))
        assert f"login not used: {here.host} did not ask for one" in text
        assert location in text
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert record.access.state is AccessState.ANONYMOUS
        assert record.access.login_unused


async def test_without_a_login_none_is_reported_as_unused() -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(here.ref(PUBLIC[0]))
    assert outcome.summary.unused_logins == []
    assert not outcome.image.access.login_unused


async def test_a_login_that_a_manifest_asks_for_is_used() -> None:
    access = PartlyOpen([ADMIN], ping_is_open=True)
    async with lab(simple(NAMES), access=access, login=ADMIN) as here:
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        assert outcome.summary.unused_logins == []
    assert outcome.kinds == ["image"] * len(NAMES)


async def test_ls_says_that_a_login_was_not_used(tmp_path: Path) -> None:
    config = tmp_path / "auditor.toml"
    async with lab(simple(NAMES)) as here:
        config.write_text(
            f'[registry."{here.host}"]\nusername = "admin"\npassword_env = "SECRET"\n'
        )
        done = await auditor(
            "ls", here.host, "--config", str(config), environment={"SECRET": "secret"}
        )
        anonymous = await auditor("ls", here.host)
    assert (done.code, anonymous.code) == (0, 0)
    assert done.messages[1:] == [
        f"login not used: {here.host} did not ask for one, so that private repositories"
        " may be missing",
        f"password_env SECRET ({config}:3)",
    ]
    assert not any("login" in line for line in anonymous.messages)


# -- a ping that requires Basic, and open repositories (olareg)


async def test_without_a_login_open_repositories_are_audited() -> None:
    access = PartlyOpen([ADMIN], ping_is_open=False)
    async with lab(simple(NAMES), access=access) as here:
        outcome = await here.audit(*map(here.ref, NAMES), here.ref("public/app0:*"))
        assert here.faults.count("GET", MANIFESTS) == len(NAMES)
    assert outcome.kinds == ["image"] * len(PUBLIC) + ["denied"] * len(PRIVATE)
    record = outcome.records[-1]
    assert isinstance(record, FailureRecord)
    assert record.detail == (
        "the registry requires a user name and password (Basic), and no login is"
        f" configured for it; docker login {here.host}, or username and password_env in"
        f' [registry."{here.host}"]'
    )


async def test_a_namespace_without_a_login_is_asked_anonymously(tmp_path: Path) -> None:
    access = PartlyOpen([ADMIN], ping_is_open=False)
    async with lab(simple(NAMES), access=access) as here:
        config = tmp_path / "auditor.toml"
        config.write_text(
            f'[registry."{here.host}/private"]\nusername = "admin"\n'
            'password_env = "SECRET"\n'
        )
        done = await auditor(
            "audit", "--config", str(config), "--no-cache", *map(here.ref, NAMES),
            environment={"SECRET": ADMIN.password},
        )  # fmt: skip
    assert done.code == 0
    assert done.out.count(b'"state":"anonymous"') == len(PUBLIC)
    assert done.out.count(b'"credential":"config"') == len(PRIVATE)


# -- auditor token


async def test_token_does_not_say_that_anyone_may_pull_what_needs_a_login() -> None:
    async with lab(simple(NAMES), access=BearerAccess(service())) as here:
        here.faults.on("GET", "/v2/", Answer(200), forever=True)
        done = await auditor("token", here.ref(PRIVATE[0]))
    assert done.code == 1
    assert b"anyone may pull" not in done.out


async def test_token_says_that_anyone_may_pull_from_an_open_repository() -> None:
    access = PartlyOpen([ADMIN], ping_is_open=False)
    async with lab(simple(NAMES), access=access) as here:
        done = await auditor("token", here.ref(PUBLIC[0]))
        closed = await auditor("token", here.ref(PRIVATE[0]))
    assert (done.code, closed.code) == (0, 1)
    assert b"anyone may pull" in done.out
