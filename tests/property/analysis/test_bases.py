"""Rebuilds that mend most, and ends of support of bases, against slow searches."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from auditor.analysis.stale_bases import Rebuild, open_base_inventory
from auditor.model import ImageRecord
from tests.examples import examples
from tests.records import layer
from tests.reports import write_report
from tests.unit.analysis import test_end_of_life as dates
from tests.unit.analysis import test_stale_bases as stale

NAMES = [f"r.example.com/team/app{number}:1" for number in range(8)]


@st.composite
def images_on_images(draw: st.DrawFn) -> list[ImageRecord]:
    """Images whose bases are images of the report, also themselves and in circles."""
    found = []
    for number in range(len(NAMES)):
        bases = draw(st.sets(st.sampled_from(NAMES), max_size=2))
        checks = [
            stale.base(name, is_stale=draw(st.booleans()), digest=None)
            for name in sorted(bases)
        ]
        found.append(stale.one(f"team/app{number}", f"{number:x}", *checks))
    return found


@given(images_on_images())
@examples(30)
def test_rebuilds_equal_a_search_without_sql(records: list[ImageRecord]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = write_report(Path(folder) / "report.jsonl", records)
        with open_base_inventory([report]) as inventory:
            found = {row.reference: row for row in inventory.rebuilds()}
    assert found == {row.reference: row for row in _rebuilds(records)}


def _rebuilds(records: list[ImageRecord]) -> list[Rebuild]:
    def is_stale(record: ImageRecord) -> bool:
        return any(check.is_stale for check in record.bases or ())

    def bases_of(record: ImageRecord) -> set[str]:
        return {check.reference or "" for check in record.bases or ()}

    found = []
    for record in filter(is_stale, records):
        below = {record.reference}
        while True:
            more = {one.reference for one in records if bases_of(one) & below}
            if more <= below:
                break
            below |= more
        after = [
            one.reference
            for one in records
            if one is not record and is_stale(one) and one.reference in bases_of(record)
        ]
        stale = {
            check.reference or "" for check in record.bases or () if check.is_stale
        }
        found.append(
            Rebuild(
                reference=record.reference,
                repository=record.repository,
                registry=record.registry,
                digest=record.digest,
                mends=len(below),
                references=1,
                bases=tuple(sorted(stale)),
                after=min(after, default=None),
            )
        )
    return found


@st.composite
def layered_images(draw: st.DrawFn) -> list[ImageRecord]:
    """Images of few layers, of which many begin with those of others."""
    lists = draw(
        st.lists(st.text("12", min_size=1, max_size=3), min_size=1, max_size=10)
    )
    found = []
    for number, digits in enumerate(lists):
        name = draw(st.sampled_from(["debian", "app"]))
        layers = map(layer, digits)
        found.append(dates.one(f"team/{name}{number}:1", f"{number:x}", *layers))
    return found


@given(layered_images())
@examples(30)
def test_dates_of_bases_equal_a_search_without_sql(records: list[ImageRecord]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = dates.ends(Path(folder), *records, table={"*/debian*": dates.ENDS})

    def layers_of(record: ImageRecord) -> list[str]:
        return [each.digest for each in record.platforms[0].layers or ()]

    for record in records:
        mine = layers_of(record)
        bases = [
            other
            for other in records
            if len(layers_of(other)) < len(mine)
            and mine[: len(layers_of(other))] == layers_of(other)
        ]
        dated = [one for one in (record, *bases) if "debian" in one.repository]
        day, _, is_known = found[record.reference.removeprefix("r.example.com/")]
        assert day == (dates.ENDS if dated else None)
        assert is_known == bool(dated or bases)
