"""The listings of a registry by its own API: pages, truncation and failures."""

from __future__ import annotations

import json

import pytest

from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import DemoAccount
from auditor.demo.image_builder import image
from auditor.errors import Failure, FailureKind, Stage
from auditor.registry.listing import paging
from auditor.registry.listing.interface import ListedTag, Page
from auditor.registry.registries import open_registries
from auditor.report.listing_stats import ListState
from tests.flow.harness import TAGS, Lab, lab, service, simple
from tests.support.fault_actions import Answer, Pass
from tests.support.registry import Behaviour

pytestmark = pytest.mark.anyio

NAMES = ["a", "b/c", "b/d", "e/f/g", "h"]
CATALOG = "/v2/_catalog"


async def catalog(here: Lab, **changes: object) -> list[Page[str] | Failure]:
    async with open_registries(
        here.settings(**changes), clock=here.clock
    ) as registries:
        registry = await registries.get(here.host)
        return [page async for page in registry.list_repositories(None)]


async def tags(here: Lab, repository: str) -> list[Page[ListedTag] | Failure]:
    async with open_registries(here.settings(), clock=here.clock) as registries:
        registry = await registries.get(here.host)
        return [page async for page in registry.list_tags(repository)]


def names(pages: list[Page[str] | Failure]) -> list[str]:
    return [name for page in pages if isinstance(page, Page) for name in page.entries]


def failures(pages: list[Page[str] | Failure]) -> list[Failure]:
    return [page for page in pages if isinstance(page, Failure)]


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4, 5, 1000])
async def test_all_pages_of_the_catalog_are_read(size: int, absolute: bool) -> None:
    behaviour = Behaviour(absolute_links=absolute)
    async with lab(simple(NAMES), behaviour=behaviour) as here:
        pages = await catalog(here, page_size=size)
    assert names(pages) == NAMES
    assert [page.number for page in pages if isinstance(page, Page)] == list(
        range(1, -(-len(NAMES) // size) + 1)
    )
    assert [page.last for page in pages if isinstance(page, Page)][-1]


@pytest.mark.parametrize(
    ("size", "max_page", "queries"),
    [
        (5000, 1000, ["?n=5000", "?n=1000"]),
        (5000, 100, ["?n=5000", "?n=1000", ""]),
        (1000, 100, ["?n=1000", ""]),
    ],
)
async def test_a_refused_page_size_is_reduced_and_then_omitted(
    size: int, max_page: int, queries: list[str]
) -> None:
    async with lab(simple(NAMES), behaviour=Behaviour(max_page=max_page)) as here:
        assert names(await catalog(here, page_size=size)) == NAMES
        assert here.targets(CATALOG) == [CATALOG + query for query in queries]


async def test_after_a_timeout_the_catalog_is_requested_in_small_pages() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", CATALOG, Answer(504), query={"n": "1000"}, forever=True)
        assert names(await catalog(here)) == NAMES
        assert here.targets(CATALOG)[-1] == f"{CATALOG}?n=100"


async def test_the_catalog_is_requested_with_a_token_for_its_scope() -> None:
    async with lab(simple(NAMES), tokens=service()) as here:
        assert names(await catalog(here)) == NAMES
        (asked,) = here.targets("/token")
        assert "scope=registry:catalog:*" in asked


async def test_without_a_catalog_grant_the_catalog_is_tried_once() -> None:
    reader = DemoAccount("reader", "secret", {"a": ("pull",)})
    async with lab(simple(NAMES), tokens=service(reader), login=reader) as here:
        (failure,) = failures(await catalog(here))
        assert len(here.targets(CATALOG)) == 1
    assert failure.kind is FailureKind.NO_PULL_GRANT
    assert failure.detail == (
        "the token does not let 'reader' list repositories (registry:catalog:*)"
    )


@pytest.mark.parametrize("status", [403, 404])
async def test_a_refused_catalog_is_a_failure(status: int) -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", CATALOG, Answer(status))
        (failure,) = failures(await catalog(here))
    assert (failure.stage, failure.status) == (Stage.LIST, status)


@pytest.mark.parametrize(
    ("repositories", "expected", "unreadable"),
    [
        (None, (), 0),
        ([], (), 0),
        (["a", None, "b"], ("a", "b"), 0),
        (["a", 7, {}, "../b"], ("a", "../b"), 2),
    ],
)
async def test_unreadable_entries_of_a_catalog_are_counted(
    repositories: object, expected: tuple[str, ...], unreadable: int
) -> None:
    body = json.dumps({"repositories": repositories}).encode()
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", CATALOG, Answer(body=body))
        (page,) = await catalog(here)
    assert page == Page(entries=expected, number=1, last=True, unreadable=unreadable)


async def test_a_large_response_is_returned_in_several_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paging, "PAGE_ENTRIES", 2)
    content = simple([f"app:{number}" for number in range(5)])
    async with lab(content, behaviour=Behaviour(tags_pages=False)) as here:
        pages = await tags(here, "app")
    assert pages == [
        Page(entries=(ListedTag("0"), ListedTag("1")), number=1, last=False),
        Page(entries=(ListedTag("2"), ListedTag("3")), number=1, last=False),
        Page(entries=(ListedTag("4"),), number=1, last=True),
    ]


@pytest.mark.parametrize(
    ("document", "status", "kind"),
    [
        ({"repositories": ["a"], "errors": [{"code": "DENIED"}]}, 200, "DENIED"),
        ({"repositories": None, "errors": [{"code": "DENIED"}]}, 200, "DENIED"),
        ({"repositories": [], "errors": "try later"}, 200, "has errors"),
        ({"repositories": [], "errors": ["no"]}, 200, "has errors"),
        ({"repositories": ["a"]}, 206, "part of the listing"),
    ],
)
async def test_a_listing_with_errors_or_in_part_is_a_failure(
    document: object, status: int, kind: str
) -> None:
    async with lab(simple(NAMES)) as here:
        answer = Answer(status=status, body=json.dumps(document).encode())
        here.faults.on("GET", CATALOG, answer)
        (failure,) = failures(await catalog(here))
    assert kind in failure.detail


@pytest.mark.parametrize("errors", [None, [], {}])
async def test_a_listing_can_say_that_it_has_no_errors(errors: object) -> None:
    body = json.dumps({"repositories": ["a"], "errors": errors}).encode()
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", CATALOG, Answer(body=body))
        assert names(await catalog(here)) == ["a"]


# -- truncated listings --------------------------------------------------------------

TRUNCATES = Behaviour(links=False, default_page=100, max_page=1000)


def numbered(count: int) -> list[str]:
    return [f"{number:04}" for number in range(count)]


@pytest.mark.parametrize(
    ("count", "size", "requests"),
    [
        (99, 100, 1),
        (100, 100, 2),
        (101, 100, 2),
        (250, 100, 3),
        (300, 100, 4),
        (1000, 1000, 2),
        (1500, 1000, 2),
    ],
)
async def test_the_rest_of_a_truncated_listing_is_requested(
    count: int, size: int, requests: int
) -> None:
    """A page that may be truncated is followed by one more request."""
    names = numbered(count)
    content = DemoContent()
    content.add("app", image("app"), *names)
    async with lab(content, behaviour=TRUNCATES) as here:
        async with open_registries(
            here.settings(page_size=size), clock=here.clock
        ) as registries:
            registry = await registries.get(here.host)
            found = [page async for page in registry.list_tags("app")]
        assert len(here.targets("/v2/app/tags/list")) == requests
    pages = [page for page in found if isinstance(page, Page)]
    assert pages == found
    assert [tag.name for page in pages for tag in page.entries] == names
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    ends_on_a_round_number = len(pages[-1].entries) in {100, 1000}
    assert pages[-1].end_verified is ends_on_a_round_number


async def test_the_rest_of_a_truncated_catalog_is_requested() -> None:
    names = [f"r{number}" for number in numbered(250)]
    async with lab(simple(f"{name}:1" for name in names), behaviour=TRUNCATES) as here:
        pages = await catalog(here, page_size=100)
        assert here.targets(CATALOG)[1] == f"{CATALOG}?n=100&last=r0099"
    assert [page for page in pages if isinstance(page, Failure)] == []
    assert [
        name for page in pages if isinstance(page, Page) for name in page.entries
    ] == names


@pytest.mark.parametrize(
    "then",
    [
        Answer(404),
        Answer(400),
        Answer(body=b"<html>"),
        Answer(body=b'{"tags":["0099"]}'),
        Answer(body=b'{"tags":["0050","new"]}'),
    ],
)
async def test_a_registry_that_ignores_last_leaves_the_end_unverified(
    then: Answer,
) -> None:
    content = DemoContent()
    content.add("app", image("app"), *numbered(100))
    async with lab(content) as here:
        here.faults.on("GET", TAGS, Pass(), then)
        (page,) = await tags(here, "app")
    assert isinstance(page, Page)
    assert (page.last, page.end_verified, len(page.entries)) == (True, False, 100)


async def test_the_rest_of_an_unordered_listing_is_not_requested() -> None:
    names = numbered(100)[::-1]
    body = json.dumps({"tags": names}).encode()
    async with lab() as here:
        here.faults.on("GET", TAGS, Answer(body=body))
        (page,) = await tags(here, "app")
        assert len(here.targets(TAGS)) == 1
    assert isinstance(page, Page)
    assert not page.end_verified


@pytest.mark.parametrize("then", [Answer(403), Answer(body=b'{"tags":["a0000"]}')])
async def test_a_truncated_listing_without_its_rest_is_incomplete(
    then: Answer,
) -> None:
    one, other = (
        Answer(body=json.dumps({"tags": [f"{c}{n}" for n in numbered(100)]}).encode())
        for c in "ab"
    )
    async with lab() as here:
        here.faults.on("GET", TAGS, one, other, then)
        first, second, failure = await tags(here, "app")
        assert len(here.targets(TAGS)) == 3
    assert isinstance(first, Page)
    assert isinstance(second, Page)
    assert not second.last
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.INCOMPLETE_LISTING
    assert (
        failure.detail
        == "tags of app: truncated by the registry, which does not return the rest"
    )


def repositories(found: list[str]) -> Answer:
    return Answer(200, {}, json.dumps({"repositories": found}).encode())


# pkg/registry of go-containerregistry: of more than n, any n, in the order of a map.
RANDOM = numbered(1200)[200:][::-1]


@pytest.mark.parametrize(
    ("whole", "expected", "unknown"),
    [
        (repositories(numbered(1201)), numbered(1201), False),
        # as many as before, fewer, others, an error: nothing is known
        (repositories(RANDOM), RANDOM, True),
        (repositories(RANDOM[:100]), RANDOM, True),
        (repositories(numbered(1100)), RANDOM, True),
        (Answer(400), RANDOM, True),
        (Answer(body=b"<html>"), RANDOM, True),
        # 10,000 without n: limited, too
        (repositories(numbered(10_000)), numbered(10_000), True),
    ],
    ids=["whole", "same", "fewer", "others", "refused", "html", "limited"],
)
async def test_a_catalog_in_any_order_is_requested_without_a_size(
    whole: Answer, expected: list[str], unknown: bool
) -> None:
    async with lab() as here:
        here.faults.on("GET", CATALOG, repositories(RANDOM), whole)
        pages = await catalog(here)
        assert here.targets(CATALOG) == [f"{CATALOG}?n=1000", CATALOG]
    assert names(pages) == expected
    last = pages[-1]
    assert isinstance(last, Page)
    assert (last.last, last.end_unknown) == (True, unknown)


async def test_a_full_page_without_a_link_ends_a_listing_that_has_links() -> None:
    """A registry that pages by cursors starts again when it gets a name."""
    link = {"Link": '</v2/app/tags/list?cursor=x>; rel="next"'}
    one, other = (
        json.dumps({"tags": [f"{c}{n}" for n in numbered(100)]}).encode() for c in "ab"
    )
    async with lab() as here:
        here.faults.on("GET", TAGS, Answer(headers=link, body=one), Answer(body=other))
        first, second = await tags(here, "app")
        assert len(here.targets(TAGS)) == 2
    assert isinstance(first, Page)
    assert isinstance(second, Page)
    assert second.last


THREE = Answer(200, {}, json.dumps({"repositories": NAMES[:3]}).encode())


async def test_a_page_of_the_requested_size_without_a_link_may_be_truncated() -> None:
    """A registry that grants the requested size may truncate there, at 3 as at 1000."""
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", CATALOG, THREE)
        complete = await catalog(here, page_size=3)
        assert names(complete) == NAMES
        here.faults.on("GET", CATALOG, THREE, forever=True)
        first, *more = await catalog(here, page_size=3)
        outcome = await here.audit(here.ref("*:*"), page_size=3)
    assert not more
    assert isinstance(first, Page)
    assert (first.last, first.end_verified, first.end_unknown) == (True, False, True)
    assert outcome.summary.listings.shown[0].state is ListState.SUSPICIOUS
