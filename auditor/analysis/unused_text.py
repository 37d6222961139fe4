"""What is unused and what is gone as text, Markdown, CSV, JSON lines or a list."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.analysis.csv_lines import csv_rows
from auditor.analysis.text_tables import (
    TitledTable,
    code_column,
    result_lines,
    size_column,
    text_column,
)
from auditor.analysis.unused import (
    GoneImage,
    UnusedImage,
    UsageComparison,
)
from auditor.util.terminal import PIPE, Screen
from auditor.util.text import format_count, format_size, safe_text

_REFERENCE = ("reference", "references")


def unused_lines(
    usage: UsageComparison, form: str, limit: int, screen: Screen = PIPE
) -> Iterator[str]:
    """The lines of `--format text|jsonl|markdown|csv|list`.

    JSON lines have every row, then the totals. CSV has what is unused, because it is
    one table, and a list its references. `limit` is the maximum number of rows per
    table in the other formats, 0 for all.
    """
    if form == "csv":
        return csv_rows(UnusedImage, usage.unused())
    if form == "list":
        return (one.reference for one in usage.unused())
    return result_lines(
        form,
        summary=unused_summary(usage),
        tables=_tables(usage, limit),
        documents=_documents(usage),
        screen=screen,
    )


def _documents(usage: UsageComparison) -> Iterator[object]:
    yield from usage.unused()
    yield from usage.gone()
    yield usage.totals


def unused_summary(usage: UsageComparison) -> Iterator[str]:
    """What is unused, what is unknown, and what may be wrong; lines safe to print."""
    totals = usage.totals
    images = format_count(totals.images, *_REFERENCE)
    line = f"{images} of the registry: {totals.used:,} used, {totals.unused:,} unused"
    if totals.unknown:
        line += f", {totals.unknown:,} unknown"
    if totals.failures:
        line += f"; {totals.failures:,} more could not be audited"
    yield line
    nights = f"{totals.running_from} to {totals.running_to}"
    running = format_count(totals.running, *_REFERENCE)
    yield f"compared with {running} that ran, audited {nights}"
    if totals.running_failures:
        counts = "counts" if totals.running_failures == 1 else "count"
        yield (
            f"{totals.running_failures:,} of them could not be audited, and {counts}"
            " as running"
        )
    if totals.running_listings:
        listings = format_count(totals.running_listings, "listing")
        yield f"{listings} of what runs failed: everything they match counts as running"
    if totals.incomplete:
        yield (
            f"incomplete: {totals.incomplete:,}"
            f" {'line names' if totals.incomplete == 1 else 'lines name'} no image, so"
            " that what is called unused may run"
        )
    if totals.unknown:
        yield (
            f"{totals.unknown:,} unknown: something of their repository could not be"
            " audited, or it is not known what they are attached to"
        )
    if totals.unused:
        most = "at most " if totals.unaudited else ""
        freed = (
            f"deleting what is unused would free {most}{format_size(totals.freed_size)}"
        )
        if totals.unsized:
            freed += f", and {format_count(totals.unsized, 'layer')} of unknown size"
        yield f"{freed} of layers that nothing else in these reports has"
        yield (
            "what that leaves behind or breaks: --format list > FILE; auditor cleanup"
            " plan REPORT --delete @FILE"
        )
    if totals.gone_unknown:
        yield (
            f"of {totals.gone_unknown:,} running"
            f" {'reference' if totals.gone_unknown == 1 else 'references'} the reports"
            " do not say whether the registry has them"
        )
    if totals.elsewhere:
        yield f"{totals.elsewhere:,} running from registries that the reports lack"
    if totals.maybe_same_registry:
        host, _, registry = safe_text(totals.maybe_same_registry).partition("=")
        yield (
            f"danger: {totals.same_names:,} of the unused"
            f" {'has' if totals.same_names == 1 else 'have'} the name of what runs from"
            f" another host: if {host} is a mirror of {registry}, add --same-registry"
            f" {host}={registry}"
        )

    yield from usage.notices


def _tables(usage: UsageComparison, limit: int) -> Iterator[TitledTable]:
    totals = usage.totals
    yield TitledTable(
        title="in the registry, running nowhere",
        columns=(
            code_column("reference"),
            size_column("freed", "freed_size"),
            size_column("size"),
            text_column("pushed", "pushed_at", form=_date),
            text_column("pulled", "pulled_at", form=_date),
            code_column("part of", "part_of"),
        ),
        rows=tuple(usage.unused(limit=limit)),
        total=totals.unused,
        note="freed: bytes of layers that only unused images have; several may share"
        " them",
    )
    yield TitledTable(
        title="running, not in the registry",
        columns=(
            code_column("reference"),
            text_column("last seen", "last_seen", form=_date),
            text_column("found by", _evidence),
            text_column("used by", _user),
        ),
        rows=tuple(usage.gone(limit=limit)),
        total=totals.gone + totals.missing,
        note="a pull of these fails, if the registry's reports have all tags",
    )


def _date(time: str) -> str:
    return time[:10]


def _user(gone: GoneImage) -> str | None:
    """The first of what used it, and the number of the others."""
    if not gone.sources:
        return None
    first, *others = gone.sources
    names = [name for name in (first.namespace, first.workload) if name]
    more = f" and {len(others):,} more" if others else ""
    return ("/".join(names) or first.place) + more


def _evidence(gone: GoneImage) -> str:
    if gone.certain:
        return "its last audit: not found"
    return "the registry's reports, which have other tags of it"
