"""Selectors of one repository, or of one catalog, share its listing."""

from __future__ import annotations

import anyio
import pytest

from auditor.errors import Failure, FailureKind, Stage
from auditor.input import listing_cache
from auditor.input.listing_cache import ListingCache, Pages
from auditor.registry.listing.interface import Page
from tests.flow.harness import lab, simple
from tests.support.fault_actions import Answer

pytestmark = pytest.mark.anyio

TAGS = [f"v{number}{end}" for number in range(3) for end in ("", "-alpine")]
NAMES = [f"team/{app}:{tag}" for app in ("a", "b") for tag in TAGS]
TAG_LIST = "/v2/team/a/tags/list"
CATALOG = "/v2/_catalog"


async def test_two_patterns_of_a_repository_share_a_listing() -> None:
    async with lab(simple(NAMES)) as here:
        asked = [here.ref(f"team/a:{tags}") for tags in ("v1*", "*-alpine", "v1*")]
        alone = [(await here.audit(one)).references for one in asked[:2]]
        before = here.faults.count("GET", TAG_LIST)
        outcome = await here.audit(asked[0], here.ref("team/b:v1"), *asked[1:])
        assert here.faults.count("GET", TAG_LIST) == before + 1
    first, second = alone
    assert outcome.references == [
        *first,
        here.ref("team/b:v1"),
        *(one for one in second if one not in first),
    ]
    # Each pattern has its own statistics.
    told = [
        (one.entries, one.complete, one.matched)
        for one in outcome.summary.listings.shown
    ]
    assert told == [(6, True, 2), (6, True, 3), (6, True, 2)]


async def test_patterns_of_a_catalog_share_its_listings() -> None:
    async with lab(simple(NAMES)) as here:
        asked = [here.ref("team/*:v1"), here.ref("**:*-alpine"), here.ref("*/a:v2")]
        outcome = await here.audit(*asked)
        catalogs = here.faults.count("GET", CATALOG)
        lists = here.faults.count("GET", "/v2/*/tags/list")
    # "team/**" is below a folder, which some products list on its own.
    assert catalogs == 2
    assert lists == 2
    assert len(outcome.records) == 2 + 2 * 3 + 1


async def test_a_listing_that_broke_off_is_read_again_from_the_beginning() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", TAG_LIST, Answer(500))
        outcome = await here.audit(
            here.ref("team/a:v1*"), here.ref("team/a:*-alpine"), tries=1
        )
        assert here.faults.count("GET", TAG_LIST) == 2
    failure, *images = outcome.records
    assert failure.reference == here.ref("team/a:v1*")
    assert [one.reference for one in images] == [
        here.ref(f"team/a:v{number}-alpine") for number in range(3)
    ]


async def test_a_long_listing_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_cache, "MAX_LISTING_ENTRIES", 8)
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(
            here.ref("team/a:v1*"), here.ref("team/a:*-alpine"), page_size=2
        )
        pages = here.faults.count("GET", TAG_LIST)
        await here.audit(here.ref("team/a:v1*"), page_size=2)
        alone = here.faults.count("GET", TAG_LIST) - pages
    assert pages == 2 * alone
    assert len(outcome.records) == 4


# -- the cache alone ---------------------------------------------------------------

BROKEN = Failure(kind=FailureKind.TIMEOUT, stage=Stage.LIST, detail="")


def page(number: int, *, last: bool, size: int = 1) -> Page[str]:
    return Page(entries=("x",) * size, number=number, last=last)


async def read_all(
    lists: ListingCache[str], key: str, *pages: Page[str] | Failure
) -> tuple[int, bool]:
    """The number of pages returned, and whether they were read."""
    was_read = False

    async def read() -> Pages[str]:
        nonlocal was_read
        was_read = True
        for one in pages:
            yield one

    got = [one async for one in lists.pages(lists.turn(key), read)]
    return len(got), was_read


async def test_the_least_recently_used_listing_is_evicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The size of each is six: its entry, and five for an empty listing.
    monkeypatch.setattr(listing_cache, "MAX_ENTRIES", 12)
    lists = ListingCache[str]()
    asked = [("a", True), ("b", True), ("a", False), ("c", True), ("a", False)]
    for key, is_read in [*asked, ("b", True), ("c", True)]:
        assert await read_all(lists, key, page(1, last=True)) == (1, is_read), key


async def test_a_listing_that_ends_with_a_failure_is_not_shared() -> None:
    lists = ListingCache[str]()
    for _ in range(2):
        assert await read_all(lists, "a", page(1, last=False), BROKEN) == (2, True)


async def test_a_reader_that_waits_for_an_abandoned_listing_reads_it() -> None:
    lists = ListingCache[str]()
    got: list[str] = []

    async def read(name: str) -> Pages[str]:
        got.append(name)
        yield page(1, last=False)
        if name == "first":
            await anyio.sleep_forever()
        yield page(2, last=True)

    async def take(name: str) -> None:
        turn = lists.turn("key")
        async for one in lists.pages(turn, lambda: read(name)):
            assert isinstance(one, Page)
            got.append(f"{name} {one.number}")

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as first:
            async with anyio.create_task_group() as given_up:
                given_up.start_soon(take, "first")
                await anyio.wait_all_tasks_blocked()
                for name in ("second", "third"):
                    group.start_soon(take, name)
                await anyio.wait_all_tasks_blocked()
                first.cancel()
    assert got == [
        "first", "first 1", "second", "second 1", "second 2", "third 1", "third 2"
    ]  # fmt: skip
