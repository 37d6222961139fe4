"""Authentication: every scheme, and the number of requests after a refusal."""

from __future__ import annotations

import pytest

from auditor.demo.demo_tokens import ANONYMOUS, DemoAccount
from auditor.errors import FailureKind, Stage
from auditor.model import AccessState, FailureRecord, ImageRecord
from auditor.registry.auth.authorization import MAX_REFUSALS
from tests.flow.harness import (
    ADMIN,
    MANIFESTS,
    TOKENS,
    lab,
    service,
    simple,
    tokens_sent,
)
from tests.support.fault_actions import Answer, Edit, Gate, Hold
from tests.support.registry import Basic
from tests.support.token_service import public_pem

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1", "team/app:2", "team/web:1", "other/app:1"]
TEAM = DemoAccount("robot", "secret", {"team/*": ("pull",)})


async def test_a_registry_without_login_gets_no_authorization() -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(*map(here.ref, NAMES))
        assert tokens_sent(here.faults.log) == [""]
        assert here.answered(401) == []
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert record.access.state is AccessState.ANONYMOUS


async def test_the_record_has_the_subject_and_actions_of_the_token() -> None:
    async with lab(simple(NAMES), tokens=service(TEAM), login=TEAM) as here:
        access = (await here.audit(here.ref("team/app:1"))).image.access
    assert (access.state, access.actions) == (AccessState.GRANTED, ("pull",))
    assert (access.subject, access.issuer) == ("robot", "demo token service")
    assert not access.verified


async def test_without_a_login_an_anonymous_token_is_used() -> None:
    anyone = DemoAccount(ANONYMOUS, "", {"team/*": ("pull",)})
    async with lab(simple(NAMES), tokens=service(anyone), login=anyone) as here:
        outcome = await here.audit(*map(here.ref, NAMES))
        (asked, *_) = here.faults.requests("GET", TOKENS)
        assert "Authorization" not in asked.headers
    assert outcome.kinds == ["image", "image", "image", "no_pull_grant"]
    refused = outcome.records[-1]
    assert isinstance(refused, FailureRecord)
    assert "the anonymous user" in refused.detail


async def test_without_a_pull_grant_no_manifest_is_requested() -> None:
    async with lab(simple(NAMES), tokens=service(TEAM), login=TEAM) as here:
        outcome = await here.audit(here.ref("other/app:1"))
        assert here.faults.count("GET", MANIFESTS) == 0
        assert here.answered(401) == ["GET /v2/"]
    failure = outcome.failure
    assert failure.failure is FailureKind.NO_PULL_GRANT
    assert failure.stage is Stage.TOKEN
    assert failure.detail == ("the token grants 'robot' nothing on other/app, not pull")


async def test_a_push_grant_without_pull_is_named_in_the_failure() -> None:
    pusher = DemoAccount("pusher", "secret", {"*": ("push",)})
    tokens = service(pusher)
    tokens.edit = lambda claims: {
        **claims,
        "access": [{"type": "repository", "name": "team/app", "actions": ["push"]}],
    }
    async with lab(simple(NAMES), tokens=tokens, login=pusher) as here:
        failure = (await here.audit(here.ref("team/app:1"))).failure
        assert here.faults.count("GET", MANIFESTS) == 0
    assert "grants 'pusher' push on team/app, not pull" in failure.detail


async def test_without_a_pull_grant_no_listing_is_requested() -> None:
    async with lab(simple(NAMES), tokens=service(TEAM), login=TEAM) as here:
        outcome = await here.audit(here.ref("other/app:*"))
        assert here.faults.count("GET", "*/tags/list") == 0
    assert outcome.kinds == ["no_pull_grant"]


async def test_an_opaque_token_is_used_without_reading_its_grant() -> None:
    tokens = service(TEAM, opaque=True)
    async with lab(simple(NAMES), tokens=tokens, login=TEAM) as here:
        outcome = await here.audit(here.ref("team/app:1"), here.ref("other/app:1"))
        assert here.faults.count("GET", "/v2/other/*") == 2  # it might be revoked
    allowed, denied = outcome.records
    assert isinstance(allowed, ImageRecord)
    assert allowed.access.state is AccessState.UNVERIFIABLE
    assert isinstance(denied, FailureRecord)
    assert (denied.failure, denied.status) == (FailureKind.DENIED, 401)


async def test_token_signatures_are_verified_with_the_configured_keys(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tokens, folder = service(), tmp_path_factory.mktemp("keys")
    (folder / "own.pem").write_bytes(public_pem(tokens.key))
    (folder / "other.pem").write_bytes(public_pem(service().key))
    async with lab(simple(NAMES), tokens=tokens) as here:
        for name, verified in (("own.pem", True), ("other.pem", False)):
            keys = str(folder / name)
            outcome = await here.audit(here.ref("team/app:1"), token_keys=keys)
            assert outcome.image.access.verified is verified


async def test_a_wrong_password_is_sent_to_the_token_service_once() -> None:
    wrong = DemoAccount("admin", "guess")
    async with lab(simple(NAMES), tokens=service(), login=wrong) as here:
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        assert here.faults.count("GET", TOKENS) == 1
        assert here.faults.count("GET", MANIFESTS) == 0
    assert outcome.kinds == ["denied"] * 4
    first = outcome.records[0]
    assert isinstance(first, FailureRecord)
    assert (first.stage, first.status) == (Stage.TOKEN, 401)
    assert first.detail == (
        f"the token service {here.host} rejected the login of 'admin' (401); check the"
        f' credential in configuration: [registry."{here.host}"]'
    )


async def test_a_token_service_that_requires_a_login_is_named_in_the_failure() -> None:
    anonymous = DemoAccount(ANONYMOUS)
    async with lab(simple(NAMES), tokens=service(), login=anonymous) as here:
        failure = (await here.audit(here.ref("team/app:1"))).failure
    assert failure.failure is FailureKind.DENIED
    assert failure.detail == f"the token service {here.host} requires a login (401)"


async def test_basic_is_sent_with_every_request_except_the_ping() -> None:
    async with lab(simple(NAMES), access=Basic([TEAM]), login=TEAM) as here:
        outcome = await here.audit(*map(here.ref, NAMES))
        ping, *others = here.faults.log
        assert (ping.path, ping.status) == ("/v2/", 401)
        assert "Authorization" not in ping.headers
        assert len(tokens_sent(others)) == 1
        assert here.answered(401) == ["GET /v2/"]
    assert outcome.kinds == ["image", "image", "image", "denied"]
    allowed, denied = outcome.records[0], outcome.records[-1]
    assert isinstance(allowed, ImageRecord)
    assert allowed.access.state is AccessState.UNVERIFIABLE
    assert isinstance(denied, FailureRecord)
    assert denied.status == 403


async def test_a_wrong_password_is_not_retried_with_basic() -> None:
    wrong = DemoAccount("robot", "guess")
    async with lab(simple(NAMES), access=Basic([TEAM]), login=wrong) as here:
        failure = (await here.audit(here.ref("team/app:1"))).failure
        assert here.faults.count("GET", MANIFESTS) == 1
    assert (failure.failure, failure.status) == (FailureKind.DENIED, 401)


async def test_a_wrong_password_with_basic_does_not_lock_the_account() -> None:
    names = [f"team/app-{number}:1" for number in range(20)]
    wrong = DemoAccount("robot", "guess")
    async with lab(simple(names), access=Basic([TEAM]), login=wrong) as here:
        outcome = await here.audit(*map(here.ref, names))
        assert here.faults.count("GET", MANIFESTS) == MAX_REFUSALS == 3
        assert here.faults.peak("GET", MANIFESTS) == 1
    assert outcome.kinds == ["denied"] * 20
    last = outcome.records[-1]
    assert isinstance(last, FailureRecord)
    assert (last.attempts, last.status) == (0, 401)
    assert last.detail.endswith(
        "; the login is not sent again: the registry refused all 3 requests with it"
    )


async def test_an_accepted_password_is_sent_concurrently() -> None:
    names = [f"team/app-{number}:1" for number in range(20)]
    closed = "/v2/team/app-7/manifests/*"
    async with lab(simple(names), access=Basic([TEAM]), login=TEAM) as here:
        # As a proxy that protects a part of the registry.
        here.faults.on("GET", closed, Answer(401), forever=True)
        gate = Gate()
        here.faults.on("GET", MANIFESTS, Hold(gate), skip=1, forever=True)
        async with here.when(lambda: gate.waiting > 2, gate.open):
            outcome = await here.audit(*map(here.ref, names))
        first, second = here.faults.requests("GET", MANIFESTS)[:2]
        assert first.ended is not None
        assert first.ended < second.began
    assert outcome.kinds.count("image") == 19


async def test_without_a_login_a_registry_with_basic_is_asked_once() -> None:
    async with lab(simple(NAMES), access=Basic([TEAM])) as here:
        failure = (await here.audit(here.ref("team/app:1"))).failure
        assert here.faults.count("GET", MANIFESTS) == 1
    assert failure.detail.startswith(
        "the registry requires a user name and password (Basic), and no login is"
        " configured for it; docker login "
    )


async def test_the_challenge_of_a_manifest_replaces_that_of_an_open_ping() -> None:
    async with lab(simple(NAMES), tokens=service()) as here:
        here.faults.on("GET", "/v2/", Answer(200, body=b"{}"), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        # The challenge of the first 401 applies to all following requests.
        assert here.answered(401) == ["GET /v2/team/app/manifests/1"]
    assert outcome.kinds == ["image"] * 4
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert record.access.state is AccessState.GRANTED


async def test_a_401_without_a_challenge_uses_the_challenge_of_the_ping() -> None:
    async with lab(simple(NAMES), tokens=service(lifetime_s=300)) as here:
        bare = Edit(headers={"WWW-Authenticate": None})
        here.faults.on("GET", MANIFESTS, bare, forever=True)
        outcome = await here.audit(here.ref("team/app:1"))
    assert outcome.kinds == ["image"]


async def test_a_401_without_any_challenge_is_a_denial() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", MANIFESTS, Answer(401), forever=True)
        failure = (await here.audit(here.ref("team/app:1"))).failure
        assert here.faults.count("GET", MANIFESTS) == 1
    assert (failure.failure, failure.status) == (FailureKind.DENIED, 401)


@pytest.mark.parametrize("status", [403, 404])
async def test_a_registry_without_a_ping_is_audited(status: int) -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/", Answer(status), forever=True)
        outcome = await here.audit(here.ref("team/app:1"))
    assert outcome.kinds == ["image"]


async def test_a_host_that_is_down_gets_the_requests_of_one_reference() -> None:
    requests = set()
    for names in (NAMES[:1], NAMES):
        async with lab(simple(NAMES)) as here:
            here.faults.on("GET", "/v2/", Answer(503), forever=True)
            outcome = await here.audit(*map(here.ref, names), workers=1, tries=2)
            requests.add(here.faults.count())
        assert outcome.kinds == ["server_error"] * len(names)
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("realm", "kind"),
    [
        ("ftp://127.0.0.1/token", "realm_refused"),
        ("http://user:password@127.0.0.1/token", "realm_refused"),
        ("http://169.254.169.254/token", "realm_refused"),
        ("/token", "realm_refused"),
    ],
)
async def test_no_password_is_sent_to_a_refused_realm(realm: str, kind: str) -> None:
    async with lab(simple(NAMES), tokens=service()) as here:
        challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="demo"'}
        here.faults.on("GET", "/v2/", Answer(401, challenge), forever=True)
        outcome = await here.audit(here.ref("team/app:1"))
        assert here.faults.count("GET", TOKENS) == 0
    assert outcome.kinds == [kind]


async def test_a_redirect_of_the_token_service_is_not_followed() -> None:
    async with lab(simple(NAMES), tokens=service()) as here, lab() as thief:
        elsewhere = {"Location": f"http://{thief.host}/token"}
        here.faults.on("GET", TOKENS, Answer(307, elsewhere), forever=True)
        failure = (await here.audit(here.ref("team/app:1"))).failure
        assert thief.faults.count() == 0
    assert failure.failure is FailureKind.REDIRECT_REFUSED


async def test_a_redirected_blob_is_fetched_without_the_token() -> None:
    async with lab(simple(NAMES), tokens=service()) as here, lab() as store:
        blobs = here.content.repository("team/app").blobs
        for digest, blob in blobs.items():
            path = f"/bucket/{digest}"
            store.faults.on("GET", path, Answer(body=blob.content))
            to = {"Location": f"http://{store.host}{path}?X-Amz-Signature=secret"}
            here.faults.on("GET", f"*/blobs/{digest}", Answer(307, to))
        outcome = await here.audit(here.ref("team/app:1"))
        assert tokens_sent(store.faults.log) == [""]
        assert store.faults.count() == 1
    assert outcome.image.architectures == ("linux/amd64",)


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"{}", b'{"token":""}', b'{"token":"a b"}', b"[]", b'{"token":7}'],
)
async def test_a_token_response_without_a_token_is_rejected(body: bytes) -> None:
    async with lab(simple(NAMES), tokens=service()) as here:
        here.faults.on("GET", TOKENS, Answer(body=body), forever=True)
        failure = (await here.audit(here.ref("team/app:1"))).failure
    assert failure.failure is FailureKind.TOKEN_REJECTED
    assert failure.stage is Stage.TOKEN


async def test_no_secret_is_in_a_record_or_message() -> None:
    async with lab(simple(NAMES), tokens=service(), login=ADMIN) as here:
        here.faults.on("GET", "*/manifests/2", Answer(403), forever=True)
        outcome = await here.audit(*map(here.ref, NAMES))
        written = repr(outcome) + repr(here.settings())
        for sent in tokens_sent(here.faults.log):
            secret = sent.partition(" ")[2]
            assert not secret or secret not in written
    assert ADMIN.password not in written
