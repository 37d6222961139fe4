"""Filters of listed tags, by name, by version and by time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from auditor.input.tag_filter import NewestTags, Selection
from auditor.oci.attachments import is_digest_tag
from auditor.registry.listing.interface import ListedTag
from auditor.util.time_span import (
    is_older_than,
    moment_of,
    parse_image_time,
    parse_since,
)
from tests.records import image, platform

HEX = "0123456789abcdef" * 4
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
TAGS = ["1.0", "1.1", "1.1-rc1", "2.0", "latest", "main", f"sha256-{HEX}.sig"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Selection(), TAGS),
        (Selection(include=("1.*",)), ["1.0", "1.1", "1.1-rc1"]),
        (Selection(include=("1.*", "m*")), ["1.0", "1.1", "1.1-rc1", "main"]),
        (Selection(include=("1.*",), exclude=("*-rc*",)), ["1.0", "1.1"]),
        (Selection(exclude=("?.?", "l*", "*-*")), ["main"]),
        (Selection(include=("[!0-9]*",), exclude=("sha*",)), ["latest", "main"]),
        (Selection(include=("1.0",), exclude=("1.0",)), []),
        (Selection(omit_digest_tags=True), TAGS[:-1]),
        (Selection(include=("MAIN",)), []),
    ],
)
def test_names_are_filtered_by_patterns(rules: Selection, expected: list[str]) -> None:
    assert list(filter(rules.allows_tag, TAGS)) == expected


@pytest.mark.parametrize(
    ("tag", "is_one"),
    [
        (f"sha256-{HEX}", True),
        (f"sha256-{HEX}.sig", True),
        (f"sha256-{HEX}.att", True),
        (f"sha256-{HEX}.sbom", True),
        (f"sha512-{HEX}{HEX}", True),
        (f"sha256-{HEX[:-1]}", False),
        (f"sha256-{HEX}0", False),
        (f"sha256-{HEX}-sig", False),
        (f"sha256-{HEX.upper()}", False),
        ("sha256-abc", False),
        (f"v-sha256-{HEX}", False),
    ],
)
def test_digest_tags(tag: str, is_one: bool) -> None:
    assert is_digest_tag(tag) is is_one


@pytest.mark.parametrize(
    ("repository", "wanted"),
    [("team/app", True), ("team/old/app", False), ("tmp", False), ("a/tmp", False)],
)
def test_repositories_are_filtered_by_path_patterns(
    repository: str, wanted: bool
) -> None:
    rules = Selection(exclude_repositories=("team/old/**", "**/tmp"))
    assert rules.allows_repository(repository) is wanted


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, ["2.0"]),
        (3, ["2.0", "1.1", "1.1-rc1"]),
        (5, ["2.0", "1.1", "1.1-rc1", "1.0", "latest"]),
        (100, ["2.0", "1.1", "1.1-rc1", "1.0", "latest", "main", f"sha256-{HEX}.sig"]),
    ],
)
def test_the_newest_tags_come_first(count: int, expected: list[str]) -> None:
    newest = NewestTags(count)
    newest.add(map(ListedTag, TAGS[:3]))
    newest.add(map(ListedTag, TAGS[3:]))
    newest.add(map(ListedTag, TAGS))  # lists have duplicates
    assert [tag.name for tag in newest.newest_first()] == expected


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30d", NOW - timedelta(days=30)),
        ("12h", NOW - timedelta(hours=12)),
        ("90m", NOW - timedelta(minutes=90)),
        ("5s", NOW - timedelta(seconds=5)),
        ("2w", NOW - timedelta(weeks=2)),
        ("0d", NOW),
        ("999999w", datetime.min.replace(tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_since_is_a_span_or_a_date(text: str, moment: datetime) -> None:
    assert moment_of(parse_since(text), NOW) == moment


@pytest.mark.parametrize(
    "text",
    ["", "30", "d", "-3d", "3.5d", "3 d", "1y", "2026-13-01", "2026-02-30", "yesterday",
     "2026-01-31T12:00:00", "20260131", "2026-W05", "٣d", "2026-01-31T", "1d1h"],
)  # fmt: skip
def test_an_invalid_since_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_since(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("0001-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("1980-01-01T00:00:01Z", None),
        (
            "2026-01-31T12:00:00.123456789Z",
            datetime(2026, 1, 31, 12, 0, 0, 123456, UTC),
        ),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_invalid_image_times_are_none(
    text: str | None, moment: datetime | None
) -> None:
    assert parse_image_time(text) == moment


# A reproducible build: when it was pushed says more than nothing.
@pytest.mark.parametrize(
    ("created", "pushed", "too_old"),
    [
        ("1970-01-01T00:00:00Z", "2026-11-20T02:00:00Z", False),
        (None, "2026-11-20T02:00:00Z", False),
        (None, "2026-01-20T02:00:00Z", True),
        (None, None, None),
        ("2026-01-20T02:00:00Z", "2026-11-20T02:00:00Z", True),
    ],
)
def test_an_image_without_a_date_is_as_old_as_its_push(
    created: str | None, pushed: str | None, too_old: bool | None
) -> None:
    selection = Selection(since=datetime(2026, 11, 1, tzinfo=UTC))
    record = image(platforms=(platform(created=created),), pushed_at=pushed)
    assert selection.is_image_too_old(record) is too_old


OLD, NEW = NOW - timedelta(days=40), NOW - timedelta(days=10)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("created", "pushed", "too_old"),
    [
        (OLD, None, True),
        (NEW, None, False),
        (NEW, OLD, False),
        (OLD, NEW, True),
        (None, OLD, True),  # it cannot have been made after it was pushed
        (None, NEW, None),  # an old image may be pushed today
        (None, None, None),
        (EPOCH, None, None),
        (EPOCH, OLD, True),
    ],
)
def test_the_age_of_a_listed_tag(
    created: datetime | None, pushed: datetime | None, too_old: bool | None
) -> None:
    since = NOW - timedelta(days=30)
    assert is_older_than(since, created=created, pushed=pushed) is too_old
