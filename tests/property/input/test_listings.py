"""Each valid name of a catalog is chosen once, and all names are counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.input.listings import CatalogListing
from auditor.input.tag_filter import Selection
from auditor.oci.reference import RepositoryPattern, is_repository, path_matches
from auditor.registry.listing.interface import Page
from auditor.report.listing_stats import ListState

NAME = st.sampled_from(
    [
        "a",
        "b",
        "a/b",
        "a/b/c",
        "b/a",
        "A",
        "",
        "../a",
        "a//b",
        "a/",
        "é",
        "a b",
        "x" * 256,
    ]
)
VALID = NAME.filter(is_repository)
PAGES = st.lists(
    st.tuples(st.lists(NAME, max_size=5), st.integers(0, 2)), max_size=5
) | st.lists(st.tuples(st.lists(VALID, min_size=1, max_size=5), st.just(0)), min_size=1)
PATH = st.sampled_from(["**", "a/*", "a/**", "**/a", "?", "[ab]/?", "z*"])


@given(PAGES, PATH, st.sampled_from([(), ("a/**",), ("**",)]), st.booleans())
def test_valid_names_of_a_catalog_are_chosen_once_and_all_are_counted(
    pages: list[tuple[list[str], int]],
    path: str,
    excluded: tuple[str, ...],
    ends: bool,
) -> None:
    pattern = RepositoryPattern(registry="r.example", repository=path, pattern="*")
    rules = Selection(exclude_repositories=excluded)
    catalog = CatalogListing(pattern, rules)
    chosen = [
        name
        for number, (names, unreadable) in enumerate(pages, 1)
        for name in catalog.matching(
            Page(
                entries=tuple(names),
                number=number,
                last=ends and number == len(pages),
                unreadable=unreadable,
            )
        )
    ]
    names = [name for page, _ in pages for name in page]
    every = list(dict.fromkeys(names))  # a repository counts once, however often listed
    good = [name for name in every if is_repository(name)]
    expected = [
        name
        for name in good
        if path_matches(path, name)
        and not any(path_matches(other, name) for other in excluded)
    ]
    assert chosen == expected
    listing = catalog.listing
    unreadable = sum(count for _, count in pages)
    assert listing.entries == len(names) + unreadable
    assert listing.repositories == len(good)
    assert listing.invalid == len(every) - len(good) + unreadable
    assert listing.chosen == len(expected)
    errors = list(catalog.errors(None))
    if errors:
        listing.failure = errors[0].kind
    # A catalog that is incomplete or empty is never complete.
    if listing.state in {ListState.COMPLETE, ListState.SUSPICIOUS}:
        assert ends
        assert not listing.invalid
        assert good
    assert bool(errors) is (
        bool(listing.invalid)
        or not good
        or not any(path_matches(path, name) for name in good)
    )
