"""`compare` agrees with an implementation with dictionaries and loops."""

from __future__ import annotations

import tempfile
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from auditor.analysis.diff import (
    Change,
    Difference,
    DiffTotals,
    Facet,
    GrowthThreshold,
    compare,
)
from auditor.model import FailureRecord, ImageRecord, Record
from tests.examples import examples
from tests.property.report_records import REGISTRIES, last_lines, reports
from tests.reports import write_report

Report = dict[str, Record]
ONE = REGISTRIES[:1]
OTHER = REGISTRIES[1:]


def named(report: list[Record], *, ignore_registry: bool) -> Report:
    """Records by key; malformed references never have the key of a valid one."""

    def name(record: Record) -> str:
        if not ignore_registry:
            return record.reference
        if record.registry is None:
            return ":" + record.reference
        return record.reference.removeprefix(record.registry + "/")

    return {name(record): record for record in last_lines(report)}


def is_listing(record: Record) -> bool:
    return (
        isinstance(record, FailureRecord)
        and record.repository is not None
        and record.tag is None
        and record.digest is None
        and not (record.failure == "not_found" and record.status is None)
    )


def covers(listing: Record, record: Record, *, ignore_registry: bool) -> bool:
    assert listing.registry is not None
    assert listing.repository is not None
    pattern = listing.reference[len(f"{listing.registry}/{listing.repository}:") :]
    return (
        is_listing(listing)
        and (ignore_registry or listing.registry == record.registry)
        and listing.repository == record.repository
        and record.tag is not None
        and fnmatchcase(record.tag, pattern)
    )


def hidden(record: Record, report: Report, *, ignore_registry: bool) -> bool:
    return any(
        covers(one, record, ignore_registry=ignore_registry)
        for one in report.values()
        if is_listing(one)
    )


def lost(one: Record | None, other: Record | None) -> tuple[str, ...]:
    if not isinstance(one, ImageRecord) or not isinstance(other, ImageRecord):
        return ()
    flags = (
        ("signature", one.signed, other.signed),
        ("sbom", one.has_sbom, other.has_sbom),
        ("provenance", one.has_provenance, other.has_provenance),
    )
    return tuple(word for word, had, has in flags if had is True and has is False)


def failing(old: Record | None, new: FailureRecord) -> Change:
    ended = new.failure == "interrupted"
    if isinstance(old, FailureRecord) and (ended or old.failure != "interrupted"):
        return Change.STILL_FAILING
    return Change.UNREACHED if ended else Change.FAILING


def change_of(
    name: str, old_report: Report, new_report: Report, *, ignore_registry: bool
) -> Change:
    old, new = old_report.get(name), new_report.get(name)
    match old, new:
        case ImageRecord(), ImageRecord():
            if old.digest != new.digest:
                return Change.MOVED
            same = old.architectures == new.architectures and not (
                lost(old, new) or lost(new, old)
            )
            return Change.UNCHANGED if same else Change.ALTERED
        case _, FailureRecord():
            return failing(old, new)
        case FailureRecord(failure="interrupted"), ImageRecord():
            return Change.RELISTED
        case FailureRecord(), ImageRecord():
            return Change.HEALED
        case None, ImageRecord():
            was_hidden = hidden(new, old_report, ignore_registry=ignore_registry)
            return Change.RELISTED if was_hidden else Change.ADDED
    assert old is not None
    if hidden(old, new_report, ignore_registry=ignore_registry):
        return Change.UNLISTED
    if isinstance(old, ImageRecord):
        return Change.REMOVED
    if is_listing(old) and any(
        covers(old, one, ignore_registry=ignore_registry) for one in new_report.values()
    ):
        return Change.HEALED
    return Change.DROPPED


def sizes_of(record: ImageRecord) -> dict[str, int]:
    """The largest platform of each name."""
    sizes: dict[str, int] = {}
    for one in record.platforms:
        if one.size is not None:
            name = "/".join(p for p in (one.os, one.architecture, one.variant) if p)
            sizes[name] = max(sizes.get(name, 0), one.size)
    return sizes


def grown(
    old: Record | None, new: Record | None, growth: GrowthThreshold
) -> list[tuple[str | None, int, int]]:
    if not isinstance(old, ImageRecord) or not isinstance(new, ImageRecord):
        return []
    if old.digest == new.digest:
        return []
    before, now = sizes_of(old), sizes_of(new)
    return [
        (name or None, before[name], now[name])  # an artifact has no platform
        for name in sorted(before.keys() & now.keys())
        if now[name] > before[name]
        and now[name] - before[name] >= growth.minimum_bytes
        and (now[name] - before[name]) * 100 >= growth.percent * before[name]
    ]


def check(
    found: list[Difference],
    totals: DiffTotals,
    old: Report,
    new: Report,
    growth: GrowthThreshold,
    *,
    ignore_registry: bool,
) -> None:
    changes = {
        name: change_of(name, old, new, ignore_registry=ignore_registry)
        for name in old.keys() | new.keys()
    }
    order = list(Change)
    expected = sorted(
        (order.index(change), name)
        for name, change in changes.items()
        if change.is_difference
    )
    assert [one.change for one in found] == [order[rank] for rank, _ in expected]
    facets = Counter[Facet]()
    for one, (_, name) in zip(found, expected, strict=True):
        was, is_now = old.get(name), new.get(name)
        assert one.reference == (is_now or was).reference  # type: ignore[union-attr]
        for state, record in ((one.old, was), (one.new, is_now)):
            assert (state is None) == (record is None)
            if state is not None and record is not None:
                assert state.reference == record.reference
                assert state.digest == record.digest
                assert state.failure == getattr(record, "failure", None)
                assert state.audited_at == record.audited_at
        both = isinstance(was, ImageRecord) and isinstance(is_now, ImageRecord)
        before = set(was.architectures) if both else set()  # type: ignore[union-attr]
        now = set(is_now.architectures) if both else set()  # type: ignore[union-attr]
        assert one.architectures_gained == tuple(sorted(now - before))
        assert one.architectures_lost == tuple(sorted(before - now))
        assert one.attachments_lost == lost(was, is_now)
        assert one.attachments_gained == lost(is_now, was)
        facets[Facet.UNATTACHED] += bool(lost(was, is_now))
        facets[Facet.ATTACHED] += bool(lost(is_now, was))
        bigger = [(g.platform, g.old_size, g.new_size) for g in one.grown]
        assert bigger == grown(was, is_now, growth)
        facets[Facet.GAINED] += bool(now - before)
        facets[Facet.LOST] += bool(before - now)
        facets[Facet.GROWN] += bool(bigger)
    counted = Counter(changes.values())
    assert totals.changes == {change: counted[change] for change in Change}
    assert totals.facets == {facet: facets[facet] for facet in Facet}
    for side, report in ((totals.old, old), (totals.new, new)):
        kinds = Counter(record.kind for record in report.values())
        assert (side.images, side.failures) == (kinds["image"], kinds["failure"])


growths = st.sampled_from(
    [
        GrowthThreshold(),
        GrowthThreshold(percent=10.0),
        GrowthThreshold(percent=100.0),
        GrowthThreshold(minimum_bytes=21.0),
    ]
)


def run(
    old: list[Record],
    new: list[Record],
    growth: GrowthThreshold,
    *,
    ignore_registry: bool,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            write_report(Path(folder, name), records)
            for name, records in (("old.jsonl", old), ("new.jsonl", new))
        ]
        with compare(
            [paths[0]], [paths[1]], ignore_registry=ignore_registry, growth=growth
        ) as comparison:
            found = list(comparison.differences())
            check(
                found,
                comparison.totals,
                named(old, ignore_registry=ignore_registry),
                named(new, ignore_registry=ignore_registry),
                growth,
                ignore_registry=ignore_registry,
            )
            some = list(
                comparison.differences(found[-1].change, limit=2) if found else []
            )
            assert some == [one for one in found if one.change is found[-1].change][:2]


@examples(40)
@given(reports(), reports(), growths)
def test_differences_agree_with_a_plain_implementation(
    old: list[Record], new: list[Record], growth: GrowthThreshold
) -> None:
    run(old, new, growth, ignore_registry=False)


@examples(20)
@given(reports(ONE), reports(OTHER), growths)
def test_ignore_registry_agrees_with_a_plain_implementation(
    old: list[Record], new: list[Record], growth: GrowthThreshold
) -> None:
    run(old, new, growth, ignore_registry=True)


@examples(8)
@given(reports(max_lines=8))
def test_a_report_does_not_differ_from_itself(report: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_report(Path(folder, "report.jsonl.gz"), report)
        with compare([path], [path]) as comparison:
            assert comparison.totals.differences == 0
            assert list(comparison.differences()) == []
