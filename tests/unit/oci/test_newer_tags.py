"""Newer tags that have what an older one lacks."""

from __future__ import annotations

import random

import pytest

from auditor.oci.tag_order import (
    RELEASE,
    NewerTags,
    TagClass,
    TagContent,
    newer_text,
    tag_order,
)

ARM = ("linux/arm64",)


def content(tag: str, *, has: bool = True, time: int | None = None) -> TagContent:
    return TagContent(tag=tag, has=ARM if has else (), time=time)


def newer(tag: str, *tags: str) -> str | None:
    others = [content(one) for one in tags]
    lacking = content(tag, has=False)
    return NewerTags([lacking, *others]).find(lacking, ARM)


@pytest.mark.parametrize(
    ("tag", "others", "expected"),
    [
        ("1.4.1", ["1.4.0", "1.4.2", "1.10.0"], "1.4.2"),
        ("v1.9", ["1.10"], "1.10"),
        ("1.4", ["1.4", "v1.4", "1.4.0"], None),  # the same version
        ("1.4", ["1.3", "latest", "main"], None),
        # variants are compared among themselves
        ("1.4-alpine", ["1.5", "1.6-alpine"], "1.6-alpine"),
        ("1.4", ["1.5-alpine"], None),
        ("1.4-alpine3.18", ["1.4-alpine3.9", "1.4-alpine3.20"], "1.4-alpine3.20"),
        ("1.4-jdk17", ["1.4-jdk21"], "1.4-jdk21"),
        # a release has no use for a pre-release
        ("1.4", ["1.5-rc1"], None),
        ("1.5-rc1", ["1.5-rc2", "1.5"], "1.5-rc2"),
        ("1.5-rc1", ["1.4", "1.5"], "1.5"),
        # dates and build numbers
        ("20260131", ["20260201", "2.0"], "20260201"),
        ("build-9", ["build-10"], None),  # has no time
        (f"sha256-{'a' * 64}", ["2.0"], None),
    ],
)
def test_the_next_newer_tag(tag: str, others: list[str], expected: str | None) -> None:
    assert newer(tag, *others) == expected


@pytest.mark.parametrize(
    ("time", "others", "expected"),
    [
        (10, {"main": 9, "edge": 12, "stable": 11}, "stable"),
        (10, {"main": 10}, None),
        (10, {"1.2": 20}, None),  # no version follows a name
        (None, {"main": 20}, None),
    ],
)
def test_names_are_compared_by_time(
    time: int | None, others: dict[str, int], expected: str | None
) -> None:
    lacking = content("latest", has=False, time=time)
    tags = [content(tag, time=at) for tag, at in others.items()]
    assert NewerTags([lacking, *tags]).find(lacking, ARM) == expected


def test_each_accepted_name_counts() -> None:
    tags = [
        TagContent(tag="1.0", has=("linux/amd64",)),
        TagContent(tag="1.1", has=("linux/arm/v6",)),
        TagContent(tag="1.2", has=("linux/arm/v7",)),
    ]
    found = NewerTags(tags)
    assert found.find(tags[0], ("linux/arm/v7",)) == "1.2"
    assert found.find(tags[0], ("linux/arm/v7", "linux/arm/v6")) == "1.1"


def test_the_text_says_if_there_is_none() -> None:
    assert newer_text(["linux/arm64"], "1.4.2") == "1.4.2 has linux/arm64"
    assert newer_text(["a/b", "a/c"], "1.5") == "1.5 has a/b and a/c"
    assert (
        newer_text(["a/b", "a/c"], None) == "no newer tag in the report has a/b or a/c"
    )


def test_it_equals_a_search_of_all_tags() -> None:
    chosen = random.Random(3)

    def version() -> str:
        numbers = ".".join(
            str(chosen.randrange(3)) for _ in range(chosen.randint(2, 3))
        )
        return numbers + chosen.choice(["", "", "-rc1", "-rc2", "-alpine", "-alpine3"])

    def rank(tag: str) -> tuple[object, ...]:
        order = tag_order(tag)
        digits = tuple(number for text, number, _ in order.variant if not text)
        return (order.numbers, order.stage, order.stage_numbers, digits)

    def words(tag: str) -> list[str]:
        return [text for is_text, _, text in tag_order(tag).variant if is_text]

    for _ in range(200):
        tags = [
            content(tag, has=chosen.random() < 0.5)
            for tag in {version() for _ in range(8)}
        ]
        found = NewerTags(tags)
        for one in tags:
            assert tag_order(one.tag).tag_class is TagClass.VERSION
            is_pre = tag_order(one.tag).stage != RELEASE
            newer_ones = sorted(
                (rank(other.tag), other.tag)
                for other in tags
                if other.has
                and words(other.tag) == words(one.tag)
                and rank(other.tag) > rank(one.tag)
                and (is_pre or tag_order(other.tag).stage == RELEASE)
            )
            expected = newer_ones[0][1] if newer_ones else None
            assert found.find(one, ARM) == expected
