"""A comparison for a person, or as JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import orjson

from auditor.analysis.diff import (
    Change,
    Comparison,
    Difference,
    Facet,
    Side,
    State,
    Totals,
)
from auditor.analysis.tables import (
    Column,
    Section,
    answer_lines,
    code_columns,
    number_columns,
)
from auditor.util.text import format_size, noun

Row = tuple[str, ...]

_TITLES: dict[Change | Facet, str] = {
    Change.FAILING: "failing now",
    Change.UNREACHED: "unknown: the new run was ended before it came to them",
    Change.REMOVED: "removed",
    Change.UNLISTED: "unknown: the new report could not list them",
    Change.MOVED: "moved to another digest",
    Change.ALTERED: "same digest, other architectures or attachments",
    Change.ADDED: "added",
    Change.RELISTED: "there again: the old report could not list or reach them",
    Change.HEALED: "healed",
    Change.DROPPED: "failed before, not in the new report",
    Change.STILL_FAILING: "still failing",
    Change.UNCHANGED: "unchanged",
    Facet.LOST: "architectures lost",
    Facet.GAINED: "architectures gained",
    Facet.UNATTACHED: "signatures, SBOMs or provenance lost",
    Facet.ATTACHED: "signatures, SBOMs or provenance gained",
    Facet.GROWN: "grown",
}
_NOTES: dict[Change | Facet, str] = {
    Change.UNREACHED: "audit --resume goes on where a run was ended",
    Change.UNLISTED: "they may still be there: see the listings that failed",
    Change.RELISTED: "they may have been there before",
}


def output_lines(comparison: Comparison, form: str, limit: int) -> Iterator[str]:
    """The lines of `--format text|jsonl|markdown`; JSON lines hold everything."""
    if form == "jsonl":
        yield from json_lines(comparison)
        return
    heads = head_lines(comparison.totals)
    yield from answer_lines(heads, sections(comparison, limit), form)


def json_lines(comparison: Comparison) -> Iterator[str]:
    """A line for each difference, then the totals."""
    for difference in comparison.differences():
        yield orjson.dumps(difference).decode()
    yield orjson.dumps(comparison.totals, option=orjson.OPT_NON_STR_KEYS).decode()


def head_lines(totals: Totals) -> list[str]:
    """Both reports in a line each, and all classes in one."""
    counts = [
        f"{count:,} {change.value.replace('_', ' ')}"
        for change, count in totals.changes.items()
        if count
    ]
    same = "" if totals.differences else "no differences: "
    return [
        _side_line("old", totals.old),
        _side_line("new", totals.new),
        same + (", ".join(counts) or "both reports are empty"),
    ]


def _side_line(name: str, side: Side) -> str:
    line = (
        f"{name}: {side.images:,} {noun(side.images, 'image')},"
        f" {side.failures:,} {noun(side.failures, 'failure')}"
    )
    if side.audited_from is None or side.audited_to is None:
        return line
    if side.audited_from == side.audited_to:
        return f"{line}, audited {side.audited_from}"
    return f"{line}, audited {side.audited_from} to {side.audited_to}"


def sections(comparison: Comparison, limit: int) -> Iterator[Section]:
    """A table for each class and facet that is not empty, at most `limit` rows each."""
    totals = comparison.totals
    counts: dict[Change | Facet, int] = dict(totals.changes.items())
    counts.update(totals.facets.items())
    for kind, (columns, row_of) in _TABLES.items():
        if counts[kind]:
            yield Section(
                title=_TITLES[kind],
                columns=columns,
                rows=tuple(map(row_of, comparison.differences(kind, limit=limit))),
                total=counts[kind],
                note=_NOTES.get(kind),
            )


def short_digest(digest: str | None) -> str:
    """The first 12 hexadecimal digits, as docker shows them."""
    return (digest or "-").rpartition(":")[2][:12]


def _failing(one: Difference) -> Row:
    state = one.new
    assert state is not None
    return one.reference, _before(one.old), state.failure or "", state.detail or ""


def _before(old: State | None) -> str:
    if old is None:
        return "not there"
    return "not reached" if old.digest is None else "an image"


def _unreached(one: Difference) -> Row:
    return one.reference, _before(one.old)


def _healed(one: Difference) -> Row:
    return one.reference, (one.old and one.old.failure) or "", _image(one.new)[0]


def _dropped(one: Difference) -> Row:
    assert one.old is not None
    return one.reference, one.old.failure or "", one.old.detail or ""


def _moved(one: Difference) -> Row:
    (old, old_size), (new, new_size) = _image(one.old), _image(one.new)
    return one.reference, old, new, old_size, new_size


def _added(one: Difference) -> Row:
    return (one.reference, *_image(one.new))


def _removed(one: Difference) -> Row:
    return (one.reference, *_image(one.old))


def _image(state: State | None) -> tuple[str, str]:
    if state is None or state.digest is None:
        return "-", "-"
    size = "-" if state.size is None else format_size(state.size)
    return short_digest(state.digest), size


def _altered(one: Difference) -> Row:
    gained = (*one.architectures_gained, *one.attachments_gained)
    lost = (*one.architectures_lost, *one.attachments_lost)
    signed = [f"+{name}" for name in gained] + [f"-{name}" for name in lost]
    return one.reference, " ".join(signed)


def _unattached(one: Difference) -> Row:
    return one.reference, " ".join(one.attachments_lost)


def _attached(one: Difference) -> Row:
    return one.reference, " ".join(one.attachments_gained)


def _lost(one: Difference) -> Row:
    return one.reference, " ".join(one.architectures_lost)


def _gained(one: Difference) -> Row:
    return one.reference, " ".join(one.architectures_gained)


def _grown(one: Difference) -> Row:
    most = max(one.grown, key=lambda grown: grown.new_size - grown.old_size)
    share = (
        f"+{100 * (most.new_size - most.old_size) / most.old_size:.0f} %"
        if most.old_size
        else "from nothing"
    )
    sizes = format_size(most.old_size), format_size(most.new_size)
    return one.reference, most.platform or "-", *sizes, share, str(len(one.grown))


_IMAGE = (*code_columns("reference", "digest"), *number_columns("size"))
_CHANGED = code_columns("reference", "architectures")
_ATTACHED = code_columns("reference", "attached")
_FAILED = (*code_columns("reference", "failure"), Column(title="what it said"))

_TABLES: dict[
    Change | Facet, tuple[tuple[Column, ...], Callable[[Difference], Row]]
] = {
    Change.FAILING: (
        (
            *code_columns("reference"),
            Column(title="before"),
            *code_columns("failure"),
            Column(title="what it says"),
        ),
        _failing,
    ),
    Change.UNREACHED: (
        (*code_columns("reference"), Column(title="before")),
        _unreached,
    ),
    Change.REMOVED: (_IMAGE, _removed),
    Change.UNLISTED: (_IMAGE, _removed),
    Facet.LOST: (_CHANGED, _lost),
    Facet.UNATTACHED: (_ATTACHED, _unattached),
    Change.MOVED: (
        (
            *code_columns("reference", "old digest", "new digest"),
            *number_columns("old size", "new size"),
        ),
        _moved,
    ),
    Change.ALTERED: (code_columns("reference", "what is there"), _altered),
    Facet.GAINED: (_CHANGED, _gained),
    Facet.ATTACHED: (_ATTACHED, _attached),
    Facet.GROWN: (
        (
            *code_columns("reference", "platform that grew most"),
            *number_columns("old size", "new size", "growth", "platforms grown"),
        ),
        _grown,
    ),
    Change.ADDED: (_IMAGE, _added),
    Change.RELISTED: (_IMAGE, _added),
    Change.HEALED: (code_columns("reference", "failed with", "digest now"), _healed),
    Change.DROPPED: (_FAILED, _dropped),
}
