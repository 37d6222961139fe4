"""Tag listings with more than names: digests, times and totals."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest

from auditor.input.input_items import ReferenceEntry, RejectedEntry
from auditor.input.listings import TagListing, TagPage, no_match
from auditor.input.tag_filter import Selection
from auditor.oci.reference import TagPattern
from auditor.registry.listing.interface import ListedTag, Page
from auditor.report.listing_stats import Listing, ListState

pytestmark = pytest.mark.anyio

DIGEST = "sha256:" + "ab" * 32
OLD = datetime(2026, 1, 1, tzinfo=UTC)
NEW = datetime(2026, 11, 20, tzinfo=UTC)
SINCE = datetime(2026, 11, 1, tzinfo=UTC)


def page(*tags: ListedTag, last: bool = True, total: int | None = None) -> TagPage:
    return Page(entries=tags, number=1, last=last, total=total)


async def read(
    *pages: TagPage, pattern: str = "*", selection: Selection | None = None
) -> tuple[list[ReferenceEntry], list[str], Listing]:
    """The references, the details of rejected entries, and the listing."""
    give, take = anyio.create_memory_object_stream[TagPage](len(pages))
    for one in pages:
        give.send_nowait(one)
    give.close()
    tags = TagListing(
        TagPattern(registry="r", repository="app", pattern=pattern),
        "",
        take,
        selection=selection or Selection(),
    )
    async with take:
        entries = [entry async for entry in tags.entries()]
    return (
        [entry for entry in entries if isinstance(entry, ReferenceEntry)],
        [entry.failure.detail for entry in entries if isinstance(entry, RejectedEntry)],
        tags.listing,
    )


async def test_the_listed_tag_is_part_of_the_entry() -> None:
    tag = ListedTag("1", digest=DIGEST, size=5, created=NEW)
    (asked,), refused, _ = await read(page(tag))
    assert (asked.digest, asked.listed_tag) == (DIGEST, tag)
    assert refused == []


@pytest.mark.parametrize("digest", ["md5:00", "ab" * 32, "", None])
async def test_an_invalid_listed_digest_is_ignored(digest: str | None) -> None:
    (asked,), _, _ = await read(page(ListedTag("1", digest=digest)))
    assert asked.digest is None


@pytest.mark.parametrize(
    ("tag", "age_unknown"),
    [
        (ListedTag("1", created=NEW), False),
        (ListedTag("1", created=OLD), None),
        (ListedTag("1", pushed=OLD), None),
        (ListedTag("1", pushed=NEW), True),
        (ListedTag("1"), True),
    ],
)
async def test_an_age_in_the_listing_decides_without_the_image(
    tag: ListedTag, age_unknown: bool | None
) -> None:
    asked, refused, listing = await read(page(tag), selection=Selection(since=SINCE))
    assert [one.age_unknown for one in asked] == (
        [] if age_unknown is None else [age_unknown]
    )
    assert (listing.matched, listing.filtered) == (len(asked), 1 - len(asked))
    assert refused == []


async def test_without_since_no_age_is_unknown() -> None:
    (asked,), _, _ = await read(page(ListedTag("1", created=OLD)))
    assert asked.age_unknown is False


async def test_the_newest_tags_of_all_pages_come_at_the_end() -> None:
    newest = Selection(latest=2)
    asked, _, listing = await read(
        page(ListedTag("1.0"), ListedTag("3.0"), last=False),
        page(ListedTag("2.0"), ListedTag("latest")),
        selection=newest,
    )
    assert [one.reference.tag for one in asked] == ["3.0", "2.0"]
    assert (listing.tags, listing.matched, listing.filtered) == (4, 2, 2)


async def test_fewer_tags_than_the_total_are_an_incomplete_listing() -> None:
    asked, refused, listing = await read(page(ListedTag("1"), total=3))
    assert len(asked) == 1
    assert refused == ["the tag list of app should have 3 tags and lists 1"]
    assert listing.state is ListState.INCOMPLETE


async def test_a_listing_with_a_matching_total_is_not_suspicious() -> None:
    tags = [ListedTag(str(number)) for number in range(100)]
    _, _, listing = await read(page(*tags))
    assert listing.state is ListState.SUSPICIOUS
    _, _, listing = await read(page(*tags, total=100))
    assert listing.state is ListState.COMPLETE


async def test_no_match_is_a_failure_but_filtering_out_all_tags_is_not() -> None:
    nothing = Selection(include=("x*",))
    asked, refused, listing = await read(page(ListedTag("1")), selection=nothing)
    assert (asked, refused, listing.filtered) == ([], [], 1)
    _, refused, _ = await read(page(ListedTag("1")), pattern="2*", selection=nothing)
    assert refused == ["the only tag of app does not match 2*"]


def test_one_tag_that_does_not_match_is_singular() -> None:
    one = no_match(1, "tag", "tags", "app", "2*")
    assert one.detail == "the only tag of app does not match 2*"
    three = no_match(3, "tag", "tags", "app", "2*")
    assert three.detail == "none of the 3 tags of app matches 2*"
