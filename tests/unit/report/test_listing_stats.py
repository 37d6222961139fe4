"""Listing statistics: states, totals, and a limit to the listings that are shown."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from auditor.report.listing_stats import (
    MAX_SHOWN,
    Listing,
    Listings,
    ListKind,
    ListState,
)

WHOLE = Listing(
    selector="r/a:*", pages=2, entries=150, tags=150, matched=9, complete=True
)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, ListState.COMPLETE),
        ({"entries": 0}, ListState.EMPTY),
        ({"failure": "not_found"}, ListState.COMPLETE),
        ({"failure": "incomplete_listing"}, ListState.INCOMPLETE),
        ({"complete": False}, ListState.INCOMPLETE),
        ({"complete": False, "failure": "not_found"}, ListState.INCOMPLETE),
        ({"complete": False, "failure": "denied"}, ListState.DENIED),
        ({"complete": False, "failure": "no_pull_grant"}, ListState.DENIED),
        ({"suspicious": True}, ListState.SUSPICIOUS),
        ({"suspicious": True, "complete": False}, ListState.INCOMPLETE),
    ],
)
def test_the_state_of_a_listing(changes: dict[str, object], state: ListState) -> None:
    listing = replace(WHOLE, **changes)  # type: ignore[arg-type]
    assert listing.state is state
    assert json.loads(json.dumps(listing.to_json()))["state"] == state


@pytest.mark.parametrize(
    ("pages", "entries", "total", "cut", "missing"),
    [
        (1, 100, None, True, 0),
        (1, 1000, None, True, 0),
        (1, 99, None, False, 0),
        (2, 1000, None, False, 0),
        (1, 100, 100, False, 0),  # the API reports this total
        (1, 100, 120, True, 20),
        (2, 150, 151, False, 1),
        (2, 150, 149, False, 0),
    ],
)
def test_a_listing_that_looks_truncated_and_its_missing_entries(
    pages: int, entries: int, total: int | None, cut: bool, missing: int
) -> None:
    listing = Listing(
        selector="r/a:*", pages=pages, entries=entries, total=total, complete=True
    )
    assert (listing.looks_truncated, listing.missing) == (cut, missing)


def test_a_catalog_sums_its_tag_listings() -> None:
    found = Listings()
    catalog = Listing(selector="r/**:*", kind=ListKind.REPOSITORIES, entries=3)
    denied = Listing(selector="r/c:*", failure="denied")
    found.begin(catalog)
    for listing in (replace(WHOLE), replace(WHOLE), denied):
        found.begin(listing)
        found.end(listing, catalog)
    assert (
        found.totals(ListKind.REPOSITORIES)["incomplete"] == 1
    )  # the catalog is still being read
    catalog.complete = True
    found.end(catalog)
    assert found.shown == [denied, catalog]
    assert catalog.tag_lists == {ListState.COMPLETE: 2, ListState.DENIED: 1}
    assert (catalog.tags, catalog.matched) == (300, 18)
    totals = found.totals(ListKind.TAGS)
    assert (totals["lists"], totals["pages"], totals["entries"]) == (3, 4, 300)
    counts = json.loads(json.dumps(found.to_json()))
    assert counts["tags"]["complete"] == 2
    assert counts["repositories"]["lists"] == 1
    assert counts["not_shown"] == 2


def test_a_limited_number_of_listings_is_shown_and_all_are_counted() -> None:
    denied = replace(WHOLE, complete=False, failure="denied")
    many = MAX_SHOWN + 500
    found = Listings(replace(one) for one in (WHOLE, denied) for _ in range(many))
    assert len(found.shown) == 2 * MAX_SHOWN
    totals = found.totals(ListKind.TAGS)
    assert totals["complete"] == totals["denied"] == many
    assert found.states() == {ListState.COMPLETE, ListState.DENIED}
    assert found.to_json()["not_shown"] == 1000
