"""A registry name that redirects to another registry (lscr.io to ghcr.io).

docker and containerd take an anonymous token of the target (containerd#5503). No login
of the name that was given is sent to another host.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from auditor.demo.demo_tokens import ANONYMOUS, DemoAccount
from tests.flow.commands import auditor
from tests.flow.harness import ADMIN, TOKENS, Lab, lab, service, simple
from tests.flow.test_audit_attachments import PLAIN, REFERRERS, audited, of
from tests.flow.test_revoked_tokens import Revokes
from tests.support.attached_images import notation_signature
from tests.support.fault_actions import Answer
from tests.support.registry import Basic

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1", "team/app:2", "team/web:1"]
STRANGER = DemoAccount(ANONYMOUS, "", {"team/*": ("pull",)})


@dataclass(frozen=True, slots=True)
class RedirectTo:
    """A fault: every path of another registry."""

    host: str

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        del handler
        location = f"http://{self.host}{request.path_qs}"
        return web.Response(status=307, headers={"Location": location})


def redirect(name: Lab, target: Lab) -> None:
    name.faults.on("*", "/v2/*", RedirectTo(target.host), forever=True)


@pytest.mark.parametrize("opaque", [True, False])
@pytest.mark.parametrize("login", [None, ADMIN])
async def test_an_anonymous_token_of_the_target_is_used(
    login: DemoAccount | None, opaque: bool
) -> None:
    tokens = service(STRANGER, opaque=opaque)
    async with lab(simple(NAMES), tokens=tokens) as target, lab(login=login) as name:
        redirect(name, target)
        outcome = await name.audit(*map(name.ref, NAMES), name.ref("team/app:*"))
        asked = target.faults.requests("GET", TOKENS)
        assert len(asked) == 2  # one for each repository
        for one in (*asked, *name.faults.log):
            assert "Authorization" not in one.headers
        for one in target.faults.log:
            assert "Basic" not in one.headers.get("Authorization", "")
    assert outcome.kinds == ["image"] * len(NAMES)
    assert {record.registry for record in outcome.records} == {name.host}


@pytest.mark.parametrize("login", [None, ADMIN])
async def test_every_page_of_a_list_of_tags_gets_a_token_of_the_target(
    login: DemoAccount | None,
) -> None:
    names = [f"team/app:{number}" for number in range(5)]
    tokens = service(STRANGER)
    async with lab(simple(names), tokens=tokens) as target, lab(login=login) as name:
        redirect(name, target)
        outcome = await name.audit(name.ref("team/app:*"), page_size=2)
        assert target.good("/v2/team/app/tags/list") == 3
        for one in target.faults.log:
            assert "Basic" not in one.headers.get("Authorization", "")
    assert outcome.kinds == ["image"] * 5


async def test_a_signature_is_found_at_the_target() -> None:
    content = of(PLAIN, "1")
    content.add("team/app", notation_signature(PLAIN.root))
    tokens = service(STRANGER)
    async with lab(content, tokens=tokens) as target, lab() as name:
        redirect(name, target)
        record = await audited(name)
    assert record.signed is True
    assert record.warnings == ()


async def test_a_referrers_api_that_leads_to_a_web_page_is_none() -> None:
    """GHCR; the other host gets no request."""
    async with lab(of(PLAIN, "1")) as here, lab() as other:
        to = Answer(303, {"Location": f"http://{other.host}/packages/team/app"})
        here.faults.on("GET", REFERRERS, to, forever=True)
        record = await audited(here)
        assert not other.faults.log
    assert record.signed is False


async def test_a_target_that_requires_a_login_is_named() -> None:
    async with lab(simple(NAMES), tokens=service()) as target, lab(login=ADMIN) as name:
        redirect(name, target)
        failure = (await name.audit(name.ref(NAMES[0]))).failure
    assert failure.failure == "denied"
    assert failure.detail == (
        f"the token service {target.host} requires a login (401); the registry"
        " redirects to 127.0.0.1"
    )


async def test_a_target_with_basic_gets_no_login() -> None:
    access = Basic([ADMIN])
    async with lab(simple(NAMES), access=access) as target, lab(login=ADMIN) as name:
        redirect(name, target)
        failure = (await name.audit(name.ref(NAMES[0]))).failure
        assert not any("Authorization" in one.headers for one in target.faults.log)
    assert failure.failure == "denied"
    assert failure.detail.startswith("127.0.0.1, to which the registry redirects, rej")


async def test_a_target_that_revokes_its_tokens_costs_no_reference() -> None:
    tokens = service(STRANGER, opaque=True)
    async with lab(simple(NAMES), tokens=tokens) as target, lab() as name:
        redirect(name, target)
        target.faults.on("GET", "/v2/*", Revokes(tokens.revoke, 2), forever=True)
        outcome = await name.audit(*map(name.ref, NAMES), workers=1)
        assert target.faults.count("GET", TOKENS) > 2
    assert outcome.kinds == ["image"] * len(NAMES)


async def test_doctor_names_the_registry_that_a_name_redirects_to() -> None:
    tokens = service(STRANGER)
    async with lab(simple(NAMES), tokens=tokens) as target, lab() as name:
        tokens.clock = time.time  # the command runs with the real time
        redirect(name, target)
        done = await auditor("doctor", name.ref(NAMES[0]))
    assert done.code == 0
    assert b"none of its own: it redirects to 127.0.0.1, which gets" in done.out
    assert b"failed" not in done.out
