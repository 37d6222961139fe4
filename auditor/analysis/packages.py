"""Finds the images of reports whose SBOMs have a package, and says what is unknown.

`search_packages` searches; `package_lines` prints what was found as text, Markdown, CSV
or JSON lines, `unknown_lines` what was not looked into.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from auditor.analysis.completeness import check_not_empty
from auditor.analysis.csv_lines import csv_rows
from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.analysis.file_kind import FileKind
from auditor.analysis.package_types import absent_types
from auditor.analysis.package_uses import (
    STATES,
    PackageCondition,
    create_package_uses,
)
from auditor.analysis.report_views import open_reports, report_paths
from auditor.analysis.text_tables import (
    TitledTable,
    code_column,
    result_lines,
    text_column,
)
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.util.terminal import PIPE, Screen
from auditor.util.text import format_count, pluralize


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageUse:
    """A package in an image; a line of `--format jsonl`.

    - `platform`: None if the SBOM is about all platforms of the image
    - `source`: the source package that a binary one was built from
    - `in_range`: None if the order of the version is not known, or no range was given
    """

    schema: int = SCHEMA
    kind: str = "package_use"
    reference: str
    registry: str
    repository: str
    tag: str | None
    image_digest: str
    platform: str | None
    name: str
    version: str | None
    type: str | None
    purl: str | None
    license: str | None
    source: str | None
    source_version: str | None
    in_range: bool | None
    sbom_digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageTotals:
    """The last line of `--format jsonl`: what was found, and what is not known.

    Each image of the report counts once, from `searched` to `unknown`.

    - `packages`: uses of packages
    - `images`: images that have them
    - `searched`: all its platforms have an SBOM that was read
    - `partly`: some platforms have one, or only some of its SBOMs were read
    - `unreadable`: its SBOMs could not be read
    - `only_of_others`: they are about other images
    - `not_in_file`: they are not in the SBOM file
    - `without_sbom`: it has none
    - `unknown`: the audit did not look for attachments, or not everywhere
    - `failures`: references that were not audited
    - `cut_short`: SBOMs with more packages than are kept
    - `of_others`: SBOMs that are attached to an image but about another one: their
      packages are left out
    - `not_compared`: uses whose version has no known order
    """

    schema: int = SCHEMA
    kind: str = "totals"
    packages: int
    images: int
    searched: int
    partly: int
    unreadable: int
    only_of_others: int
    not_in_file: int
    without_sbom: int
    unknown: int
    failures: int
    cut_short: int
    of_others: int
    not_compared: int


class PackageSearch:
    """The result of a search; usable while its connection is open.

    `notices` are sentences about the question, safe to print.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        has_range: bool,
        notices: Sequence[str] = (),
    ) -> None:
        self._connection = connection
        self._has_range = has_range
        self.notices = notices
        self.totals = self._count()

    def _count(self) -> PackageTotals:
        (found,) = stream_rows(
            self._connection,
            "SELECT count(*) AS packages, count(DISTINCT reference) AS images,"
            " count(*) FILTER (in_range IS NULL) AS not_compared FROM uses",
        )
        if not self._has_range:
            found["not_compared"] = 0
        (states,) = stream_rows(self._connection, _COUNT_STATES)
        (sboms,) = stream_rows(self._connection, _COUNTS)
        return PackageTotals(**found, **states, **sboms)

    def uses(self, *, limit: int = 0) -> Iterator[PackageUse]:
        """The uses by reference, platform and package; a limit of 0 means no limit."""
        query = f"""
            SELECT * EXCLUDE (condition) FROM uses
            ORDER BY reference, coalesce(platform, ''), name, coalesce(version, ''),
                     coalesce(type, '')
            {limit_clause(limit)}"""
        rows = stream_rows(self._connection, query)
        return (PackageUse(**row) for row in rows)


@contextmanager
def search_packages(
    reports: Sequence[str], sboms: Sequence[str], condition: PackageCondition
) -> Iterator[PackageSearch]:
    """Search the SBOMs of reports, all given as files or globs.

    If the reports have several lines of a reference, the last one counts. Raises
    `UsageError` for a file that is missing or is none of these, and for a type of
    packages that does not exist.
    """
    files = report_paths(sboms, kind=FileKind.SBOMS)
    with open_reports(reports, schema="report", views=()) as connection:
        check_not_empty(connection, "there are no images to look into")
        connection.execute("USE main")
        create_package_uses(
            connection, [condition], lines="report.lines", sbom_files=files
        )
        absent = tuple(absent_types(connection, [condition]))
        for each in absent:
            if not each.is_known:
                raise UsageError(each.text)
        yield PackageSearch(
            connection,
            has_range=condition.versions is not None,
            notices=tuple(each.text for each in absent),
        )


# -- SQL --

_COUNTS = """
    SELECT count(DISTINCT attachment) FILTER (left_out > 0 AND len(about) > 0)
               AS cut_short,
           count(DISTINCT attachment) FILTER (is_read AND len(about) = 0) AS of_others
    FROM documents"""

_COUNT_STATES = (
    "SELECT "
    + ", ".join(
        f"count(*) FILTER (state = '{name}') AS {name}"
        for name in (*STATES, "failures")
    )
    + " FROM package_state"
)


# -- output --


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
