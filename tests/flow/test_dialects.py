"""Audits of registries that deviate as products do (docs/registries/index.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Middleware

from auditor.config import AttachmentMode, ListerName
from auditor.demo.demo_registry import DemoContent, serve
from auditor.demo.demo_tokens import BearerAccess, DemoAccount
from auditor.demo.image_builder import Family, image
from auditor.errors import FailureKind
from auditor.model import AccessState, ImageRecord
from auditor.report.listing_stats import ListState
from tests.flow.harness import (
    ADMIN,
    MANIFESTS,
    TAGS,
    TOKENS,
    Outcome,
    lab,
    service,
    simple,
    tokens_sent,
)
from tests.support import dialects
from tests.support.fault_actions import Answer, Edit
from tests.support.products import Routes, dtr_api, google_tags, harbor_api, hub_api
from tests.support.registry import Basic, Behaviour
from tests.support.token_service import token_app

pytestmark = pytest.mark.anyio

NAMES = [f"team/app:{number}" for number in range(5)]
TEAM = DemoAccount("team", "secret", {"*": ("pull",)})
DIGEST = "sha256:" + "d" * 64


def short(outcome: Outcome) -> list[str]:
    return [one.partition("/")[2] for one in outcome.references]


def warnings(outcome: Outcome) -> set[str]:
    return {
        warning.code.value
        for record in outcome.records
        if isinstance(record, ImageRecord)
        for warning in record.warnings
    }


# -- Docker Hub -------------------------------------------------------------------


async def test_a_rate_limit_in_some_responses_only() -> None:
    async with lab(simple(NAMES)) as here:
        told = Edit(headers={"ratelimit-remaining": "100;w=21600"})
        here.faults.on("GET", MANIFESTS, told, skip=2)
        outcome = await here.audit(*map(here.ref, NAMES))
    assert outcome.kinds == ["image"] * 5


async def test_a_token_with_an_empty_grant_is_a_denial() -> None:
    """`alpine` without `library/`; null instead of a list is Artifactory's."""
    nothing: list[object] | None
    for nothing in ([], None):
        tokens = service(edit=lambda claims, no=nothing: {**claims, "access": no})
        async with lab(simple(NAMES), tokens=tokens) as here:
            outcome = await here.audit(here.ref(NAMES[0]))
            assert here.faults.count("GET", MANIFESTS) == 0
        assert outcome.kinds == ["no_pull_grant"]


async def test_docker_hub_lists_a_namespace_without_a_catalog() -> None:
    content = simple(NAMES)
    async with lab(content, tokens=service(), routes=hub_api(content, [ADMIN])) as here:
        here.faults.on("GET", dialects.CATALOG, Answer(401), forever=True)
        closed = await here.audit(here.ref("team/**:*"))
        opened = await here.audit(here.ref("team/**:*"), lister=ListerName.HUB)
    assert closed.kinds == ["denied"]
    assert opened.kinds == ["image"] * 5


# -- GHCR -------------------------------------------------------------------------


async def test_opaque_tokens_and_a_placeholder_scope() -> None:
    tokens = service(TEAM, opaque=True)
    dialect = [dialects.placeholder_scope()]
    async with lab(simple(NAMES), tokens=tokens, login=TEAM, dialect=dialect) as here:
        outcome = await here.audit(*map(here.ref, NAMES))
        (asked,) = here.targets(TOKENS)
        assert "scope=repository:team/app:pull" in asked
    assert outcome.kinds == ["image"] * 5
    record = outcome.records[0]
    assert isinstance(record, ImageRecord)
    assert record.access.state is AccessState.UNVERIFIABLE


async def test_a_denied_without_a_challenge_is_final() -> None:
    stranger = DemoAccount("team", "secret", {"other/*": ("pull",)})
    tokens = service(stranger, opaque=True)
    dialect = [dialects.denied_without_challenge()]
    async with lab(
        simple(NAMES), tokens=tokens, login=stranger, dialect=dialect
    ) as here:
        failure = (await here.audit(here.ref(NAMES[0]))).failure
        assert here.faults.count("GET", MANIFESTS) == 1
    assert (failure.failure, failure.status) == (FailureKind.DENIED, 403)


async def test_a_registry_without_head_gets_get_requests(tmp_path: Path) -> None:
    async with lab(simple(NAMES), dialect=[dialects.no_head()]) as here:
        for _ in range(2):
            outcome = await here.audit(
                *map(here.ref, NAMES), cache=str(tmp_path / "store"), workers=1
            )
            assert outcome.kinds == ["image"] * 5
        assert here.faults.count("HEAD", MANIFESTS) <= 1


# -- Quay -------------------------------------------------------------------------


async def test_opaque_cursors_are_followed_unchanged() -> None:
    dialect = [dialects.opaque_cursors()]
    behaviour = Behaviour(max_page=2)
    async with lab(simple(NAMES), behaviour=behaviour, dialect=dialect) as here:
        outcome = await here.audit(here.ref("team/app:*"))
        _, *following = here.targets(TAGS)
        assert [target.partition("?")[2] for target in following] == [
            "next_page=gAAAAA%3D%3D0&n=1",
            "next_page=gAAAAA%3D%3D1&n=1",
        ]
    assert short(outcome) == NAMES


# -- ECR --------------------------------------------------------------------------


async def test_ecr_basic_text_plain_absolute_links_and_no_digest_header() -> None:
    login = DemoAccount("AWS", "a-password-for-twelve-hours", {"*": ("pull",)})
    dialect = [
        dialects.no_digest_header(),
        dialects.json_as_text(),
        dialects.json_as_text(TAGS),
    ]
    async with lab(
        simple(NAMES),
        access=Basic([login]),
        login=login,
        behaviour=Behaviour(absolute_links=True, max_page=2),
        dialect=dialect,
    ) as here:
        outcome = await here.audit(here.ref("team/app:*"))
        digests = here.content.repositories["team/app"].tags
        assert len(here.targets(TAGS)) == 3
    assert outcome.kinds == ["image"] * 5
    assert [record.digest for record in outcome.records] == [
        digests[str(number)] for number in range(5)
    ]
    assert outcome.summary.listings.shown[0].state is ListState.COMPLETE
    assert "no_digest_header" in warnings(outcome)


async def test_a_page_size_that_ecr_rejects_is_left_out() -> None:
    body = json.dumps({"errors": [{"code": "UNSUPPORTED"}]}).encode()
    async with lab(simple(NAMES)) as here:
        refusal = Answer(405, body=body)
        here.faults.on("GET", TAGS, refusal, query={"n": "1000"}, forever=True)
        outcome = await here.audit(here.ref("team/app:*"))
    assert outcome.kinds == ["image"] * 5


# -- Google -----------------------------------------------------------------------


async def test_a_401_without_a_challenge_uses_the_challenge_of_the_ping() -> None:
    tokens = service()
    dialect = [dialects.no_challenge(), dialects.no_quality()]
    async with lab(simple(NAMES), tokens=tokens, dialect=dialect) as here:
        # The first token ages, and is refused without a word.
        here.faults.on("GET", "/v2/", Answer(200, body=b"{}"), forever=True)
        unknown = await here.audit(here.ref(NAMES[0]))
        here.faults.rules.clear()
        known = await here.audit(*map(here.ref, NAMES))
    assert unknown.kinds == ["denied"]
    assert known.kinds == ["image"] * 5


async def test_one_tags_response_of_google_resolves_a_repository() -> None:
    content = simple(NAMES)
    async with lab(content, dialect=[dialects.no_quality()]) as here:
        body = json.dumps(google_tags(content, "team/app")).encode()
        here.faults.on("GET", TAGS, Answer(body=body), forever=True)
        outcome = await here.audit(here.ref("team/app:*"))
    assert outcome.kinds == ["image"] * 5


# -- ACR --------------------------------------------------------------------------


async def test_a_listing_that_requires_another_action_gets_a_token_for_it() -> None:
    reader = DemoAccount("reader", "secret", {"*": ("pull", "metadata_read")})
    tokens = service(reader, token_fields=("access_token",))
    dialect = [dialects.tag_lists_require("metadata_read", tokens)]
    async with lab(
        simple(NAMES),
        tokens=tokens,
        login=reader,
        behaviour=Behaviour(max_page=2),
        dialect=dialect,
    ) as here:
        outcome = await here.audit(here.ref("team/app:*"))
        # One 401 for three pages: the others are asked with the token for more.
        assert len([one for one in here.answered(401) if "/tags/" in one]) == 1
    assert outcome.kinds == ["image"] * 5


async def test_a_listing_that_requires_a_missing_grant_is_denied() -> None:
    tokens = service(TEAM)
    dialect = [dialects.tag_lists_require("metadata_read", tokens)]
    async with lab(simple(NAMES), tokens=tokens, login=TEAM, dialect=dialect) as here:
        outcome = await here.audit(here.ref("team/app:*"))
        # With the usual token, the wider one, and another one of the same width.
        assert here.faults.count("GET", TAGS) == 3
    assert outcome.kinds == ["denied"]


# -- GitLab -----------------------------------------------------------------------


async def test_tokens_from_another_host_with_a_lifetime_of_five_minutes() -> None:
    tokens = service(TEAM, lifetime_s=300)
    async with serve(token_app(tokens)) as gitlab:
        tokens.realm = f"{gitlab}/token"
        async with lab(simple(NAMES), tokens=tokens, login=TEAM) as here:
            first = await here.audit(here.ref(NAMES[0]))
            here.clock.now += 301
            second = await here.audit(here.ref(NAMES[1]))
            assert here.faults.count("GET", TOKENS) == 0
    assert first.kinds == second.kinds == ["image"]


async def test_a_forbidden_catalog_has_advice() -> None:
    async with lab(simple(NAMES), tokens=service()) as here:
        here.faults.on("GET", dialects.CATALOG, Answer(403), forever=True)
        failure = (await here.audit(here.ref("**:*"))).failure
    assert (failure.failure, failure.status) == (FailureKind.DENIED, 403)
    assert "set `lister` to its product's API" in failure.detail


# -- Harbor, DTR ------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/service/token", "/auth/v2/token/", "/auth/token"])
async def test_the_realm_of_the_challenge_is_used(path: str) -> None:
    async with lab(simple(NAMES), tokens=service(realm=path)) as here:
        outcome = await here.audit(here.ref(NAMES[0]))
        assert here.faults.count("GET", path) == 1
    assert outcome.kinds == ["image"]


@pytest.mark.parametrize(
    ("lister", "api"), [(ListerName.HARBOR, harbor_api), (ListerName.DTR, dtr_api)]
)
async def test_a_catalog_for_administrators_falls_back_to_the_api(
    lister: ListerName, api: Callable[[DemoContent, Iterable[DemoAccount]], Routes]
) -> None:
    robot = DemoAccount("robot$audit", "secret", {"team/*": ("pull",)})
    content = simple(NAMES)
    async with lab(
        content, tokens=service(robot), login=robot, routes=api(content, [robot])
    ) as here:
        closed = await here.audit(here.ref("**:*"))
        opened = await here.audit(here.ref("**:*"), lister=lister)
        assert here.faults.count("GET", dialects.CATALOG) == 1
    assert closed.kinds == ["no_pull_grant"]
    assert opened.kinds == ["image"] * 5


# -- Artifactory, Nexus -----------------------------------------------------------


async def test_nulls_and_digests_among_tags_are_ignored() -> None:
    dialect = [dialects.with_entries(TAGS, "tags", None, DIGEST, None)]
    async with lab(simple(NAMES), dialect=dialect) as here:
        outcome = await here.audit(here.ref("team/app:*"))
    assert short(outcome) == NAMES
    (listing,) = outcome.summary.listings.shown
    assert listing.state is ListState.COMPLETE


async def test_a_link_with_an_internal_path_is_followed_unchanged() -> None:
    inside = "/artifactory/api/docker/local"

    async def rest(request: web.Request) -> web.Response:
        return web.json_response({"tags": ["2", "3", "4"]})

    dialect = [dialects.links(TAGS, lambda target, _: f"{inside}{target}")]
    async with lab(
        simple(NAMES),
        behaviour=Behaviour(max_page=2),
        dialect=dialect,
        routes=[web.get(f"{inside}/v2/team/app/tags/list", rest)],
    ) as here:
        outcome = await here.audit(here.ref("team/app:*"))
    assert short(outcome) == NAMES


async def test_a_link_to_an_internal_host_is_reported_and_not_followed() -> None:
    dialect = [dialects.links(TAGS, lambda target, _: f"http://10.0.0.7:8081{target}")]
    async with lab(
        simple(NAMES), behaviour=Behaviour(max_page=2), dialect=dialect
    ) as here:
        outcome = await here.audit(here.ref("team/app:*"))
    assert outcome.kinds == ["image", "image", "incomplete_listing"]


# -- Gitea ------------------------------------------------------------------------


@pytest.mark.parametrize("realm", [True, False])
async def test_of_two_challenges_the_supported_one_is_used(realm: bool) -> None:
    login = DemoAccount("me", "secret", {"*": ("pull",)})
    tokens = service(login)

    def rewrite(line: str) -> list[str]:
        bearer = line.partition(",service=")[0] if realm else "Bearer"
        return [bearer, 'Basic realm="Gitea Package API"']

    access = BearerAccess(tokens) if realm else Basic([login])
    dialect = [dialects.challenges("*", rewrite)]
    async with lab(simple(NAMES), access=access, login=login, dialect=dialect) as here:
        tokens.clock = here.clock.epoch
        tokens.service = here.host if realm else tokens.service
        outcome = await here.audit(here.ref(NAMES[0]))
        (sent,) = tokens_sent(here.faults.requests("GET", MANIFESTS))
    assert outcome.kinds == ["image"]
    assert sent.startswith("Bearer " if realm else "Basic ")


# -- zot --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_oci_images_with_pages_of_any_size_and_referrers(size: int) -> None:
    content = DemoContent()
    built = content.add("team/app", image("app", family=Family.OCI), "1", "2", "3")
    assert built.root.media_type.startswith("application/vnd.oci.")
    async with lab(content) as here:
        outcome = await here.audit(
            here.ref("**:*"), page_size=size, attachments=AttachmentMode.ALL
        )
        assert here.faults.count("GET", "/v2/team/app/referrers/*") == 1
    assert outcome.kinds == ["image"] * 3


# -- pulp -------------------------------------------------------------------------


async def test_every_page_is_requested_with_the_token_of_its_repository() -> None:
    """pulp accepts any token for the first page, not for the second."""
    tokens = service(TEAM)
    async with lab(
        simple(NAMES), tokens=tokens, login=TEAM, behaviour=Behaviour(max_page=2)
    ) as here:
        outcome = await here.audit(here.ref("team/app:*"))
        requests = here.faults.requests("GET", TAGS)
        assert len(requests) == 3
        for one in requests:
            token = one.headers["Authorization"].removeprefix("Bearer ")
            assert tokens.allows(token, "repository:team/app:pull")
        assert here.answered(401) == ["GET /v2/"]
    assert outcome.kinds == ["image"] * 5


async def test_a_body_compressed_without_request_is_decompressed() -> None:
    async with lab(simple(NAMES), dialect=[dialects.x_gzip()]) as here:
        outcome = await here.audit(here.ref("team/app:*"))
        assert {
            one.headers.get("Accept-Encoding", "identity") for one in here.faults.log
        } == {"identity"}
    assert outcome.kinds == ["image"] * 5


# -- Red Hat ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "dialect", [dialects.codes_as_text(), dialects.plain_404()], ids=["codes", "plain"]
)
async def test_errors_in_another_format_are_reported_by_status(
    dialect: Middleware,
) -> None:
    together = [dialects.no_digest_header(), dialect]
    async with lab(simple(NAMES), dialect=together) as here:
        outcome = await here.audit(here.ref(NAMES[0]), here.ref("team/app:gone"))
    assert outcome.kinds == ["image", "not_found"]
    assert (
        outcome.records[0].digest == (here.content.repositories["team/app"].tags["0"])
    )
