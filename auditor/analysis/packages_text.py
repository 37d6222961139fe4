"""The packages that `auditor packages` found, as text, Markdown, CSV or JSON lines."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.analysis.csv_lines import csv_rows
from auditor.analysis.packages import PackageSearch, PackageTotals, PackageUse
from auditor.analysis.text_tables import (
    TitledTable,
    code_column,
    result_lines,
    text_column,
)
from auditor.util.terminal import PIPE, Screen
from auditor.util.text import format_count, pluralize


def package_lines(
    search: PackageSearch, form: str, limit: int, screen: Screen = PIPE
) -> Iterator[str]:
    """The lines of `--format text|jsonl|markdown|csv`.

    JSON lines end with the totals, of which `unknown_lines` are for people. `limit` is
    the maximum number of rows in text and Markdown, 0 for all.
    """
    if form == "csv":
        return csv_rows(PackageUse, search.uses())
    return result_lines(
        form,
        summary=(),
        tables=_tables(search, limit),
        documents=_documents(search),
        screen=screen,
    )


def _documents(search: PackageSearch) -> Iterator[object]:
    yield from search.uses()
    yield search.totals


def _tables(search: PackageSearch, limit: int) -> Iterator[TitledTable]:
    totals = search.totals
    yield TitledTable(
        title=f"packages in {format_count(totals.images, 'image')}",
        columns=[
            code_column("image", "reference"),
            text_column("platform", missing="all"),
            text_column("package", _package),
            text_column("version", lambda use: _version(use, totals)),
            text_column("type"),
        ],
        rows=tuple(search.uses(limit=limit)),
        total=totals.packages,
    )


def _package(use: PackageUse) -> str:
    """The name, with that of the source package if it is another one."""
    if use.source is None or use.source == use.name:
        return use.name
    return f"{use.name} (of {use.source})"


def _version(use: PackageUse, totals: PackageTotals) -> str:
    version = use.version or "unknown"
    has_no_order = totals.not_compared and use.in_range is None
    return f"{version} (not compared)" if has_no_order else version


_STATES = (
    ("partly", "with SBOMs of some platforms only"),
    ("unreadable", "with SBOMs that could not be read"),
    ("only_of_others", "with SBOMs of other images only"),
    ("not_in_file", "with SBOMs that are not in the SBOM file; audit with --sbom"),
    ("without_sbom", "without an SBOM"),
    ("unknown", "not looked at for all SBOMs; audit with --sbom"),
)


def unknown_lines(totals: PackageTotals) -> Iterator[str]:
    """What the search looked into, and what it could not."""
    images = totals.searched + sum(getattr(totals, name) for name, _ in _STATES)
    noun = pluralize(images, "image")
    yield f"looked into the SBOMs of {totals.searched:,} of {images:,} {noun}"
    for name, meaning in _STATES:
        if count := getattr(totals, name):
            yield f"  {count:,} {meaning}"
    if totals.failures:
        failed = format_count(totals.failures, "reference")
        yield f"  {failed} could not be audited"
    if totals.cut_short:
        cut = format_count(totals.cut_short, "SBOM")
        yield f"  {cut} with more packages than are kept"
    if totals.of_others:
        others = format_count(totals.of_others, "SBOM")
        yield f"  {others} left out, whose statement names another image"
    if totals.not_compared:
        found = format_count(totals.not_compared, "package")
        yield f"  {found} with a version that cannot be compared; listed as well"
