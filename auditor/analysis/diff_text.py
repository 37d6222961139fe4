"""A comparison as text, Markdown or JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import orjson

from auditor.analysis.diff import (
    Change,
    Comparison,
    Difference,
    DiffTotals,
    Facet,
    ReferenceState,
    ReportSide,
)
from auditor.analysis.text_tables import (
    TableColumn,
    TitledTable,
    code_columns,
    number_columns,
    render_tables,
)
from auditor.util.text import format_size, pluralize

Row = tuple[str, ...]

_TITLES: dict[Change | Facet, str] = {
    Change.FAILING: "failing now",
    Change.UNREACHED: "unknown: the new run was interrupted before it reached them",
    Change.REMOVED: "removed",
    Change.UNLISTED: "unknown: the new run could not list them",
    Change.MOVED: "moved to another digest",
    Change.ALTERED: "same digest, other architectures or attachments",
    Change.ADDED: "added",
    Change.RELISTED: "listed again: the old run could not list or reach them",
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
    Change.UNREACHED: "to complete the new report, audit again with --resume",
    Change.UNLISTED: "they may still exist: see the failed listings",
    Change.RELISTED: "they may have existed before",
}


def diff_lines(comparison: Comparison, form: str, limit: int) -> Iterator[str]:
    """The lines of `--format text|jsonl|markdown`.

    JSON lines have every difference, then the totals; `limit` is the maximum number of
    rows per table in the other formats, 0 for all.
    """
    if form != "jsonl":
        tables = _tables(comparison, limit)
        yield from render_tables(summary_lines(comparison.totals), tables, form)
        return
    for difference in comparison.differences():
        yield orjson.dumps(difference).decode()
    yield orjson.dumps(comparison.totals, option=orjson.OPT_NON_STR_KEYS).decode()


def summary_lines(totals: DiffTotals) -> list[str]:
    """A line for each report, and one with the number of references by change."""
    counts = [
        f"{count:,} {change.value.replace('_', ' ')}"
        for change, count in totals.changes.items()
        if count
    ]
    prefix = "" if totals.differences else "no differences: "
    return [
        _side_line("old", totals.old),
        _side_line("new", totals.new),
        prefix + (", ".join(counts) or "both reports are empty"),
    ]


def _side_line(name: str, side: ReportSide) -> str:
    line = (
        f"{name}: {side.images:,} {pluralize(side.images, 'image')},"
        f" {side.failures:,} {pluralize(side.failures, 'failure')}"
    )
    if side.audited_from is None or side.audited_to is None:
        return line
    if side.audited_from == side.audited_to:
        return f"{line}, audited {side.audited_from}"
    return f"{line}, audited {side.audited_from} to {side.audited_to}"


def _tables(comparison: Comparison, limit: int) -> Iterator[TitledTable]:
    totals = comparison.totals
    counts: dict[Change | Facet, int] = dict(totals.changes.items())
    counts.update(totals.facets.items())
    for kind, (columns, row_of) in _TABLES.items():
        if counts[kind]:
            yield TitledTable(
                title=_TITLES[kind],
                columns=columns,
                rows=tuple(map(row_of, comparison.differences(kind, limit=limit))),
                total=counts[kind],
                note=_NOTES.get(kind),
            )


def short_digest(digest: str | None) -> str:
    """The first 12 hexadecimal digits, as docker shows them."""
    return (digest or "-").rpartition(":")[2][:12]


def _failing(difference: Difference) -> Row:
    new = difference.new
    assert new is not None
    before = _before(difference.old)
    return difference.reference, before, new.failure or "", new.detail or ""


def _before(old: ReferenceState | None) -> str:
    if old is None:
        return "not in report"
    return "not reached" if old.digest is None else "an image"


def _healed(difference: Difference) -> Row:
    old = difference.old
    failure = (old and old.failure) or ""
    return difference.reference, failure, _digest_and_size(difference.new)[0]


def _dropped(difference: Difference) -> Row:
    assert difference.old is not None
    return (
        difference.reference,
        difference.old.failure or "",
        difference.old.detail or "",
    )


def _moved(difference: Difference) -> Row:
    old, old_size = _digest_and_size(difference.old)
    new, new_size = _digest_and_size(difference.new)
    return difference.reference, old, new, old_size, new_size


def _new_image(difference: Difference) -> Row:
    return (difference.reference, *_digest_and_size(difference.new))


def _old_image(difference: Difference) -> Row:
    return (difference.reference, *_digest_and_size(difference.old))


def _digest_and_size(state: ReferenceState | None) -> tuple[str, str]:
    if state is None or state.digest is None:
        return "-", "-"
    size = "-" if state.size is None else format_size(state.size)
    return short_digest(state.digest), size


def _altered(difference: Difference) -> Row:
    gained = (*difference.architectures_gained, *difference.attachments_gained)
    lost = (*difference.architectures_lost, *difference.attachments_lost)
    changes = [f"+{name}" for name in gained] + [f"-{name}" for name in lost]
    return difference.reference, " ".join(changes)


def _names(field: str) -> Callable[[Difference], Row]:
    def row(difference: Difference) -> Row:
        return difference.reference, " ".join(getattr(difference, field))

    return row


def _grown(difference: Difference) -> Row:
    most = max(difference.grown, key=lambda grown: grown.new_size - grown.old_size)
    growth = (
        f"+{100 * (most.new_size - most.old_size) / most.old_size:.0f} %"
        if most.old_size
        else "from nothing"
    )
    sizes = format_size(most.old_size), format_size(most.new_size)
    count = str(len(difference.grown))
    return difference.reference, most.platform or "-", *sizes, growth, count


_IMAGE = (*code_columns("reference", "digest"), *number_columns("size"))
_ARCHITECTURES = code_columns("reference", "architectures")
_ATTACHMENTS = code_columns("reference", "attachments")

# Columns and the function that makes a row, in the order of the output.
_TABLES: dict[
    Change | Facet, tuple[tuple[TableColumn, ...], Callable[[Difference], Row]]
] = {
    Change.FAILING: (
        (
            *code_columns("reference"),
            TableColumn(title="before"),
            *code_columns("failure"),
            TableColumn(title="detail"),
        ),
        _failing,
    ),
    Change.UNREACHED: (
        (*code_columns("reference"), TableColumn(title="before")),
        lambda difference: (difference.reference, _before(difference.old)),
    ),
    Change.REMOVED: (_IMAGE, _old_image),
    Change.UNLISTED: (_IMAGE, _old_image),
    Facet.LOST: (_ARCHITECTURES, _names("architectures_lost")),
    Facet.UNATTACHED: (_ATTACHMENTS, _names("attachments_lost")),
    Change.MOVED: (
        (
            *code_columns("reference", "old digest", "new digest"),
            *number_columns("old size", "new size"),
        ),
        _moved,
    ),
    Change.ALTERED: (code_columns("reference", "changes"), _altered),
    Facet.GAINED: (_ARCHITECTURES, _names("architectures_gained")),
    Facet.ATTACHED: (_ATTACHMENTS, _names("attachments_gained")),
    Facet.GROWN: (
        (
            *code_columns("reference", "largest growth"),
            *number_columns("old size", "new size", "growth", "platforms grown"),
        ),
        _grown,
    ),
    Change.ADDED: (_IMAGE, _new_image),
    Change.RELISTED: (_IMAGE, _new_image),
    Change.HEALED: (code_columns("reference", "failed with", "digest now"), _healed),
    Change.DROPPED: (
        (*code_columns("reference", "failure"), TableColumn(title="detail")),
        _dropped,
    ),
}
