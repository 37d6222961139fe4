"""A comparison as text, Markdown or JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

from auditor.analysis.diff import (
    Change,
    Comparison,
    Difference,
    Facet,
    PlatformGrowth,
    ReportSide,
)
from auditor.analysis.text_tables import (
    TableColumn,
    TitledTable,
    code_column,
    count_column,
    number_column,
    result_lines,
    size_column,
    text_column,
)
from auditor.util.terminal import PIPE, Screen, short_digest
from auditor.util.text import pluralize


def diff_lines(
    comparison: Comparison, form: str, limit: int, screen: Screen = PIPE
) -> Iterator[str]:
    """The lines of `--format text|jsonl|markdown`.

    JSON lines have every difference, then the totals; `limit` is the maximum number of
    rows per table in the other formats, 0 for all.
    """
    return result_lines(
        form,
        summary=_summary_lines(comparison),
        tables=_tables(comparison, limit),
        documents=chain(comparison.differences(), [comparison.totals]),
        screen=screen,
    )


# What happens to references that only one of the reports has.
_ONE_SIDED = {
    *(Change.ADDED, Change.REMOVED, Change.DROPPED, Change.RELISTED, Change.UNLISTED)
}


def _summary_lines(comparison: Comparison) -> Iterator[str]:
    """A line for each report, and one with the number of references by change."""
    totals = comparison.totals
    yield _side_line("old", totals.old)
    yield _side_line("new", totals.new)
    counts = [
        f"{count:,} {change.value.replace('_', ' ')}"
        for change, count in totals.changes.items()
        if count
    ]
    prefix = "" if totals.differences else "no differences: "
    yield prefix + (", ".join(counts) or "both reports are empty")
    yield from diff_notices(comparison)


def diff_notices(comparison: Comparison) -> Iterator[str]:
    """What makes the answer doubtful: reports that may be the wrong ones."""
    totals = comparison.totals
    old, new = totals.old, totals.new
    if old.references and not new.references:
        yield (
            "note: the new report is empty, so that what it lacks may still be there"
        )
    elif old.references and not any(
        count for change, count in totals.changes.items() if change not in _ONE_SIDED
    ):
        hint = (
            ""
            if comparison.ignores_registry
            else ("; --ignore-registry compares a mirror with its origin")
        )
        yield f"note: no reference is in both reports{hint}"
    if old.audited_from and new.audited_to and new.audited_to < old.audited_from:
        yield "note: the new report was audited before the old one: OLD comes first"


def _side_line(name: str, side: ReportSide) -> str:
    line = f"{name}: {side.images:,} {pluralize(side.images, 'image')},"
    if side.others:
        line += f" {side.others:,} other {pluralize(side.others, 'manifest')},"
    line += f" {side.failures:,} {pluralize(side.failures, 'failure')}"
    if side.audited_from is None or side.audited_to is None:
        return line
    if side.audited_from == side.audited_to:
        return f"{line}, audited {side.audited_from}"
    return f"{line}, audited {side.audited_from} to {side.audited_to}"


def _tables(comparison: Comparison, limit: int) -> Iterator[TitledTable]:
    totals = comparison.totals
    counts: dict[Change | Facet, int] = dict(totals.changes.items())
    counts.update(totals.facets.items())
    for kind, (title, columns) in _TABLES.items():
        if counts[kind]:
            yield TitledTable(
                title=title,
                columns=(code_column("reference"), *columns),
                rows=tuple(comparison.differences(kind, limit=limit)),
                total=counts[kind],
                note=_NOTES.get(kind),
            )


# -- cells --


def _state(side: str, field: str, title: str | None = None) -> TableColumn:
    """A column of a field of one side, empty if that report has no line for it."""
    return _STATE_COLUMNS[field](
        title or field,
        lambda difference: getattr(getattr(difference, side), field, None),
    )


_STATE_COLUMNS: dict[str, Callable[..., TableColumn]] = {
    "digest": partial(code_column, form=short_digest),
    "size": size_column,
    "failure": partial(code_column, missing=""),
    "detail": partial(text_column, missing=""),
}


def _before(difference: Difference) -> str:
    if difference.old is None:
        return "not in report"
    return "not reached" if difference.old.digest is None else "an image"


def _altered(difference: Difference) -> str:
    gained = (*difference.architectures_gained, *difference.attachments_gained)
    lost = (*difference.architectures_lost, *difference.attachments_lost)
    return " ".join([*(f"+{name}" for name in gained), *(f"-{name}" for name in lost)])


def _largest(difference: Difference) -> PlatformGrowth:
    return max(difference.grown, key=lambda grown: grown.new_size - grown.old_size)


def _percentage(difference: Difference) -> str:
    most = _largest(difference)
    if not most.old_size:
        return "from nothing"
    return f"+{100 * (most.new_size - most.old_size) / most.old_size:,.0f} %"


# -- tables --

_BEFORE = text_column("before", _before)
_OLD_IMAGE = (_state("old", "digest"), _state("old", "size"))
_NEW_IMAGE = (_state("new", "digest"), _state("new", "size"))


def _names(title: str, field: str) -> tuple[TableColumn, ...]:
    return (code_column(title, field, form=" ".join),)


# Titles, and the columns after the reference, in the order of the output.
_TABLES: dict[Change | Facet, tuple[str, tuple[TableColumn, ...]]] = {
    Change.FAILING: (
        "failing now",
        (_BEFORE, _state("new", "failure"), _state("new", "detail")),
    ),
    Change.UNREACHED: (
        "unknown: the new run was interrupted before it reached them",
        (_BEFORE,),
    ),
    Change.REMOVED: ("removed", _OLD_IMAGE),
    Change.UNLISTED: ("unknown: the new run could not list them", _OLD_IMAGE),
    Facet.LOST: ("architectures lost", _names("architectures", "architectures_lost")),
    Facet.UNATTACHED: (
        "signatures, SBOMs or provenance lost",
        _names("attachments", "attachments_lost"),
    ),
    Change.MOVED: (
        "moved to another digest",
        (
            _state("old", "digest", "old digest"),
            _state("new", "digest", "new digest"),
            _state("old", "size", "old size"),
            _state("new", "size", "new size"),
        ),
    ),
    Change.ALTERED: (
        "same digest, other architectures or attachments",
        (code_column("changes", _altered),),
    ),
    Facet.GAINED: (
        "architectures gained",
        _names("architectures", "architectures_gained"),
    ),
    Facet.ATTACHED: (
        "signatures, SBOMs or provenance gained",
        _names("attachments", "attachments_gained"),
    ),
    Facet.GROWN: (
        "grown",
        (
            code_column("largest growth", lambda row: _largest(row).platform),
            size_column("old size", lambda row: _largest(row).old_size),
            size_column("new size", lambda row: _largest(row).new_size),
            number_column("growth", _percentage),
            count_column("platforms grown", lambda row: len(row.grown)),
        ),
    ),
    Change.ADDED: ("added", _NEW_IMAGE),
    Change.RELISTED: (
        "listed again: the old run could not list or reach them",
        _NEW_IMAGE,
    ),
    Change.HEALED: (
        "healed",
        (
            _state("old", "failure", "failed with"),
            _state("new", "digest", "digest now"),
        ),
    ),
    Change.DROPPED: (
        "failed before, not in the new report",
        (_state("old", "failure"), _state("old", "detail")),
    ),
}
_NOTES: dict[Change | Facet, str] = {
    Change.UNREACHED: "to complete the new report, audit again with --resume",
    Change.UNLISTED: "they may still exist: see the failed listings",
    Change.RELISTED: "they may have existed before",
}
