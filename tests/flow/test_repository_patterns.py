"""Repository patterns: the catalog, then each repository's tags, in a fixed order."""

from __future__ import annotations

import json

import pytest

from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import DemoAccount
from auditor.demo.image_builder import image
from auditor.errors import Stage
from auditor.input.expand import MAX_AHEAD
from auditor.model import FailureRecord
from auditor.report.listing_stats import ListKind, ListState
from tests.flow.harness import MANIFESTS, TAGS, Lab, Outcome, lab, service, simple
from tests.support.fault_actions import Answer, Gate, Hold

pytestmark = pytest.mark.anyio

CATALOG = "/v2/_catalog"
NAMES = [
    "app:1.0", "app:1.1", "team/a:1.0", "team/a:2.0", "team/a/deep:1.0", "team/b:1.5",
    "team/b:latest", "tools/c:3",
]  # fmt: skip


def short(here: Lab, outcome: Outcome) -> list[str]:
    return [name.removeprefix(here.host + "/") for name in outcome.references]


def failed(outcome: Outcome, number: int) -> FailureRecord:
    record = outcome.records[number]
    assert isinstance(record, FailureRecord)
    return record


def catalog_of(*names: object) -> Answer:
    return Answer(body=json.dumps({"repositories": names}).encode())


@pytest.mark.parametrize("page_size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*:*", NAMES),
        (
            "**:1.*",
            ["app:1.0", "app:1.1", "team/a:1.0", "team/a/deep:1.0", "team/b:1.5"],
        ),
        ("team/*:*", ["team/a:1.0", "team/a:2.0", "team/b:1.5", "team/b:latest"]),
        ("team/**:1.0", ["team/a:1.0", "team/a/deep:1.0"]),
        ("**/[bc]:*", ["team/b:1.5", "team/b:latest", "tools/c:3"]),
        ("a*:*", ["app:1.0", "app:1.1"]),
    ],
)
async def test_a_repository_pattern_expands_to_tags_of_all_repositories(
    pattern: str, expected: list[str], page_size: int
) -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(here.ref(pattern), page_size=page_size)
        assert short(here, outcome) == expected
    assert set(outcome.kinds) == {"image"}
    (catalog,) = outcome.summary.listings.shown
    assert catalog.kind is ListKind.REPOSITORIES
    assert catalog.pages == (5 if page_size == 1 else 2 if page_size == 3 else 1)
    assert catalog.repositories == 5
    assert catalog.matched == len(expected)
    assert catalog.tag_lists == {ListState.COMPLETE: catalog.chosen}


async def test_patterns_and_references_keep_their_order_without_duplicates() -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(
            *map(here.ref, ("tools/c:3", "team/*:*", "app:1.1", "*:1.*", "*:latest"))
        )
        assert short(here, outcome) == [
            "tools/c:3", "team/a:1.0", "team/a:2.0", "team/b:1.5", "team/b:latest",
            "app:1.1", "app:1.0", "team/a/deep:1.0",
        ]  # fmt: skip
    assert outcome.summary.duplicates == 4


async def test_the_catalog_and_each_repository_use_their_own_token() -> None:
    async with lab(simple(NAMES), tokens=service()) as here:
        outcome = await here.audit(here.ref("team/**:*"))
        assert outcome.kinds == ["image"] * 5
        assert len(here.targets("/token")) == 4
        assert here.faults.repeated("GET", "/token") == []


async def test_a_catalog_without_a_grant_is_denied_with_advice() -> None:
    reader = DemoAccount("reader", "secret", {"app": ("pull",)})
    async with lab(simple(NAMES), tokens=service(reader), login=reader) as here:
        outcome = await here.audit(here.ref("**:*"), here.ref("app:1.0"))
        assert len(here.targets(CATALOG)) == 1
    assert outcome.kinds == ["no_pull_grant", "image"]
    failure = failed(outcome, 0)
    assert failure.reference == here.ref("**:*")
    assert (failure.registry, failure.repository) == (here.host, "**")
    assert "name the repositories in a list (-f)" in failure.detail
    assert [one.state for one in outcome.summary.listings.shown] == [ListState.DENIED]


@pytest.mark.parametrize(
    ("status", "kind", "state"),
    [
        (401, "denied", ListState.DENIED),
        (403, "denied", ListState.DENIED),
        (404, "not_found", ListState.INCOMPLETE),
        (405, "protocol_violation", ListState.INCOMPLETE),
    ],
)
async def test_an_unavailable_catalog_is_a_failure_with_advice(
    status: int, kind: str, state: ListState
) -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", CATALOG, Answer(status), forever=True)
        outcome = await here.audit(here.ref("team/*:*"))
    failure = outcome.failure
    assert (failure.failure, failure.stage, failure.status) == (
        kind,
        Stage.LIST,
        status,
    )
    assert "name the repositories in a list (-f)" in failure.detail
    assert outcome.summary.listings.shown[0].state is state


@pytest.mark.parametrize("names", [[], None, [None]])
async def test_an_empty_catalog_is_a_failure_but_not_denied(
    names: list[None] | None,
) -> None:
    body = json.dumps({"repositories": names}).encode()
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", CATALOG, Answer(body=body))
        outcome = await here.audit(here.ref("*:*"))
    assert outcome.failure.failure == "not_found"
    assert (
        "is empty: the registry has no repositories, or none" in outcome.failure.detail
    )
    assert outcome.summary.listings.shown[0].state is ListState.EMPTY


@pytest.mark.parametrize(("count", "state"), [(99, "complete"), (100, "suspicious")])
async def test_a_catalog_of_exactly_a_hundred_without_a_next_page_looks_truncated(
    count: int, state: str
) -> None:
    names = [f"r{number:03}" for number in range(count)]
    async with lab(simple(f"{name}:1" for name in names)) as here:
        here.faults.on("GET", CATALOG, catalog_of(*names), forever=True)
        outcome = await here.audit(here.ref("r*:1"))
    assert outcome.kinds == ["image"] * count
    assert outcome.summary.listings.shown[0].state == state


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("other/*:*", "none of the 5 repositories of"),
        ("team/*:9*", "none of the 4 tags of 2 repositories matches 9*"),
    ],
)
async def test_a_repository_pattern_without_a_match_is_a_failure(
    pattern: str, words: str
) -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(here.ref(pattern))
    assert outcome.failure.failure == "not_found"
    assert words in outcome.failure.detail


async def test_a_listed_repository_that_is_missing_or_empty_is_not_a_failure() -> None:
    content = simple(NAMES)
    content.repository("team/empty")
    async with lab(content) as here:
        here.faults.on("GET", CATALOG, catalog_of("app", "gone", "team/empty"))
        outcome = await here.audit(here.ref("**:*"))
    assert outcome.kinds == ["image", "image"]
    (catalog,) = outcome.summary.listings.shown
    assert catalog.tag_lists == {ListState.COMPLETE: 1, ListState.EMPTY: 2}


async def test_a_repository_with_denied_tags_gets_its_own_record() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/team/a/tags/list", Answer(403))
        outcome = await here.audit(here.ref("team/*:1.*"))
        assert short(here, outcome) == ["team/a:1.*", "team/b:1.5"]
    assert outcome.kinds == ["denied", "image"]
    denied, catalog = outcome.summary.listings.shown
    assert (denied.selector, denied.state) == (here.ref("team/a:1.*"), "denied")
    assert catalog.tag_lists == {ListState.DENIED: 1, ListState.COMPLETE: 1}


async def test_invalid_repository_names_make_the_catalog_incomplete() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on(
            "GET",
            CATALOG,
            catalog_of("app", "../etc", "Team/A", None, 7, "app", "a//b"),
        )
        outcome = await here.audit(here.ref("**:*"))
        assert set(here.targets(TAGS)) == {"/v2/app/tags/list?n=1000"}
    assert outcome.kinds == ["image", "image", "incomplete_listing"]
    assert "has 4 invalid repository names" in failed(outcome, -1).detail
    assert outcome.summary.duplicates == 0


async def test_a_catalog_that_breaks_off_is_incomplete_and_the_rest_is_audited() -> (
    None
):
    async with lab(simple(NAMES)) as here:
        after = {"last": "team/a"}
        here.faults.on("GET", CATALOG, Answer(500), query=after, forever=True)
        outcome = await here.audit(here.ref("**:1.0"), page_size=2, tries=1)
    assert outcome.kinds == ["image", "image", "incomplete_listing"]
    assert outcome.summary.listings.shown[-1].state is ListState.INCOMPLETE


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("</v2/_catalog?n=1000>", "the pages repeat without an end"),
        (
            "<http://other.example/v2/_catalog?last=a>",
            "has its next page at another host",
        ),
    ],
)
async def test_a_catalog_link_to_another_host_is_not_followed(
    link: str, words: str
) -> None:
    headers = {"Link": f'{link}; rel="next"'}
    answer = Answer(headers=headers, body=b'{"repositories":["app"]}')
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", CATALOG, answer)
        outcome = await here.audit(here.ref("**:1.0"))
    assert outcome.kinds == ["image", "incomplete_listing"]
    assert words in failed(outcome, -1).detail


async def test_listings_run_ahead_of_the_workers_up_to_the_limit() -> None:
    content = DemoContent()
    for number in range(60):
        content.add(f"r{number:02}", image("one"), "1")
    gate = Gate()
    # Read: the window and the next one. Ahead: a full buffer of steps and the next one.
    most = 4 + 1 + MAX_AHEAD + 1
    asked: list[int] = []
    async with lab(content) as here:
        here.faults.on("GET", MANIFESTS, Hold(gate), forever=True)

        def go_on() -> None:
            asked.append(here.faults.count("GET", TAGS))
            gate.open()

        async with here.when(
            lambda: here.faults.count("GET", TAGS) >= most and gate.waiting == 2, go_on
        ):
            outcome = await here.audit(
                here.ref("r*:1"), window=4, workers=2, requests_at_once=16
            )
    assert asked == [most]
    assert outcome.kinds == ["image"] * 60
