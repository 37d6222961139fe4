"""The types of listings."""

from __future__ import annotations

from auditor.registry.listing.interface import LazyTags, ListedTag


def test_lazy_tags_are_a_sequence_of_tags() -> None:
    tags = LazyTags(["1", "2", "3"])
    every = [ListedTag("1"), ListedTag("2"), ListedTag("3")]
    assert list(tags) == every
    assert (len(tags), tags[-1], tags[1:]) == (3, every[-1], every[1:])
    assert not LazyTags([])
