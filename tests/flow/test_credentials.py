"""Credentials of every kind, and several of them on one host, in an audit."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from auditor.demo.demo_tokens import ANONYMOUS, DemoAccount
from auditor.model import AccessState, FailureRecord, ImageRecord
from auditor.util.secret import Secret
from auditor.wire.credential import Login
from tests.flow.harness import MANIFESTS, TOKENS, Lab, lab, service, simple
from tests.support.fault_actions import Answer
from tests.support.registry import Basic

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1", "team/web:1", "other/app:1"]
TEAM = DemoAccount("team", "hunter2-team", {"team/*": ("pull",)})
OTHER = DemoAccount("other", "hunter2-other", {"other/*": ("pull",)})
ANONYMOUS_ACCOUNT = DemoAccount(ANONYMOUS)


def auth(account: DemoAccount) -> dict[str, str]:
    pair = f"{account.name}:{account.password}"
    return {"auth": base64.b64encode(pair.encode()).decode()}


def authfile(folder: Path, **document: object) -> dict[str, Any]:
    """The settings for an auth file with this content."""
    path = folder / "auth.json"
    path.write_text(json.dumps(document))
    return {"docker_config": True, "authfiles": (str(path),)}


def users(here: Lab) -> set[str]:
    """The user names sent with Basic, to the token service or to the registry."""
    found = set()
    for one in here.faults.log:
        scheme, _, encoded = one.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            found.add(base64.b64decode(encoded).decode().partition(":")[0])
    return found


# -- several logins on one host (google/go-containerregistry#1329) -----------------


async def test_each_namespace_is_requested_with_its_own_login(
    tmp_path: Path,
) -> None:
    tokens = service(TEAM, OTHER)
    async with lab(simple(NAMES), tokens=tokens, login=ANONYMOUS_ACCOUNT) as here:
        settings = authfile(
            tmp_path,
            auths={f"{here.host}/team": auth(TEAM), f"{here.host}/other": auth(OTHER)},
        )
        outcome = await here.audit(*map(here.ref, NAMES), **settings)
        assert users(here) == {"team", "other"}
        assert here.faults.count("GET", TOKENS) == 3
    for record, subject in zip(outcome.records, ("team", "team", "other"), strict=True):
        assert isinstance(record, ImageRecord)
        assert record.access.subject == subject
        assert record.access.credential == "file"


async def test_basic_uses_the_login_of_the_namespace_too() -> None:
    both = Basic([TEAM, OTHER])
    async with lab(simple(NAMES), access=both) as here:
        outcome = await here.audit(
            *map(here.ref, NAMES),
            namespaces={
                f"{here.host}/{one.name}": Login(
                    username=one.name, password=Secret(one.password)
                )
                for one in (TEAM, OTHER)
            },
        )
        assert here.answered(401) == ["GET /v2/"]
    assert outcome.kinds == ["image"] * 3
    first = outcome.records[0]
    assert isinstance(first, ImageRecord)
    assert first.access.credential == "config"


async def test_a_wrong_password_of_one_namespace_does_not_affect_another(
    tmp_path: Path,
) -> None:
    wrong = DemoAccount("team", "guess")
    tokens = service(TEAM, OTHER)
    async with lab(simple(NAMES), tokens=tokens, login=ANONYMOUS_ACCOUNT) as here:
        settings = authfile(
            tmp_path,
            auths={f"{here.host}/team": auth(wrong), f"{here.host}/other": auth(OTHER)},
        )
        outcome = await here.audit(*map(here.ref, NAMES), workers=1, **settings)
        assert here.faults.count("GET", TOKENS) == 2
    assert outcome.kinds == ["denied", "denied", "image"]


# -- helpers -----------------------------------------------------------------------


def helper(
    folder: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> dict[str, Any]:
    path = folder / "docker-credential-test"
    path.write_text(f"#!/bin/sh\necho asked >> {folder}/asked\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return authfile(folder, credsStore="test")


@pytest.mark.parametrize(
    "anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["", "uvloop"]
)
async def test_a_helper_runs_once_and_its_login_is_used_for_all_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps({"Username": TEAM.name, "Secret": TEAM.password})
    settings = helper(tmp_path, monkeypatch, f"echo '{answer}'")
    async with lab(
        simple(NAMES), tokens=service(TEAM), login=ANONYMOUS_ACCOUNT
    ) as here:
        outcome = await here.audit(*map(here.ref, NAMES), **settings)
    assert outcome.kinds == ["image", "image", "no_pull_grant"]
    first = outcome.records[0]
    assert isinstance(first, ImageRecord)
    assert first.access.credential == "helper"
    assert (tmp_path / "asked").read_text() == "asked\n"


async def test_in_a_long_run_the_helper_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passwords from the helpers of cloud providers expire after an hour."""
    later = DemoAccount("later", "hunter2-later", {"*": ("pull",)})
    for one in (TEAM, later):
        answer = json.dumps({"Username": one.name, "Secret": one.password})
        (tmp_path / one.name).write_text(answer)
    (tmp_path / "now").symlink_to(tmp_path / "team")
    settings = helper(tmp_path, monkeypatch, f"cat {tmp_path}/now")
    tokens = service(TEAM, later, lifetime_s=60)
    async with lab(simple(NAMES), tokens=tokens, login=ANONYMOUS_ACCOUNT) as here:

        async def hour(request: Any, handler: Any) -> Any:
            response = await handler(request)
            here.clock.now += 3600
            (tmp_path / "now").unlink()
            (tmp_path / "now").symlink_to(tmp_path / "later")
            tokens.accounts = (later,)
            return response

        here.faults.on("GET", MANIFESTS, Act(hour))
        outcome = await here.audit(*map(here.ref, NAMES), workers=1, **settings)
        assert users(here) == {"team", "later"}
    assert outcome.kinds == ["image"] * 3
    assert (tmp_path / "asked").read_text() == "asked\n" * 2


@dataclass(frozen=True, slots=True)
class Act:
    """A fault that runs the given handler."""

    run: Callable[[Any, Any], Any]


async def test_after_a_failing_helper_no_request_is_anonymous(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = helper(tmp_path, monkeypatch, "echo hunter2; exit 1")
    anyone = DemoAccount(ANONYMOUS, "", {"*": ("pull",)})
    async with lab(
        simple(NAMES), tokens=service(anyone), login=ANONYMOUS_ACCOUNT
    ) as here:
        outcome = await here.audit(*map(here.ref, NAMES), **settings)
        assert here.faults.count("GET", TOKENS) == 0
    assert outcome.kinds == ["denied"] * 3
    assert "docker-credential-test failed with exit code 1" in str(outcome.records[0])
    assert "hunter2" not in repr(outcome)
    assert (tmp_path / "asked").read_text() == "asked\n"


async def test_for_a_registry_without_login_no_helper_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = helper(tmp_path, monkeypatch, "exit 1")
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(*map(here.ref, NAMES), **settings)
    assert outcome.kinds == ["image"] * 3
    assert not (tmp_path / "asked").exists()


# -- identity tokens (OAuth2) ------------------------------------------------------


def identity(
    here: Lab, folder: Path, token: str, user: str | None = None
) -> dict[str, Any]:
    entry = {"identitytoken": token}
    if user is not None:
        entry |= auth(DemoAccount(user, ""))
    return authfile(folder, auths={here.host: entry})


async def test_an_identity_token_is_sent_by_post_for_each_scope(tmp_path: Path) -> None:
    tokens = service(TEAM)
    token = tokens.refresh_token(TEAM)
    async with lab(simple(NAMES), tokens=tokens, login=ANONYMOUS_ACCOUNT) as here:
        outcome = await here.audit(
            *map(here.ref, NAMES), **identity(here, tmp_path, token)
        )
        assert here.faults.count("GET", TOKENS) == 0
        assert users(here) == set()
    assert outcome.kinds == ["image", "image", "no_pull_grant"]
    assert sorted(form.pop("scope") for form in tokens.forms) == sorted(
        f"repository:{name.partition(':')[0]}:pull" for name in NAMES
    )
    for form in tokens.forms:
        assert form == {
            "grant_type": "refresh_token",
            "refresh_token": token,
            "service": "demo",
            "client_id": "auditor",
        }
    assert token not in repr(outcome)


async def test_a_token_response_with_only_an_access_token_is_accepted(
    tmp_path: Path,
) -> None:
    """As ACR sends it."""
    tokens = service(TEAM, token_fields=("access_token",))
    async with lab(simple(NAMES[:1]), tokens=tokens, login=ANONYMOUS_ACCOUNT) as here:
        outcome = await here.audit(
            here.ref(NAMES[0]),
            **identity(here, tmp_path, tokens.refresh_token(TEAM)),
        )
    assert outcome.kinds == ["image"]


@pytest.mark.parametrize("status", [400, 401, 404, 405])
@pytest.mark.parametrize("user", [None, "<token>", "0000-0000"])
async def test_a_token_service_without_post_gets_the_identity_token_by_get(
    tmp_path: Path, status: int, user: str | None
) -> None:
    name = user or "<token>"
    by_get = DemoAccount(name, "the-identity-token", {"*": ("pull",)})
    async with lab(
        simple(NAMES), tokens=service(by_get), login=ANONYMOUS_ACCOUNT
    ) as here:
        here.faults.on("POST", TOKENS, Answer(status), forever=True)
        settings = identity(here, tmp_path, by_get.password, user)
        outcome = await here.audit(*map(here.ref, NAMES), **settings)
        # POST is tried once, not for each scope.
        assert here.faults.count("POST", TOKENS) == 1
        assert here.faults.count("GET", TOKENS) == 3
        assert users(here) == {name}
    assert outcome.kinds == ["image"] * 3


async def test_a_rejected_identity_token_is_sent_once_by_post_and_once_by_get(
    tmp_path: Path,
) -> None:
    async with lab(
        simple(NAMES), tokens=service(TEAM), login=ANONYMOUS_ACCOUNT
    ) as here:
        settings = identity(here, tmp_path, "hunter2-revoked")
        outcome = await here.audit(*map(here.ref, NAMES), workers=1, **settings)
        assert here.faults.count("POST", TOKENS) == 1
        assert here.faults.count("GET", TOKENS) == 1
    assert outcome.kinds == ["denied"] * 3
    record = outcome.records[0]
    assert isinstance(record, FailureRecord)
    assert record.detail == (
        f"the token service {here.host} rejected the identity token (401); check the"
        f' credential in {tmp_path}/auth.json: auths."{here.host}"'
    )
    assert "hunter2" not in repr(outcome)


async def test_a_new_identity_token_replaces_the_old_one(
    tmp_path: Path,
) -> None:
    """RFC 6749 section 6: the client must discard the old one."""
    tokens = service(TEAM)
    tokens.rotates = True
    async with lab(simple(NAMES), tokens=tokens, login=ANONYMOUS_ACCOUNT) as here:
        settings = identity(here, tmp_path, tokens.refresh_token(TEAM))
        outcome = await here.audit(*map(here.ref, NAMES), **settings)
    assert outcome.kinds == ["image", "image", "no_pull_grant"]
    sent = [form["refresh_token"] for form in tokens.forms]
    assert len(set(sent)) == 3
    for token in sent:
        assert token not in repr(outcome)


async def test_an_identity_token_is_not_sent_to_a_registry_with_basic(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES[:1]), access=Basic([TEAM])) as here:
        settings = identity(here, tmp_path, "hunter2")
        failure = (await here.audit(here.ref(NAMES[0]), **settings)).failure
        assert here.faults.count("GET", MANIFESTS) == 0
    assert failure.detail == (
        "the registry requires a user name and password (Basic), and the configured"
        " credential is an identity token"
    )


# -- registry tokens ---------------------------------------------------------------


@pytest.mark.parametrize("opaque", [False, True])
async def test_a_registry_token_is_sent_unchanged(tmp_path: Path, opaque: bool) -> None:
    tokens = service(TEAM, opaque=opaque)
    async with lab(simple(NAMES), tokens=tokens, login=ANONYMOUS_ACCOUNT) as here:
        token = tokens.issue(TEAM, ["repository:team/app:pull"])
        settings = authfile(tmp_path, auths={here.host: {"registrytoken": token}})
        outcome = await here.audit(*map(here.ref, NAMES), **settings)
        assert here.faults.count("GET", TOKENS) == 0
        sent = {
            one.headers["Authorization"]
            for one in here.faults.requests("GET", MANIFESTS)
        }
        assert sent == {f"Bearer {token}"}
        # Its 401 is final: it cannot be renewed.
        refused = [one for one in here.answered(401) if "/v2/other/" in one]
        assert len(refused) == (1 if opaque else 0)
    first, _, last = outcome.records
    assert isinstance(first, ImageRecord)
    expected = AccessState.UNVERIFIABLE if opaque else AccessState.GRANTED
    assert first.access.state is expected
    assert first.access.credential == "file"
    assert isinstance(last, FailureRecord)
    assert last.failure == ("denied" if opaque else "no_pull_grant")
    assert token not in repr(outcome)


# -- refusals ----------------------------------------------------------------------


async def test_a_400_of_the_token_service_says_that_the_login_may_have_expired() -> (
    None
):
    """As public.ecr.aws does for an expired password."""
    async with lab(simple(NAMES[:1]), tokens=service(TEAM), login=TEAM) as here:
        here.faults.on("GET", TOKENS, Answer(400), forever=True)
        failure = (await here.audit(here.ref(NAMES[0]))).failure
    assert (failure.failure, failure.status) == ("denied", 400)
    assert failure.detail.startswith(
        f"the token service {here.host} rejected the login of 'team' (400); check the"
        " credential in "
    )
    assert failure.detail.endswith(", which may have expired")


async def test_an_auth_entry_without_a_password_is_named_in_the_failure(
    tmp_path: Path,
) -> None:
    async with lab(
        simple(NAMES), tokens=service(TEAM), login=ANONYMOUS_ACCOUNT
    ) as here:
        entry = auth(DemoAccount("team", ""))
        settings = authfile(tmp_path, auths={here.host: entry})
        outcome = await here.audit(*map(here.ref, NAMES), **settings)
        assert here.faults.count("GET", TOKENS) == 0
    assert outcome.kinds == ["denied"] * 3
    assert "username or password is empty" in str(outcome.records[0])


# -- secrets -----------------------------------------------------------------------

CANARY = "c4n4ryC4N4RY"


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize(
    "kind", ["auth", "identitytoken", "registrytoken", "helper", "namespaces"]
)
async def test_no_credential_is_in_records_logs_or_reprs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    accepted: bool,
) -> None:
    caplog.set_level("DEBUG", logger="auditor")
    account = DemoAccount("someone", CANARY, {"team/*": ("pull",)} if accepted else {})
    tokens = service(account if accepted else DemoAccount("someone", "another"))
    tokens.give_refresh_token(CANARY, account)
    async with lab(simple(NAMES), tokens=tokens, login=ANONYMOUS_ACCOUNT) as here:
        match kind:
            case "helper":
                answer = json.dumps({"Username": account.name, "Secret": CANARY})
                settings = helper(tmp_path, monkeypatch, f"echo '{answer}'")
            case "namespaces":
                login = Login(username=account.name, password=Secret(CANARY))
                settings = {"namespaces": {f"{here.host}/team": login}}
            case "auth":
                settings = authfile(tmp_path, auths={here.host: auth(account)})
            case _:
                settings = authfile(tmp_path, auths={here.host: {kind: CANARY}})
        outcome = await here.audit(*map(here.ref, NAMES), **settings)
        used = here.settings(**settings)
        sent = [one.headers.get("Authorization", "") for one in here.faults.log]
    # The secret was sent; otherwise this test would prove nothing.
    encoded = base64.b64encode(f"{account.name}:{CANARY}".encode()).decode()
    forms = [form.get("refresh_token") for form in tokens.forms]
    assert CANARY in forms or {f"Basic {encoded}", f"Bearer {CANARY}"} & set(sent)
    written = repr(outcome) + caplog.text + repr(used)
    assert written.count("team/app") > 0
    for secret in (CANARY, encoded, *(one.partition(" ")[2] for one in sent if one)):
        assert secret not in written
