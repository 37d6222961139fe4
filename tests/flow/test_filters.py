"""Filters apply to listed tags and never to explicit references."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.config import load_settings
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import BuiltImage, image, index
from auditor.errors import ConfigError
from auditor.model import ImageRecord
from auditor.report.summary_text import empty_input_sentence
from tests.flow.harness import BLOBS, MANIFESTS, TAGS, Lab, Outcome, lab, simple
from tests.support.fault_actions import Answer

pytestmark = pytest.mark.anyio

SIGNATURE = f"sha256-{'ab' * 32}.sig"
NAMES = [
    "app:1.0", "app:1.1", "app:1.10", "app:1.9-rc1", "app:latest", f"app:{SIGNATURE}",
    "team/a:1.0", "team/a:2.0", "team/old/b:1.0", "tmp:1.0",
]  # fmt: skip


def short(here: Lab, outcome: Outcome) -> list[str]:
    assert set(outcome.kinds) <= {"image"}
    return [name.removeprefix(here.host + "/") for name in outcome.references]


@pytest.mark.parametrize(
    ("selector", "filters", "expected"),
    [
        ("app:*", {"include": ("1.*",)}, ["1.0", "1.1", "1.10", "1.9-rc1"]),
        ("app:*", {"include": ("1.*",), "exclude": ("*-rc*",)}, ["1.0", "1.1", "1.10"]),
        ("app:1*", {"omit_digest_tags": True, "include": ("*0",)}, ["1.0", "1.10"]),
        ("app:s*", {"omit_digest_tags": True}, []),
        ("app:*", {"latest": 3}, ["1.10", "1.9-rc1", "1.1"]),
        ("app:*", {"latest": 2, "exclude": ("*-*",)}, ["1.10", "1.1"]),
        ("app:1.?", {"latest": 1}, ["1.1"]),
    ],
)
async def test_filters_select_listed_tags(
    selector: str, filters: dict[str, Any], expected: list[str]
) -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(here.ref(selector), page_size=2, **filters)
        assert short(here, outcome) == [f"app:{tag}" for tag in expected]
        assert len(here.targets(MANIFESTS)) == len(expected)
    (listing,) = outcome.summary.listings.shown
    assert listing.matched == len(expected)
    assert listing.filtered > 0
    assert outcome.summary.to_do == 0
    assert outcome.summary.tally.filtered == 0


@pytest.mark.parametrize(
    ("selector", "filters"),
    [
        ("*:*", {"include": ("nothing",)}),
        ("app:*", {"exclude": ("*",)}),
        ("*:*", {"exclude_repositories": ("**",)}),
    ],
)
async def test_filters_that_leave_nothing_are_named(
    selector: str, filters: dict[str, Any]
) -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(here.ref(selector), **filters)
    assert outcome.references == []
    assert empty_input_sentence(outcome.summary.to_json()) == (
        "nothing was audited: the filters leave nothing of what was listed"
    )


async def test_latest_keeps_the_newest_tags_of_each_repository() -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(
            here.ref("*:*"),
            latest=1,
            exclude_repositories=("**/old/*", "tmp"),
        )
        assert short(here, outcome) == ["app:1.10", "team/a:2.0"]
        assert len(here.targets(TAGS)) == 2
    (catalog,) = outcome.summary.listings.shown
    assert (catalog.repositories, catalog.chosen, catalog.excluded) == (4, 2, 2)
    assert (catalog.tags, catalog.matched, catalog.filtered) == (8, 2, 6)


async def test_an_explicit_reference_is_not_filtered() -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(
            here.ref("app:1.0"),
            here.ref("tmp:*"),
            exclude=("1.1*",),
            include=("1.*",),
            exclude_repositories=("tmp", "app"),
            latest=1,
            since="2030-01-01T00:00:00Z",
        )
        # The tag pattern names its repository; its tag is too old for --since.
        assert short(here, outcome) == ["app:1.0"]
    assert outcome.summary.tally.filtered == 1


def aged() -> DemoContent:
    content = DemoContent()
    content.add("app", image("new", created="2026-11-20T00:00:00Z"), "new")
    content.add("app", image("old", created="2026-01-20T00:00:00.5Z"), "old")
    content.add("app", image("epoch", created="1970-01-01T00:00:00Z"), "epoch")
    content.add("app", image("none", created=None), "none")
    both = [
        image("x", created="2026-11-22T00:00:00Z"),
        image("y", platform="linux/arm64", created="2026-01-22T00:00:00Z"),
    ]
    content.add("app", index(both), "index")
    return content


# The run starts on 2026-11-23.
@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("30d", ["epoch", "index", "new", "none"]),
        ("2026-11-21", ["epoch", "index", "none"]),
        ("1d", ["epoch", "none"]),
        ("2026-01-01", ["epoch", "index", "new", "none", "old"]),
    ],
)
async def test_the_image_time_decides_if_the_listing_has_none(
    since: str, expected: list[str]
) -> None:
    async with lab(aged()) as here:
        outcome = await here.audit(here.ref("app:*"), since=since)
        assert short(here, outcome) == [f"app:{tag}" for tag in expected]
        assert len(here.targets(BLOBS)) == 6
    dropped = 5 - len(expected)
    assert outcome.summary.tally.filtered == dropped
    assert outcome.summary.asked == 5
    assert outcome.summary.to_do == 0
    summary = outcome.summary.to_json()
    assert summary["references"]["filtered"] == dropped
    # Those without a date could not be filtered.
    assert summary["warnings"] == {"age_unknown": 2}
    records = [one for one in outcome.records if isinstance(one, ImageRecord)]
    assert {one.tag for one in records if one.warnings} == {"epoch", "none"}


async def test_the_annotation_dates_an_image_without_a_date_in_its_config() -> None:
    content = DemoContent()
    for tag, created in (
        ("new", "2026-11-20T00:00:00Z"),
        ("old", "2026-01-20T00:00:00Z"),
    ):
        annotations = {"org.opencontainers.image.created": created}
        content.add("app", image(tag, created=None, annotations=annotations), tag)
    async with lab(content) as here:
        outcome = await here.audit(here.ref("app:*"), since="30d")
        assert short(here, outcome) == ["app:new"]
    assert outcome.summary.to_json()["warnings"] == {}


UNDATED = image("undated", platform="linux/arm64", created=None)
OF_1970 = image("1970", platform="linux/arm64", created="1970-01-01T00:00:00Z")
LOST = image("lost", platform="linux/arm64")


# An image is as old as its newest platform, and one without a date may be that.
@pytest.mark.parametrize(
    ("created", "other", "expected"),
    [
        ("2026-01-20", UNDATED, ["age_unknown"]),
        ("2026-01-20", OF_1970, ["age_unknown"]),
        ("2026-01-20", LOST, None),
        ("2026-11-20", UNDATED, []),
        ("2026-11-20", LOST, ["child_missing"]),
    ],
)
async def test_a_platform_without_a_date_may_be_the_newest(
    created: str, other: BuiltImage, expected: list[str] | None
) -> None:
    content = DemoContent()
    dated = image("dated", created=f"{created}T00:00:00Z")
    content.add("app", index([dated, other]), "1")
    if other is LOST:
        del content.repository("app").manifests[LOST.root.digest]
    async with lab(content) as here:
        outcome = await here.audit(here.ref("app:*"), since="30d")
    found = [
        [one.code for one in record.warnings]
        for record in outcome.records
        if isinstance(record, ImageRecord)
    ]
    assert found == ([] if expected is None else [expected])
    assert outcome.summary.tally.filtered == (1 if expected is None else 0)


async def test_an_image_of_unknown_age_that_fails_is_a_failure() -> None:
    async with lab(aged()) as here:
        here.faults.on("GET", "/v2/app/manifests/old", Answer(403), forever=True)
        outcome = await here.audit(here.ref("app:old*"), since="1d")
    assert outcome.kinds == ["denied"]


async def test_latest_is_applied_before_since() -> None:
    content = DemoContent()
    content.add("app", image("a", created="2026-11-22T00:00:00Z"), "1.0")
    content.add("app", image("b", created="2026-01-22T00:00:00Z"), "2.0")
    async with lab(content) as here:
        outcome = await here.audit(here.ref("app:*"), since="30d", latest=1)
    assert outcome.records == []
    assert outcome.summary.tally.filtered == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"include": ("[",)}, "must be a tag pattern"),
        ({"exclude": ("a/b",)}, "must be a tag pattern"),
        ({"exclude_repository": ("Team/*",)}, "must be a repository pattern"),
        ({"latest": "0"}, "whole number from 1 to 10000"),
        ({"since": "yesterday"}, '--since: expected .* date .*, got "yesterday"$'),
        ({"since": "3d", "image_config": "never"}, "remove --image-config never"),
    ],
)
def test_an_invalid_filter_is_a_usage_error(
    flags: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load_settings(environment={}, flags=flags)
