from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from auditor.input.tag_filter import NewestTags, Selection
from auditor.oci.attachments import is_digest_tag
from auditor.oci.tag_order import tag_order
from auditor.registry.listing.interface import ListedTag
from auditor.util.time_span import moment_of, parse_since

TAG = st.text("ab1.-", min_size=1, max_size=5)
PATTERNS = st.lists(st.text("ab1.-*?", min_size=1, max_size=4), max_size=3)


@given(PATTERNS, PATTERNS, st.booleans(), TAG)
def test_filters_agree_with_their_definition(
    include: list[str], exclude: list[str], omit: bool, tag: str
) -> None:
    rules = Selection(
        include=tuple(include), exclude=tuple(exclude), omit_digest_tags=omit
    )
    expected = (
        (not include or any(fnmatchcase(tag, pattern) for pattern in include))
        and not any(fnmatchcase(tag, pattern) for pattern in exclude)
        and not (omit and is_digest_tag(tag))
    )
    assert rules.allows_tag(tag) is expected


@given(st.lists(st.lists(TAG, max_size=6), max_size=6), st.integers(1, 8))
def test_the_newest_tags_are_the_first_in_tag_order(
    pages: list[list[str]], count: int
) -> None:
    newest = NewestTags(count)
    for page in pages:
        newest.add(map(ListedTag, page))
    every = {tag for page in pages for tag in page}
    expected = sorted(every, key=tag_order, reverse=True)[:count]
    assert [tag.name for tag in newest.newest_first()] == expected


@given(st.text() | st.from_regex(r"[0-9]{1,7}[smhdw]|[0-9]{4}-[0-9]{2}-[0-9]{2}"))
def test_any_text_is_a_time_or_rejected(text: str) -> None:
    try:
        since = parse_since(text)
    except ValueError:
        return
    assert moment_of(since, datetime(2026, 1, 31, tzinfo=UTC)).tzinfo is not None
