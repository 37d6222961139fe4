"""The bases of a report as text, Markdown, CSV or JSON lines."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.analysis.csv_lines import csv_rows
from auditor.analysis.stale_bases import BaseInventory, Rebuild
from auditor.analysis.text_tables import (
    TitledTable,
    code_column,
    count_column,
    result_lines,
    text_column,
)
from auditor.util.terminal import PIPE, Screen
from auditor.util.text import format_count


def base_lines(
    inventory: BaseInventory, form: str, limit: int, screen: Screen = PIPE
) -> Iterator[str]:
    """The lines of `--format text|jsonl|markdown|csv`.

    JSON lines have every row, then the totals; CSV has the images to rebuild, because
    it is one table. `limit` is the maximum number of rows per table in the other
    formats, 0 for all.
    """
    if form == "csv":
        return csv_rows(Rebuild, inventory.rebuilds())
    return result_lines(
        form,
        summary=_summary_lines(inventory),
        tables=_tables(inventory, limit),
        documents=_documents(inventory),
        screen=screen,
    )


def _documents(inventory: BaseInventory) -> Iterator[object]:
    yield from inventory.bases()
    yield from inventory.rebuilds()
    yield inventory.totals


def _summary_lines(inventory: BaseInventory) -> Iterator[str]:
    totals = inventory.totals
    yield (
        f"{format_count(totals.images, 'image')}: {totals.stale:,} with a stale base,"
        f" {totals.current:,} current"
    )
    if totals.unknown:
        yield f"unknown: {totals.unknown:,}; auditor query shows why (bases.detail)"
    if totals.not_asked:
        yield (f"not asked: {totals.not_asked:,} name a base; audit with --check-bases")
    if totals.unnamed:
        yield (
            f"no base named: {totals.unnamed:,}; labels need audit --image-config"
            " always"
        )
    if totals.failures:
        yield (
            f"{format_count(totals.failures, 'reference')} could not be audited;"
            " bases unknown"
        )


def _tables(inventory: BaseInventory, limit: int) -> Iterator[TitledTable]:
    yield TitledTable(
        title="base images",
        columns=(
            code_column("base"),
            code_column("current digest", "current_digest", missing="(unknown)"),
            *map(count_column, ("stale", "current", "unknown")),
            count_column("not asked", "not_asked"),
            count_column("tags", "references"),
        ),
        rows=tuple(inventory.bases(limit=limit)),
        total=inventory.count("base_use"),
        note="stale, current: numbers of builds, which several tags can point at",
    )
    yield TitledTable(
        title="images to rebuild",
        columns=(
            code_column("image", "reference"),
            *map(count_column, ("mends",)),
            count_column("tags", "references"),
            code_column("stale base", lambda row: " ".join(row.bases)),
            text_column("rebuild after", "after"),
        ),
        rows=tuple(inventory.rebuilds(limit=limit)),
        total=inventory.count("rebuild"),
        note="mends: tags of the image, and of images in the report that are built on"
        " it",
    )
