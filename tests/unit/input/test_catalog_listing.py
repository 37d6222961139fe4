"""A catalog counts and returns each repository once."""

from __future__ import annotations

import pytest

from auditor.input.listings import CatalogListing
from auditor.input.tag_filter import Selection
from auditor.oci.reference import RepositoryPattern
from auditor.registry.listing.interface import Page


@pytest.mark.parametrize(
    "pages",
    [
        (("team/a", "team/b"), ("team/b", "other/x", "not valid")),  # pages shift
        (("team/a", "team/a"), ("team/b", "not valid", "other/x", "not valid")),
        (("team/a", "team/b", "other/x", "not valid"), ("team/a", "other/x")),
    ],
)
def test_a_repository_that_is_listed_again_is_counted_once(
    pages: tuple[tuple[str, ...], ...],
) -> None:
    pattern = RepositoryPattern(registry="r", repository="**", pattern="*")
    catalog = CatalogListing(pattern, Selection(exclude_repositories=("other/**",)))
    found = [
        repository
        for number, entries in enumerate(pages, 1)
        for repository in catalog.matching(
            Page(entries=entries, number=number, last=number == len(pages))
        )
    ]
    listing = catalog.listing
    assert found == ["team/a", "team/b"]
    assert (listing.repositories, listing.chosen, listing.excluded) == (3, 2, 1)
    assert listing.invalid == 1
