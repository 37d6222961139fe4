"""Listings by the APIs of products, with the login that each of them takes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from auditor.config import ListerName, RegistrySettings, Settings
from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import DemoAccount
from auditor.demo.image_builder import image
from auditor.errors import Failure, FailureKind, Stage
from auditor.model import Shape
from auditor.registry.listing import choose
from auditor.registry.listing.interface import ListedTag, Page
from auditor.registry.registries import open_registries
from auditor.report.listing_stats import ListState
from auditor.report.shapes import encoder
from auditor.util.secret import Secret
from tests.flow.harness import ADMIN, Lab, lab, service, simple
from tests.support.fault_actions import Answer, Edit
from tests.support.products import (
    PUSHED_EPOCH,
    Routes,
    acr_api,
    artifactory_api,
    dtr_api,
    ghcr_api,
    gitea_api,
    gitlab_api,
    google_tags,
    harbor,
    harbor_api,
    hub_api,
    nexus_api,
    quay_api,
)
from tests.support.token_service import FakeTokenService

pytestmark = pytest.mark.anyio

NAMES = ["other/x:1", "team/a:1", "team/a:2", "team/a:3", "team/b:1", "team/c:latest"]
REPOSITORIES = ["other/x", "team/a", "team/b", "team/c"]
PUSHED = datetime.fromtimestamp(PUSHED_EPOCH, UTC)
TEAM = DemoAccount("team", "secret", {"team/*": ("pull",)})
TOKEN = DemoAccount("$oauthtoken", "a-token", {"*": ("*",)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A product, its login, and the paths of its API."""

    lister: ListerName
    routes: Callable[[DemoContent], Routes]
    api: str
    login: DemoAccount = ADMIN
    lists_all: bool = True
    lists_tags: bool = True
    selects: bool = True
    api_url: str | None = None
    counts: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.lister.value


CASES = [
    Case(
        lister=ListerName.DTR,
        routes=lambda content: dtr_api(content, [ADMIN]),
        api="/api/v0/*",
        counts="X-Resource-Count",
    ),
    Case(
        lister=ListerName.HARBOR,
        routes=lambda content: harbor_api(content, [ADMIN]),
        api="/api/v2.0/*",
        counts="X-Total-Count",
    ),
    Case(
        lister=ListerName.HUB,
        routes=lambda content: hub_api(content, [ADMIN]),
        api="/v2/namespaces/*",
        lists_all=False,
    ),
    Case(
        lister=ListerName.QUAY,
        routes=lambda content: quay_api(content, TOKEN.password),
        api="/api/v1/*",
        login=TOKEN,
        lists_all=False,
    ),
    Case(
        lister=ListerName.GITLAB,
        routes=lambda content: gitlab_api(content, TOKEN.password),
        api="/api/v4/*",
        login=TOKEN,
        lists_all=False,
        lists_tags=False,
        counts="x-total",
    ),
    Case(
        lister=ListerName.GITEA,
        routes=lambda content: gitea_api(content, [ADMIN]),
        api="/api/v1/packages/*",
        lists_all=False,
        lists_tags=False,
        counts="X-Total-Count",
    ),
    Case(
        lister=ListerName.GHCR,
        routes=lambda content: ghcr_api(content, TOKEN.password, users=("other",)),
        api="/[ou]*s/*",
        login=TOKEN,
        lists_all=False,
    ),
    Case(
        lister=ListerName.ACR,
        routes=acr_api,
        api="/acr/v1/*",
        selects=False,
    ),
    Case(
        lister=ListerName.ARTIFACTORY,
        routes=lambda content: artifactory_api(content, [ADMIN]),
        api="/artifactory/*",
        lists_all=False,
        lists_tags=False,
        api_url="/artifactory",
    ),
    Case(
        lister=ListerName.NEXUS,
        routes=lambda content: nexus_api(content, [ADMIN]),
        api="/service/rest/v1/*",
        selects=False,
        api_url="/repository/docker",
    ),
]
COUNTING = [case for case in CASES if case.counts is not None]
every_product = pytest.mark.parametrize("case", CASES, ids=str)


@asynccontextmanager
async def product(case: Case, content: DemoContent | None = None) -> AsyncIterator[Lab]:
    """A registry of the product with a closed catalog, and its API."""
    content = content or simple(NAMES)
    tokens = service(replace(case.login, grants={"*[!g]": ("pull",), "*/*": ("pull",)}))
    async with lab(
        content, tokens=tokens, login=case.login, routes=case.routes(content)
    ) as here:
        here.login = replace(
            here.login,
            lister=case.lister,
            api_url=case.api_url and f"http://{here.host}{case.api_url}",
        )
        yield here


async def repositories(
    here: Lab, prefix: str | None = None, **changes: Any
) -> list[Page[str] | Failure]:
    async with open_registries(
        here.settings(**changes), clock=here.clock
    ) as registries:
        registry = await registries.get(here.host)
        return [page async for page in registry.list_repositories(prefix)]


async def tags(
    here: Lab, repository: str, **changes: Any
) -> list[Page[ListedTag] | Failure]:
    async with open_registries(
        here.settings(**changes), clock=here.clock
    ) as registries:
        registry = await registries.get(here.host)
        return [page async for page in registry.list_tags(repository)]


def entries(pages: list[Page[Any] | Failure]) -> list[Any]:
    assert not [page for page in pages if isinstance(page, Failure)], pages
    return [entry for page in pages if isinstance(page, Page) for entry in page.entries]


def tokens_at(tokens: FakeTokenService, path: str = "/jwt/auth") -> Routes:
    """The token service at another path."""
    (first, *_) = tokens.routes()
    assert isinstance(first, web.RouteDef)
    return [web.get(path, first.handler)]


# -- every product ----------------------------------------------------------------


@every_product
@pytest.mark.parametrize("size", [1, 2, 1000])
async def test_all_pages_of_repositories_are_listed(case: Case, size: int) -> None:
    async with product(case) as here:
        below = await repositories(here, "team", page_size=size)
        both = await repositories(
            here, page_size=size, list_namespaces=("team", "other")
        )
        everything = await repositories(here, page_size=size)
    expected = [*REPOSITORIES[1:], "other/x"] if case.selects else REPOSITORIES
    assert entries(below) == (REPOSITORIES[1:] if case.selects else REPOSITORIES)
    assert [page.last for page in below if isinstance(page, Page)].count(True) == 1
    assert entries(both) == expected
    numbers = [page.number for page in both if isinstance(page, Page)]
    assert numbers == list(range(1, len(numbers) + 1))
    if case.lists_all:
        assert entries(everything) == REPOSITORIES
        return
    (failure,) = everything
    assert isinstance(failure, Failure)
    assert "cannot list all repositories" in failure.detail
    assert "list_namespace" in failure.detail


@every_product
@pytest.mark.parametrize("size", [1, 2, 1000])
async def test_tags_have_the_digest_and_the_time_of_the_push(
    case: Case, size: int
) -> None:
    async with product(case) as here:
        digests = here.content.repositories["team/a"].tags
        found = entries(await tags(here, "team/a", page_size=size))
        assert (here.faults.count("GET", "/v2/*/tags/list") == 0) is case.lists_tags
    assert {tag.name for tag in found} == digests.keys()
    if case.lists_tags:
        assert {tag.name: tag.digest for tag in found} == digests
        assert {tag.pushed for tag in found} == {PUSHED}


@every_product
async def test_a_pattern_is_audited_by_the_api_despite_a_closed_catalog(
    case: Case,
) -> None:
    async with product(case) as here:
        outcome = await here.audit(here.ref("team/**:*"))
        assert here.faults.count("GET", "/v2/_catalog") == 0
        asked = here.faults.requests("GET", case.api)
        assert here.faults.repeated("GET", case.api) == []
    assert sorted(one.partition("/")[2] for one in outcome.references) == NAMES[1:]
    assert outcome.kinds == ["image"] * 5
    (listing,) = outcome.summary.listings.shown
    assert listing.state is ListState.COMPLETE
    # Every request, the first included, had a login that the API accepts.
    assert {one.status for one in asked} == {200}


@pytest.mark.parametrize("size", [1, 2, 50])
@pytest.mark.parametrize("namespaces", [("Team", "other"), ("TEAM", "team", "other")])
async def test_an_owner_of_gitea_may_have_capitals_and_several_versions(
    namespaces: tuple[str, ...], size: int
) -> None:
    """Each version of an image is an entry of the API; repositories are counted."""
    (case,) = (one for one in CASES if one.lister is ListerName.GITEA)
    async with product(case) as here:
        outcome = await here.audit(
            here.ref("**:*"), list_namespaces=namespaces, page_size=size
        )
    assert sorted(one.partition("/")[2] for one in outcome.references) == NAMES
    assert outcome.kinds == ["image"] * len(NAMES)
    assert outcome.summary.duplicates == 0
    (listing,) = outcome.summary.listings.shown
    assert (listing.repositories, listing.chosen) == (4, 4)
    assert listing.state is ListState.COMPLETE


@every_product
async def test_a_failure_of_the_api_names_the_api(case: Case) -> None:
    async with product(case) as here:
        here.faults.on("GET", case.api, Answer(403), forever=True)
        (failure,) = await repositories(here, "team")
        outcome = await here.audit(here.ref("team/**:*"))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.stage, failure.status) == (
        FailureKind.DENIED,
        Stage.LIST,
        403,
    )
    assert failure.detail.startswith("the API of ")
    assert outcome.kinds == ["denied"]
    assert outcome.summary.listings.shown[0].state is ListState.DENIED


@pytest.mark.parametrize(
    "answer", [Answer(403), Answer(302, {"Location": "/login"}), Answer(200)], ids=str
)
async def test_a_login_without_a_token_is_not_sent_to_docker_hub_again(
    answer: Answer,
) -> None:
    async with product(CASES[2]) as here:
        here.faults.on("POST", "/v2/auth/token", answer, forever=True)
        async with open_registries(here.settings(), clock=here.clock) as registries:
            registry = await registries.get(here.host)
            for _ in range(3):
                (failure,) = [page async for page in registry.list_repositories("team")]
                assert isinstance(failure, Failure)
        assert here.faults.count("POST", "/v2/auth/token") == 1


@every_product
async def test_a_rejected_login_is_not_sent_to_the_api_again(case: Case) -> None:
    async with product(case) as here:
        here.login = replace(here.login, password=Secret("wrong"))
        async with open_registries(here.settings(), clock=here.clock) as registries:
            registry = await registries.get(here.host)
            for _ in range(3):
                (failure,) = [page async for page in registry.list_repositories("team")]
                assert isinstance(failure, Failure)
                assert failure.kind is FailureKind.DENIED
                assert "wrong" not in failure.detail
        sent = here.faults.count("GET", case.api)
        sent += here.faults.count("POST", "/v2/auth/token")
        # Azure's API takes the tokens of the registry, which rejects the login.
        assert sent == (0 if case.lister is ListerName.ACR else 1)


@every_product
@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"1", b"[", b'{"results": 1}', b'{"tags": {}}', b"{}"],
)
async def test_a_response_that_is_no_listing_is_a_failure(
    case: Case, body: bytes
) -> None:
    async with product(case) as here:
        here.faults.on("GET", case.api, Answer(body=body), forever=True)
        found = await repositories(here, "team")
        found_tags = await tags(here, "team/a") if case.lists_tags else []
    for page in [*found, *found_tags]:
        # Go encodes an empty slice as null.
        is_empty = isinstance(page, Page) and body == b"null" and page.entries == ()
        assert is_empty or (
            isinstance(page, Failure) and page.kind is FailureKind.PROTOCOL_VIOLATION
        )


@every_product
async def test_an_api_that_denies_the_second_page_gives_an_incomplete_listing(
    case: Case,
) -> None:
    async with product(case) as here:
        here.faults.on("GET", case.api, Answer(403), skip=1, forever=True)
        first, failure = await repositories(here, "team", page_size=1)
    assert isinstance(first, Page)
    assert not first.last
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.INCOMPLETE_LISTING
    assert "failed after 1 pages: the API of " in failure.detail


@pytest.mark.parametrize("case", COUNTING, ids=str)
async def test_fewer_entries_than_the_product_counts_are_an_incomplete_listing(
    case: Case,
) -> None:
    async with product(case) as here:
        edit = Edit(headers={str(case.counts): "17"})
        here.faults.on("GET", case.api, edit, forever=True)
        *pages, failure = await repositories(here, "team")
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.INCOMPLETE_LISTING
    assert "the registry counts 17 entries, but returned only " in failure.detail
    assert all(isinstance(page, Page) and not page.last for page in pages)


# -- one product ------------------------------------------------------------------


async def test_the_count_of_docker_hub_is_compared_with_the_entries() -> None:
    async with product(CASES[2]) as here:
        body = json.dumps({"count": 2, "next": None, "results": []}).encode()
        here.faults.on("GET", "/v2/namespaces/*", Answer(body=body))
        _, failure = await tags(here, "team/a")
    assert isinstance(failure, Failure)
    assert failure.detail == (
        "tags of team/a: the registry counts 2 entries, but returned only 0"
    )


async def test_a_count_on_the_first_page_applies_to_all_pages() -> None:
    async with product(CASES[0]) as here:
        later = Edit(headers={"X-Resource-Count": None})
        here.faults.on("GET", "/api/v0/*", later, skip=1, forever=True)
        assert entries(await repositories(here, page_size=1)) == REPOSITORIES


async def test_docker_hub_s_api_token_is_requested_once_and_renewed_after_a_401() -> (
    None
):
    async with product(CASES[2]) as here:
        here.faults.on("GET", "/v2/namespaces/*", Answer(401), skip=2)
        outcome = await here.audit(here.ref("team/**:*"))
        assert here.faults.count("POST", "/v2/auth/token") == 2
    assert outcome.kinds == ["image"] * 5


async def test_a_next_page_on_another_host_is_not_requested() -> None:
    async with product(CASES[2]) as here, lab() as elsewhere:
        body = {"count": 1, "next": f"http://{elsewhere.host}/x", "results": []}
        here.faults.on(
            "GET", "/v2/namespaces/*", Answer(body=json.dumps(body).encode())
        )
        page, failure = await repositories(here, "team")
        assert elsewhere.faults.count() == 0
    assert isinstance(page, Page)
    assert not page.last
    assert isinstance(failure, Failure)
    assert "has its next page at another host" in failure.detail


async def test_repeating_pages_end_in_a_failure() -> None:
    async with product(CASES[0]) as here:
        edit = Edit(headers={"X-Next-Page-Start": "team/a"})
        here.faults.on("GET", "/api/v0/*", edit, forever=True)
        *_, failure = await repositories(here)
        assert here.faults.count("GET", "/api/v0/*") <= 3
    assert isinstance(failure, Failure)
    assert failure.detail.endswith("the pages repeat without an end")


async def test_artifacts_of_harbor_may_have_several_tags_or_none() -> None:
    content = DemoContent()
    content.add("team/a/deep", image("one"), "1", "1.0", "latest")
    content.add("team/a/deep", image("two"))
    async with product(CASES[1], content) as here:
        (page,) = await tags(here, "team/a/deep")
        (target,) = here.targets("/api/v2.0/*")
        # The log decodes once: the name was encoded twice.
        assert "/projects/team/repositories/a%2Fdeep/artifacts?" in target
    assert isinstance(page, Page)
    assert [tag.name for tag in page.entries] == ["1", "1.0", "latest"]
    assert len({tag.digest for tag in page.entries}) == 1
    assert page.last
    assert page.total == 3


async def test_tags_of_a_repository_unknown_to_the_api_come_from_the_registry() -> None:
    content = simple(["team/a/deep:1", "team/a/deep:2", "team/b:1"])
    async with product(CASES[1], content) as here:
        # As behind a proxy that decodes %2F to a slash.
        here.faults.on("GET", "*/repositories/a*/artifacts", Answer(404), forever=True)
        outcome = await here.audit(here.ref("team/**:*"))
        nowhere = (await here.audit(here.ref("team/a:*"))).failure
    names = ("team/a/deep:1", "team/a/deep:2", "team/b:1")
    assert outcome.references == [here.ref(name) for name in names]
    assert outcome.kinds == ["image"] * 3
    assert nowhere.failure is FailureKind.NOT_FOUND


async def test_a_robot_account_of_quay_is_not_sent_and_the_listing_is_incomplete() -> (
    None
):
    robot = replace(CASES[3], login=DemoAccount("team+robot", "robot-password"))
    async with product(replace(robot, routes=quay_api)) as here:
        *pages, failure = await repositories(here, "team")
        assert entries(pages) == REPOSITORIES[1:]
        assert {
            one.headers.get("Authorization")
            for one in here.faults.requests("GET", "/api/v1/*")
        } == {None}
        outcome = await here.audit(here.ref("team/*:*"))
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.INCOMPLETE_LISTING
    assert failure.detail == (
        "repositories of team: only public ones are listed: the login of 'team+robot'"
        " was not used, because the API expects an OAuth token, with the user name"
        " $oauthtoken"
    )
    assert [one.state for one in outcome.summary.listings.shown] == [
        ListState.INCOMPLETE
    ]


async def test_without_a_login_an_anonymous_listing_is_complete() -> None:
    content = simple(NAMES)
    async with lab(content, routes=quay_api(content)) as here:
        here.login = replace(here.login, lister=ListerName.QUAY)
        assert entries(await repositories(here, "team")) == REPOSITORIES[1:]


async def test_the_api_is_requested_at_the_configured_url() -> None:
    content = simple(NAMES)
    routes = gitlab_api(content, TOKEN.password)
    async with (
        lab(content, tokens=service(TOKEN), login=TOKEN) as here,
        lab(routes=routes) as api,
    ):
        outcome = await here.audit(
            here.ref("team/**:*"),
            lister=ListerName.GITLAB,
            api_url=f"http://{api.host}/",
        )
        assert api.targets("*") == [
            "/api/v4/groups/team/registry/repositories?page=1&per_page=100"
        ]
    assert outcome.kinds == ["image"] * 5


async def test_a_subgroup_of_gitlab_is_listed_by_its_full_path() -> None:
    content = simple(["team/sub/a:1", "team/b:1"])
    async with product(CASES[4], content) as here:
        # The imitation knows a group by a single path segment only, as GitLab does.
        assert entries(await repositories(here, "team/sub")) == ["team/sub/a"]


async def test_packages_of_a_user_of_github_are_listed_too() -> None:
    (case,) = (one for one in CASES if one.lister is ListerName.GHCR)
    async with product(case) as here:
        outcome = await here.audit(here.ref("other/*:*"))
        asked = here.targets("/[ou]*s/*")
    assert outcome.kinds == ["image"]
    # The first 404 is remembered for the tags.
    assert [target.split("/")[1] for target in asked] == ["orgs", "users", "users"]


async def test_a_rate_limit_of_github_is_no_missing_right() -> None:
    (case,) = (one for one in CASES if one.lister is ListerName.GHCR)
    async with product(case) as here:
        limit = Answer(403, {"x-ratelimit-remaining": "0"})
        here.faults.on("GET", case.api, limit, forever=True)
        (failure,) = await repositories(here, "team")
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.RATE_LIMITED
    assert failure.detail.startswith("the API of GitHub: GitHub's rate limit")


async def test_the_tokens_of_the_registry_are_sent_to_azure_s_api() -> None:
    content = simple(NAMES)
    tokens = service(TEAM)
    async with lab(
        content, tokens=tokens, login=TEAM, routes=acr_api(content, tokens)
    ) as here:
        outcome = await here.audit(here.ref("team/**:*"), lister=ListerName.ACR)
        sent = here.faults.requests("GET", "/acr/v1/*")
        assert {one.headers["Authorization"][:7] for one in sent} == {"Bearer "}
    assert outcome.kinds == ["image"] * 5


async def test_a_listing_of_azure_that_is_cut_without_a_link_is_continued() -> None:
    content = simple([f"team/a:{number:03}" for number in range(150)])
    async with lab(content, routes=acr_api(content)) as here:
        cut = Edit(headers={"Link": None})
        here.faults.on("GET", "/acr/v1/*", cut, forever=True)
        found = entries(await tags(here, "team/a", lister=ListerName.ACR))
    assert len(found) == 150


async def test_a_repository_of_artifactory_may_have_a_host_of_its_own() -> None:
    content = simple(["app:1", "team/web:1"])
    routes = artifactory_api(simple(["docker/app:1", "docker/team/web:1"]))
    async with lab(content, routes=routes) as here:
        outcome = await here.audit(
            here.ref("**:*"),
            lister=ListerName.ARTIFACTORY,
            api_url=f"http://{here.host}/artifactory/docker",
        )
    assert outcome.references == [here.ref("app:1"), here.ref("team/web:1")]


# -- Google -----------------------------------------------------------------------


def google(content: DemoContent, here: Lab) -> None:
    for name in ["project", "project/team", *content.repositories]:
        body = json.dumps(google_tags(content, name)).encode()
        here.faults.on("GET", f"/v2/{name}/tags/list", Answer(body=body), forever=True)


async def test_the_listing_of_google_has_the_digest_of_every_tag() -> None:
    content = simple(["project/team/a:1", "project/team/a:2"])
    async with lab(content) as here:
        google(content, here)
        found = entries(await tags(here, "project/team/a"))
    digests = content.repositories["project/team/a"].tags
    assert {tag.name: tag.digest for tag in found} == digests
    assert {(tag.size, tag.created, tag.pushed) for tag in found} == {
        (1234, None, PUSHED)
    }


async def test_repositories_of_google_are_listed_by_child() -> None:
    content = simple(
        ["project/team/a:1", "project/team/a/deep:1", "project/team/b:2", "else/c:1"]
    )
    async with lab(content) as here:
        google(content, here)
        outcome = await here.audit(
            here.ref("project/team/**:*"), lister=ListerName.GOOGLE
        )
        assert here.faults.count("GET", "/v2/_catalog") == 0
    assert sorted(one.partition("/")[2] for one in outcome.references) == [
        "project/team/a/deep:1",
        "project/team/a:1",
        "project/team/b:2",
    ]


async def test_a_path_that_cannot_be_listed_does_not_stop_the_others() -> None:
    content = simple(["project/team/a:1", "project/team/b:2"])
    async with lab(content) as here:
        here.faults.on("GET", "/v2/project/team/a/tags/list", Answer(403), forever=True)
        google(content, here)
        found = await repositories(here, "project", lister=ListerName.GOOGLE)
    assert [
        one for page in found if isinstance(page, Page) for one in page.entries
    ] == ["project/team/b"]
    (failure,) = [page for page in found if isinstance(page, Failure)]
    assert failure.detail.startswith("repositories below project/team/a: ")


async def test_digests_in_a_listing_save_requests_for_cached_images(
    tmp_path: Path,
) -> None:
    async with product(CASES[0]) as here:
        nights = [
            await here.audit(here.ref("team/**:*"), cache=str(tmp_path / "store"))
            for _ in range(2)
        ]
    first, second = nights
    assert first.summary.requests["manifest"] == 5
    assert second.summary.requests.get("manifest", 0) == 0
    assert second.summary.requests.get("head", 0) == 0
    assert second.summary.saved["listed_tags"] == 5
    assert [one.digest for one in second.records] == [
        one.digest for one in first.records
    ]


async def test_each_night_has_the_pulls_of_its_own_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = {
        "2026-08-06T10:00:00.123Z": "2026-08-06T10:00:00Z",
        "2026-08-07T12:00:00+02:00": "2026-08-07T10:00:00Z",
    }
    async with product(CASES[1]) as here:
        for pulled, shown in nights.items():
            monkeypatch.setattr(harbor, "PULLED", pulled)
            outcome = await here.audit(
                here.ref("team/a:*"),
                here.ref("other/x:1"),
                cache=str(tmp_path / "store"),
            )
            *listed, named = outcome.records
            for shape in Shape:
                encode = encoder(shape)
                lines = [
                    json.loads(line)
                    for record in listed
                    for line in encode(record).splitlines()
                ]
                times = {(line["pushed_at"], line["pulled_at"]) for line in lines}
                assert times == {("2026-08-05T10:00:00Z", shown)}
                other = json.loads(encode(named).splitlines()[0])
                assert (other["pushed_at"], other["pulled_at"]) == (None, None)
    # A GET would be a pull.
    assert outcome.summary.requests.get("manifest", 0) == 0


# -- recognised products ----------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "shown"),
    [
        (harbor_api, {"service": "harbor-registry", "realm": "/service/token"}),
        (dtr_api, {"realm": "/auth/v2/token/"}),
    ],
)
async def test_a_closed_catalog_is_replaced_by_the_api_of_the_recognised_product(
    api: Callable[[DemoContent, list[DemoAccount]], Routes], shown: dict[str, str]
) -> None:
    content = simple(NAMES)
    tokens = service(TEAM, **shown)
    async with lab(
        content, tokens=tokens, login=TEAM, routes=api(content, [TEAM])
    ) as here:
        outcome = await here.audit(here.ref("team/**:*"))
        asked = here.targets("/api/*")
        assert len(asked) == 1
        # Tags come from the registry, unless a lister is configured.
        assert here.faults.count("GET", "/v2/*/tags/list") == 3
    assert outcome.kinds == ["image"] * 5
    assert outcome.summary.listings.shown[0].state is ListState.COMPLETE


async def test_the_api_of_gitlab_is_at_the_host_of_its_realm() -> None:
    content = simple(NAMES)
    tokens = service(TEAM, service="container_registry")
    api = lab(routes=[*gitlab_api(content, TEAM.password), *tokens_at(tokens)])
    async with api as gitlab:
        tokens.realm = f"http://{gitlab.host}/jwt/auth"
        async with lab(content, tokens=tokens, login=TEAM) as here:
            outcome = await here.audit(here.ref("team/**:*"))
        assert gitlab.targets("/api/*") == [
            "/api/v4/groups/team/registry/repositories?page=1&per_page=100"
        ]
    assert outcome.kinds == ["image"] * 5


async def test_if_the_api_is_closed_too_the_failure_names_both() -> None:
    content = simple(NAMES)
    tokens = service(TEAM, service="harbor-registry")
    async with lab(
        content, tokens=tokens, login=TEAM, routes=harbor_api(content, [TEAM])
    ) as here:
        here.faults.on("GET", "/api/v2.0/*", Answer(403), forever=True)
        failure = (await here.audit(here.ref("team/**:*"))).failure
    assert failure.failure is FailureKind.NO_PULL_GRANT
    assert "(registry:catalog:*); the API of Harbor: " in failure.detail


@pytest.mark.parametrize("lister", [ListerName.CATALOG, ListerName.AUTO])
async def test_no_api_is_requested_after_a_wrong_password_or_with_a_configured_catalog(
    lister: ListerName,
) -> None:
    content = simple(NAMES)
    password = "wrong" if lister is ListerName.AUTO else TEAM.password
    tokens = service(TEAM, service="harbor-registry")
    async with lab(
        content,
        tokens=tokens,
        login=DemoAccount(TEAM.name, password),
        routes=harbor_api(content, [TEAM]),
    ) as here:
        (failure,) = await repositories(here, "team", lister=lister)
        assert here.faults.count("GET", "/api/*") == 0
    assert isinstance(failure, Failure)


# -- the choice of a lister -------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "api"),
    [
        ("docker.io", "https://hub.docker.com"),
        ("registry.gitlab.com", "https://gitlab.com"),
        ("ghcr.io", "https://api.github.com"),
        ("harbor.example.com:8443", "https://harbor.example.com:8443"),
    ],
)
async def test_the_url_of_an_api_is_configured_known_or_the_registry_s(
    name: str, api: str
) -> None:
    base_url = f"https://{name}"
    assert choose.product_api_url(name, RegistrySettings(), base_url) == api
    chosen = RegistrySettings(api_url="https://api.example.com/")
    assert choose.product_api_url(name, chosen, base_url) == "https://api.example.com"
    assert Settings().registry(name).lister is ListerName.AUTO


@pytest.mark.parametrize(
    ("name", "api"),
    [
        ("containers.github.example.com", "https://github.example.com/api/v3"),
        ("containers.company.ghe.com", "https://api.company.ghe.com"),
    ],
)
def test_the_api_of_github_enterprise_is_beside_its_registry(
    name: str, api: str
) -> None:
    settings = RegistrySettings(lister=ListerName.GHCR)
    assert choose.product_api_url(name, settings, f"https://{name}") == api


@pytest.mark.parametrize(
    ("name", "lister"),
    [
        ("docker.io", ListerName.HUB),
        ("registry.gitlab.com", ListerName.GITLAB),
        ("gcr.io", ListerName.GOOGLE),
        ("eu.gcr.io", ListerName.GOOGLE),
        ("europe-docker.pkg.dev", ListerName.GOOGLE),
        ("notgcr.io", ListerName.CATALOG),
        ("ghcr.io", ListerName.GHCR),
        ("quay.io", ListerName.CATALOG),
        ("gcr.io.example.com", ListerName.CATALOG),
    ],
)
def test_the_lister_of_well_known_registries(name: str, lister: ListerName) -> None:
    assert choose._known_lister(name) is lister
