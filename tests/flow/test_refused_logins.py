"""A token service that refuses a login, or only a scope, and with which status.

401 is usual; olareg and GitLab answer 403, the public ECR 400. Whatever it is, a wrong
password is sent a few times at most, because directories lock accounts.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

import orjson
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from auditor.demo.demo_tokens import ANONYMOUS, BearerAccess, DemoAccount
from auditor.errors import Stage
from auditor.model import FailureRecord
from auditor.registry.auth.authorization import MAX_REFUSALS, REFUSAL_HOLD_S
from tests.flow.commands import auditor
from tests.flow.harness import (
    MANIFESTS,
    TOKENS,
    Outcome,
    Passes,
    lab,
    service,
    simple,
    tokens_sent,
)
from tests.support.fault_actions import Answer, Edit, Pass
from tests.support.registry import Basic

pytestmark = pytest.mark.anyio

NAMES = [f"team/app{number}:1" for number in range(32)]
WRONG = DemoAccount("admin", "guess")
LOGIN = DemoAccount("robot", "secret", {"*": ("*",)})


@dataclass(frozen=True, slots=True)
class RefusesScopes:
    """A fault: this status for each scope of the repository, or for all scopes."""

    status: int
    repository: str = ""

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        scopes = request.query.getall("scope", [])
        if any(self.repository in scope for scope in scopes):
            return web.Response(status=self.status, text="access forbidden")
        return await handler(request)


def _details(outcome: Outcome) -> set[str]:
    assert outcome.kinds == ["denied"] * len(NAMES)
    failures = [one for one in outcome.records if isinstance(one, FailureRecord)]
    assert {one.stage for one in failures} == {Stage.TOKEN}
    return {one.detail for one in failures}


@pytest.mark.parametrize("workers", [1, 16])
@pytest.mark.parametrize(("status", "sent"), [(401, 1), (403, 2), (400, 2)])
async def test_a_wrong_password_is_sent_no_more_than_twice(
    status: int, sent: int, workers: int
) -> None:
    async with lab(simple(NAMES), tokens=service(LOGIN), login=WRONG) as here:
        here.faults.on("GET", TOKENS, Edit(status), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=workers)
        assert here.faults.count("GET", TOKENS) == sent
        assert here.faults.count("GET", MANIFESTS) == 0
    (detail,) = _details(outcome)
    assert detail.startswith(
        f"the token service {here.host} rejected the login of 'admin' ({status}); check"
        " the credential in configuration: [registry."
    )


@pytest.mark.parametrize(
    ("status", "kind"), [(404, "not_found"), (422, "protocol_violation")]
)
async def test_a_wrong_token_url_is_not_a_wrong_login(status: int, kind: str) -> None:
    async with lab(simple(NAMES), tokens=service(LOGIN), login=LOGIN) as here:
        here.faults.on("GET", TOKENS, Answer(status), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        assert here.faults.count("GET", TOKENS) == 2
        failure = outcome.records[-1]
        assert isinstance(failure, FailureRecord)
        where = f"; the token was requested from http://{here.host}{TOKENS}"
        assert failure.detail.endswith(where)
    assert outcome.kinds == [kind] * len(NAMES)


NO_TOKEN = [
    Answer(302, {"Location": "/login?user=admin"}),
    Answer(200, {"Content-Type": "text/html"}, b"<html>log in</html>"),
    Answer(200, body=b'{"errors": [{"code": "DENIED"}]}'),
]


@pytest.mark.parametrize("answer", NO_TOKEN, ids=["redirect", "page", "errors"])
async def test_a_password_that_gets_no_token_is_sent_no_more_than_twice(
    answer: Answer,
) -> None:
    async with lab(simple(NAMES), tokens=service(LOGIN), login=WRONG) as here:
        here.faults.on("GET", TOKENS, answer, forever=True)
        outcome = await here.audit(*map(here.ref, NAMES))
        assert here.faults.count("GET", TOKENS) == 2
        failure = outcome.records[-1]
        assert isinstance(failure, FailureRecord)
        where = (
            f"check the login of 'admin' in configuration: [registry.\"{here.host}\"]"
        )
        assert failure.detail.endswith(where)
    assert "image" not in outcome.kinds


@pytest.mark.parametrize("answer", NO_TOKEN, ids=["redirect", "page", "errors"])
async def test_one_answer_without_a_token_does_not_affect_the_others(
    answer: Answer,
) -> None:
    async with lab(simple(NAMES), tokens=service(LOGIN), login=LOGIN) as here:
        here.faults.on("GET", TOKENS, answer)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
    assert outcome.kinds[1:] == ["image"] * (len(NAMES) - 1)


@dataclass(frozen=True, slots=True)
class BasicWith403(Basic):
    """Basic that answers 403 to an unknown user, and, if `closed`, to every ping."""

    closed: bool = False

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        refusal = Basic.refusal(self, request, scope)
        if "Authorization" in request.headers and refusal is not None:
            refusal = web.Response(status=403, text="wrong user or password")
        if request.path == "/v2/" and self.closed:
            return web.Response(status=403, headers={"WWW-Authenticate": "Basic"})
        return refusal


@pytest.mark.parametrize("workers", [1, 16])
async def test_a_wrong_password_with_basic_and_403_does_not_lock_the_account(
    workers: int,
) -> None:
    access = BasicWith403([LOGIN])
    async with lab(simple(NAMES), access=access, login=WRONG) as here:
        outcome = await here.audit(*map(here.ref, NAMES), workers=workers)
        sent = [one.path for one in here.faults.log if "Authorization" in one.headers]
        assert len(sent) == MAX_REFUSALS
        assert sent[1] == "/v2/"
    assert outcome.kinds == ["denied"] * len(NAMES)
    last = outcome.records[-1]
    assert isinstance(last, FailureRecord)
    assert last.detail.startswith(
        f"{here.host} rejected the login of 'admin' (403: wrong user or password);"
        " check the credential in configuration: "
    )


@pytest.mark.parametrize("closed", [True, False])
async def test_a_forbidden_repository_is_not_a_wrong_password_with_basic(
    closed: bool,
) -> None:
    login = DemoAccount("robot", "secret", {"team/app3*": ("pull",)})
    access = BasicWith403([login], closed=closed)
    async with lab(simple(NAMES), access=access, login=login) as here:
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        pings = here.faults.requests("GET", "/v2/")
        assert ["Authorization" in one.headers for one in pings] == [False, True]
    allowed = [name.startswith("team/app3") for name in NAMES]
    assert [kind == "image" for kind in outcome.kinds] == allowed


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_a_refused_scope_does_not_affect_the_others(status: int) -> None:
    tokens = service(LOGIN)
    async with lab(simple(NAMES), tokens=tokens, login=LOGIN) as here:
        here.faults.on("GET", TOKENS, RefusesScopes(status, "team/app0"), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        asked = [parse_qs(one.query) for one in here.faults.requests("GET", TOKENS)]
    # The login is checked once, with a token without a scope.
    assert [("scope" in one) for one in asked].count(False) == 1
    assert outcome.kinds[1:] == ["image"] * (len(NAMES) - 1)
    failure = outcome.records[0]
    assert isinstance(failure, FailureRecord)
    assert failure.detail == (
        "the token service refused the login of 'robot' a token for"
        f" repository:team/app0:pull ({status}: access forbidden)"
    )


async def test_a_login_that_may_pull_nothing_is_not_a_wrong_login() -> None:
    async with lab(simple(NAMES), tokens=service(LOGIN), login=LOGIN) as here:
        here.faults.on("GET", TOKENS, RefusesScopes(403), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        assert here.faults.count("GET", TOKENS) == len(NAMES) + 1
    assert len(_details(outcome)) == len(NAMES)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_password_that_is_changed_during_the_run_is_not_sent_for_ever(
    status: int,
) -> None:
    async with lab(simple(NAMES), tokens=service(LOGIN), login=LOGIN) as here:
        here.faults.on("GET", TOKENS, Pass(), Edit(status), forever=True)
        first = "/v2/team/app0/manifests/1"
        here.faults.on("GET", first, Passes(here.clock, REFUSAL_HOLD_S))
        outcome = await here.audit(here.ref(NAMES[0]), workers=1)
        assert outcome.kinds == ["image"]
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        asked = here.faults.requests("GET", TOKENS)
    assert outcome.kinds == ["denied"] * len(NAMES)
    assert len(asked) <= 4
    assert len(tokens_sent(asked)) == 1


async def test_a_refused_anonymous_token_is_blamed_on_the_token_service() -> None:
    async with lab(
        simple(NAMES), tokens=service(), login=DemoAccount(ANONYMOUS)
    ) as here:
        here.faults.on("GET", TOKENS, Answer(403), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
    assert _details(outcome) == {"the token service denied access (403)"}


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (500, ": it returned an error (500)"),  # "stopped requests to the token ..."
        (429, "the rate limit of the token service is exceeded (429)"),
        (418, "the token service rejected the request (418)"),
    ],
)
async def test_the_token_service_is_named_in_its_failures(
    status: int, detail: str
) -> None:
    stranger = DemoAccount(ANONYMOUS, "", {"*": ("pull",)})
    async with lab(simple(NAMES), tokens=service(stranger), login=stranger) as here:
        here.faults.on("GET", TOKENS, Answer(status), forever=True)
        failure = (await here.audit(here.ref(NAMES[0]))).failure
    assert detail in failure.detail


@pytest.mark.parametrize(
    ("lines", "location"),
    [
        ('password_env = "SECRET"', "password_env SECRET ({file}:3)"),
        ('# why\npassword_file = "word"', "password_file {folder}/word ({file}:4)"),
    ],
)
@pytest.mark.parametrize("section", ["{host}", "{host}/team"])
@pytest.mark.parametrize("bearer", [True, False])
async def test_a_wrong_password_is_named_with_its_user_and_source(
    tmp_path: Path, lines: str, location: str, section: str, bearer: bool
) -> None:
    (tmp_path / "word").write_text("guess\n")
    config = tmp_path / "night.toml"
    access = BearerAccess(service(LOGIN)) if bearer else Basic([LOGIN])
    async with lab(simple(NAMES[:1]), access=access) as here:
        name = section.format(host=here.host)
        config.write_text(f'[registry."{name}"]\nusername = "robot"\n{lines}\n')
        done = await auditor(
            "audit", "--config", str(config), "--no-cache", here.ref(NAMES[0]),
            environment={"SECRET": "guess"},
        )  # fmt: skip
    detail = orjson.loads(done.out)["detail"]
    assert "rejected the login of 'robot' (401" in detail
    where = location.format(file=config, folder=tmp_path)
    assert detail.endswith(f"; check the credential in {where}")


async def test_a_wrong_password_of_docker_s_file_is_named_with_its_key(
    tmp_path: Path,
) -> None:
    file = tmp_path / "config.json"
    async with lab(simple(NAMES[:1]), access=Basic([LOGIN])) as here:
        entry = {"auth": base64.b64encode(b"robot:guess").decode()}
        file.write_bytes(orjson.dumps({"auths": {here.host: entry}}))
        done = await auditor(
            "audit", "--authfile", str(file), "--no-cache", here.ref(NAMES[0])
        )
        where = f'{file}: auths."{here.host}"'
    assert orjson.loads(done.out)["detail"].endswith(f"check the credential in {where}")
