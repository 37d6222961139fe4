"""Which bases are stale, and which rebuild mends most."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from auditor.analysis.base_names import canonical_base
from auditor.analysis.stale_bases import BaseTotals, open_base_inventory
from auditor.errors import ProtocolError
from auditor.model import BaseCheck, BaseImage, ContentKind, ImageRecord, Record
from auditor.oci.reference import parse_reference
from tests.manifests import digest
from tests.records import failure, image, platform
from tests.reports import write_report

DEBIAN = "docker.io/library/debian:12"


def base(name: str = DEBIAN, *, is_stale: bool | None = True, **more: Any) -> BaseCheck:
    fields: dict[str, Any] = {
        "name": name,
        "reference": name,
        "digest": digest("0"),
        "current_digest": digest("1" if is_stale else "0"),
        "is_stale": is_stale,
        "platforms": ("linux/amd64",),
        "detail": None if is_stale is not None else "timeout",
    }
    return BaseCheck(**(fields | more))


def one(
    name: str, digit: str, *bases: BaseCheck, tag: str = "1", **more: Any
) -> ImageRecord:
    fields: dict[str, Any] = {
        "reference": f"r.example.com/{name}:{tag}",
        "repository": name,
        "tag": tag,
        "digest": digest(digit),
        "platforms": (platform(digit),),
        "bases": bases,
    }
    return image(**(fields | more))


def named(name: str | None, digit: str, **more: Any) -> ImageRecord:
    """An image that names a base, from an audit that asked for none."""
    parts = (platform(digit, base=BaseImage(name=name, digest=digest("0"))),)
    return one("team/app", digit, platforms=parts, **{"bases": None, **more})


def rebuilds(tmp_path: Path, *records: Record) -> list[tuple[str, int, str | None]]:
    report = write_report(tmp_path / "report.jsonl", list(records))
    with open_base_inventory([report]) as inventory:
        return [(row.repository, row.mends, row.after) for row in inventory.rebuilds()]


def test_a_rebuild_mends_all_tags_and_what_is_built_on_it(tmp_path: Path) -> None:
    corporate = "r.example.com/base/os:1"
    records = [
        one("base/os", "a", base()),
        one("base/os", "a", base(), tag="latest"),
        one("team/app", "b", base(corporate, is_stale=False)),
        # By the digest of the base, which another name points at.
        one("team/db", "c", base("elsewhere.example/os:1", digest=digest("a"))),
        one("team/tool", "d", base()),
    ]
    assert rebuilds(tmp_path, *records) == [
        ("base/os", 4, None),
        ("team/tool", 1, None),
        ("team/db", 1, "r.example.com/base/os:1"),
    ]


def test_images_that_are_built_on_each_other_end(tmp_path: Path) -> None:
    first = one("team/a", "a", base("r.example.com/team/b:1"))
    second = one("team/b", "b", base("r.example.com/team/a:1"))
    found = rebuilds(tmp_path, first, second)
    assert [mends for _, mends, _ in found] == [2, 2]


def test_bases_with_most_stale_images_come_first(tmp_path: Path) -> None:
    records = [
        one("team/a", "a", base("docker.io/library/alpine:3")),
        one("team/b", "b", base(), tag="1"),
        one("team/b", "b", base(), tag="2"),
        one("team/c", "c", base()),
        one("team/d", "d", base(is_stale=False, current_digest=digest("1"))),
        one("team/e", "e", base(is_stale=None, current_digest=None)),
    ]
    report = write_report(tmp_path / "report.jsonl", records)
    with open_base_inventory([report]) as inventory:
        found = [
            (row.base, row.stale, row.current, row.unknown, row.references)
            for row in inventory.bases()
        ]
        assert inventory.count("base_use") == 3
    assert found == [
        (DEBIAN, 2, 1, 0, 4),
        ("docker.io/library/alpine:3", 1, 0, 0, 1),
        (DEBIAN, 0, 0, 1, 1),
    ]


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (one("a", "a", base()), "stale"),
        (one("a", "a", base(is_stale=None), base("x", is_stale=True)), "stale"),
        (one("a", "a", base(is_stale=False)), "current"),
        (one("a", "a", base(is_stale=False), base("x", is_stale=None)), "unknown"),
        (one("a", "a", base(is_stale=False), bases_left_out=2), "unknown"),
        (one("a", "a"), "unnamed"),
        (one("a", "a", bases=None), "unnamed"),
        (named("debian:12", "a"), "not_asked"),
        (named(None, "a"), "not_asked"),
    ],
)
def test_the_state_of_an_image(tmp_path: Path, record: ImageRecord, state: str) -> None:
    chart = one("chart", "f", base(), content=ContentKind.ARTIFACT)
    report = write_report(tmp_path / "report.jsonl", [record, chart, failure()])
    states = ("stale", "current", "unknown", "not_asked", "unnamed")
    counts: Any = dict.fromkeys(states, 0)
    with open_base_inventory([report]) as inventory:
        assert inventory.totals == BaseTotals(
            images=1, failures=1, **{**counts, state: 1}
        )


def test_without_a_check_the_names_of_bases_are_counted(tmp_path: Path) -> None:
    records = [
        named("debian:12", "a"),
        named(DEBIAN, "b", reference="r.example.com/team/app:2", tag="2"),
    ]
    report = write_report(tmp_path / "report.jsonl", records)
    with open_base_inventory([report]) as inventory:
        (row,) = inventory.bases()
        assert (row.base, row.not_asked, row.current_digest) == (DEBIAN, 2, None)
        assert list(inventory.rebuilds()) == []


@pytest.mark.parametrize(
    "name",
    [
        "debian", "debian:12", "library/debian:12", "docker.io/debian:12",
        "index.docker.io/library/debian:12", "registry.hub.docker.com/team/app",
        "team/app", "team/app:1.0", "localhost/app", "localhost:5000/app:1",
        "r.example.com/app", "r.example.com:5000/team/app:1", "team/app/deep:x",
        f"debian@{digest('a')}", f"r.example.com/debian:12@{digest('a')}",
    ],
)  # fmt: skip
def test_the_canonical_name_is_that_of_the_parser(name: str) -> None:
    query = f"SELECT {canonical_base('$name')}"
    (found,) = duckdb.execute(query, {"name": name}).fetchone() or (None,)
    assert found == str(parse_reference(name))


def test_what_is_no_reference_equals_none() -> None:
    query = f"SELECT {canonical_base('$name')}"
    for name in ("", "Not A Reference", "a//b", ":", "/"):
        (found,) = duckdb.execute(query, {"name": name}).fetchone() or (None,)
        with pytest.raises(ProtocolError):
            parse_reference(found)
    assert duckdb.execute(query, {"name": None}).fetchone() == (None,)


def test_the_last_line_of_a_reference_counts(tmp_path: Path) -> None:
    old = one("team/app", "a", base())
    new = replace(
        one("team/app", "a", base(is_stale=False)), audited_at="2026-11-25T02:00:00Z"
    )
    assert rebuilds(tmp_path, old, new) == []
