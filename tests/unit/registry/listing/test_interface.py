"""The types of listings."""

from __future__ import annotations

from auditor.registry.listing.interface import LazyTags, ListedTag


def test_lazy_tags_are_a_collection_of_tags() -> None:
    tags = LazyTags(["1", "2", "3"])
    assert list(tags) == [ListedTag("1"), ListedTag("2"), ListedTag("3")]
    assert len(tags) == 3
    assert ListedTag("2") in tags
    assert not LazyTags([])
