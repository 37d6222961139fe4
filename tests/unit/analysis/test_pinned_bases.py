"""Bases that are named by their digest, and what the report knows of their tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditor.analysis.stale_bases import open_base_inventory
from auditor.audit.base_checks import BY_DIGEST, NO_NAME
from auditor.model import BaseCheck, ImageRecord, Record
from tests.manifests import digest
from tests.policies import violations_of
from tests.records import failure, image, layer, platform
from tests.reports import write_report

RULE = "[rules.a]\nforbid_stale_base = true\n"
EARLIER = "2026-11-01T02:00:00Z"
JAVA, EXACT = "r.example.com/base/java:17", "r.example.com/base/java:17.0.9"
OLD, NEW = digest("0"), digest("1")
OWN = layer("8")


def pinned(name: str | None = None, **more: Any) -> BaseCheck:
    fields: dict[str, Any] = {
        "name": name,
        "reference": None,
        "digest": OLD,
        "current_digest": None,
        "is_stale": None,
        "platforms": ("linux/amd64",),
        "detail": BY_DIGEST if name else NO_NAME,
    }
    return BaseCheck(**(fields | more))


def app(*bases: BaseCheck, layers: str = "a", **more: Any) -> ImageRecord:
    """An image with layers of a base, and one of its own."""
    part = platform("c", layers=(*map(layer, layers), OWN))
    return image(platforms=(part,), bases=bases, **more)


def java(
    now: str, *, tag: str = "17", layers: str = "b", below: str = "f", **more: Any
) -> ImageRecord:
    return image(
        reference=f"r.example.com/base/java:{tag}",
        repository="base/java",
        tag=tag,
        digest=now,
        platforms=(platform(below, layers=tuple(map(layer, layers))),),
        bases=(),
        **more,
    )


def checked(tmp_path: Path, *records: Record) -> list[tuple[bool, str]]:
    """What the rule finds for the images that are no base."""
    return [
        (one.known, one.found[0])
        for one in violations_of(tmp_path, RULE, records)
        if one.repository == "team/app"
    ]


@pytest.mark.parametrize(
    ("bases", "expected"),
    [
        # The tag has the digest still, itself or below its index.
        ([java(OLD)], []),
        ([java(NEW, below="0")], []),
        # It had it, and its layers are now others, or those of the build.
        (
            [java(OLD, audited_at=EARLIER), java(NEW)],
            [(True, f"{JAVA} is now {NEW} (pinned by a digest that the tag had)")],
        ),
        ([java(OLD, audited_at=EARLIER), java(NEW, layers="a")], []),
        # Two tags had it.
        (
            [
                java(OLD, audited_at=EARLIER),
                java(NEW),
                java(OLD, audited_at=EARLIER, tag="17.0.9"),
                java(NEW, tag="17.0.9"),
            ],
            [
                (
                    True,
                    f"{JAVA} is now {NEW} (pinned by a digest that the tag and 1 more"
                    " had)",
                )
            ],
        ),
        (
            [java(OLD, audited_at=EARLIER), java(NEW), java(OLD, tag="17.0.9")],
            [
                (
                    False,
                    f"whether {OLD} has moved: of the tags that had its digest in the"
                    f" report, {JAVA} moved, {EXACT} did not move",
                )
            ],
        ),
        # The base has no image for the platform now, or could not be audited.
        (
            [
                java(OLD, audited_at=EARLIER),
                image(
                    reference=JAVA,
                    repository="base/java",
                    tag="17",
                    digest=NEW,
                    bases=(),
                    platforms=(
                        platform("f", architecture="arm64"),
                        platform("9", architecture="s390x"),
                    ),
                ),
            ],
            [
                (
                    False,
                    f"whether {OLD} has moved: of the tags that had its digest in the"
                    f" report, {JAVA} may have moved",
                )
            ],
        ),
        (
            [
                java(OLD, audited_at=EARLIER),
                failure(reference=JAVA, repository="base/java", tag="17"),
            ],
            [
                (
                    False,
                    f"whether {OLD} has moved: of the tags that had its digest in the"
                    f" report, {JAVA} may have moved",
                )
            ],
        ),
        # No tag is known.
        (
            [java(NEW)],
            [
                (
                    False,
                    f"whether {OLD} has moved: only the digest of the base is named,"
                    " and no other tag in the report has had this digest",
                )
            ],
        ),
    ],
)
def test_a_tag_of_the_report_says_whether_a_base_has_moved(
    tmp_path: Path, bases: list[Record], expected: list[tuple[bool, str]]
) -> None:
    assert checked(tmp_path, *bases, app(pinned())) == expected


def test_the_name_of_the_base_is_said(tmp_path: Path) -> None:
    name = f"docker.io/library/debian@{OLD}"
    assert checked(tmp_path, app(pinned(name))) == [
        (
            False,
            f"whether {name} has moved: named by its digest, which never moves, and no"
            " other tag in the report has had this digest",
        )
    ]


def test_other_bases_of_the_image_stay_as_they_are(tmp_path: Path) -> None:
    moved = pinned("debian:12", reference="docker.io/library/debian:12", is_stale=True,
                   current_digest=digest("7"), detail=None)  # fmt: skip
    (violation,) = violations_of(tmp_path, RULE, [java(OLD), app(moved, pinned())])[-1:]
    assert violation.found == (f"docker.io/library/debian:12 is now {digest('7')}",)


def test_an_image_is_not_its_own_base(tmp_path: Path) -> None:
    """`app:1` is built on what `app:1` was before."""
    before = app(digest=OLD, audited_at=EARLIER)
    ((known, text),) = checked(tmp_path, before, app(pinned(), digest=NEW))
    assert (known, "no other tag" in text) == (False, True)


def test_an_image_that_was_rebuilt_has_no_pinned_base_any_more(tmp_path: Path) -> None:
    current = pinned("debian:12", reference="docker.io/library/debian:12",
                     is_stale=False, detail=None)  # fmt: skip
    records = [app(pinned(), audited_at=EARLIER), java(NEW), app(current)]
    assert checked(tmp_path, *records) == []


def test_rebuilds_count_pinned_bases(tmp_path: Path) -> None:
    records = [java(OLD, audited_at=EARLIER), java(NEW), app(pinned())]
    report = write_report(tmp_path / "report.jsonl", records)
    with open_base_inventory([report]) as inventory:
        assert inventory.totals.stale == 1
        (use,) = inventory.bases()
        assert (use.base, use.current_digest, use.stale) == (JAVA, NEW, 1)
        (rebuild,) = inventory.rebuilds()
        assert (rebuild.repository, rebuild.bases) == ("team/app", (JAVA,))
