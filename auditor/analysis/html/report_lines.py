"""The lines of a report in one table, and its totals, failures and warnings.

The table `line` has one row per reference; of several lines of a reference the last one
counts. Ages are relative to the last audit in the report, never to today, so that the
same report gives the same page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from auditor.analysis.duckdb_connection import stream_rows
from auditor.analysis.reports import keep_last_lines, open_reports, report_paths
from auditor.errors import Blame, FailureKind, UsageError
from auditor.fast_dataclass import dataclass

if TYPE_CHECKING:
    import duckdb

Row = TypeVar("Row")

# Failures listed one by one; their causes are counted over all of them.
MAX_FAILURES = 1000
# Report files listed by name; the digest covers all of them.
MAX_FILES_NAMED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRows(Generic[Row]):
    """The rows of a table that the page shows, and how many there are in all."""

    rows: tuple[Row, ...]
    total: int

    @classmethod
    def of(
        cls, results: Iterable[Any], make: Callable[[Any], Row] = lambda row: row
    ) -> Self:
        """Rows made of SQL results, whose column `total` is the number of all rows."""
        results = tuple(results)
        total = results[0].total if results else 0
        return cls(rows=tuple(map(make, results)), total=total)

    @property
    def left_out(self) -> int:
        """The number of rows that are not shown."""
        return self.total - len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTotals:
    """Counts over all lines. Times are the first and the last `audited_at`."""

    lines: int
    images: int
    failures: int
    registries: int
    repositories: int
    digests: int
    warned: int
    audited_from: str | None
    audited_to: str | None
    registry: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCause:
    """A kind of failure, how often it occurs, and the first reference that has it."""

    name: str
    count: int
    repositories: int
    reference: str
    detail: str

    @property
    def blame(self) -> str:
        """Who has to act. A report of a later version may have unknown kinds."""
        kinds = (kind for kind in FailureKind if kind == self.name)
        return next((_BLAME_TEXT[kind.blame] for kind in kinds), "unknown")


class ReportLines:
    """Queries on the table `line`; usable while its connection is open."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        (row,) = stream_rows(connection, _TOTALS)
        self.totals = ReportTotals(**row)

    @property
    def several_registries(self) -> bool:
        """Whether the name of a repository must include its registry."""
        return self.totals.registries > 1

    def causes(self) -> tuple[FailureCause, ...]:
        """Kinds of failure, most frequent first."""
        rows = stream_rows(self._connection, _CAUSES)
        return tuple(FailureCause(**row) for row in rows)

    def failures(self) -> ShownRows[Any]:
        """Failed references by kind of failure, then by reference."""
        rows = tuple(self.rows(_FAILURES.format(limit=MAX_FAILURES)))
        return ShownRows(rows=rows, total=self.totals.failures)

    def warnings(self) -> tuple[Any, ...]:
        """Warnings with the number of their references, most frequent first."""
        return tuple(self.rows(_WARNINGS))

    def rows(self, query: str) -> Iterator[Any]:
        """The result rows of a query, with an attribute for each column."""
        for row in stream_rows(self._connection, query):
            yield SimpleNamespace(**row)


@contextmanager
def load_lines(paths: Sequence[str]) -> Iterator[ReportLines]:
    """Load the lines of a report, given as files or globs."""
    with open_reports(paths, schema="report") as connection:
        connection.execute("USE main")
        connection.execute(_LOAD)
        connection.execute(keep_last_lines("line", "reference"))
        yield ReportLines(connection)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFile:
    """A report file. `digest` is `sha256:...` of its bytes as they are on disk."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSource:
    """The files of a report.

    `digest` is that of the only file; of several files, that of the output of
    `sha256sum` for them in the order of their names.
    """

    files: tuple[ReportFile, ...]
    file_count: int
    digest: str
    size: int

    @property
    def name(self) -> str:
        """The name of the first file, and how many more there are."""
        more = f" and {self.file_count - 1:,} more" if self.file_count > 1 else ""
        return self.files[0].name + more


def read_source(paths: Sequence[str]) -> ReportSource:
    """Hash the files that paths and globs name; raises `UsageError`."""
    files = [_read_file(path) for path in report_paths(paths)]
    sums = "".join(f"{file.digest[7:]}  {file.name}\n" for file in files)
    digest = hashlib.sha256(sums.encode("utf-8", "surrogateescape")).hexdigest()
    return ReportSource(
        files=tuple(files[:MAX_FILES_NAMED]),
        file_count=len(files),
        digest=files[0].digest if len(files) == 1 else f"sha256:{digest}",
        size=sum(file.size for file in files),
    )


def _read_file(path: str) -> ReportFile:
    try:
        with Path(path).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    return ReportFile(name=Path(path).name, digest=f"sha256:{digest}", size=size)


_BLAME_TEXT = {
    Blame.USER: "you",
    Blame.REGISTRY: "the registry",
    Blame.NETWORK: "the network",
    Blame.NOBODY: "none: run it again",
}

_LOAD = """
    CREATE TABLE line AS
    SELECT reference, registry, repository, tag, kind, digest, size, architectures,
           failure, stage, status, detail, attempts, audited_at,
           list_max([try_cast(p.created AS TIMESTAMP) FOR p IN platforms]) AS created,
           [w.code FOR w IN warnings] AS warnings,
           signed, has_sbom, has_provenance,
           list_distinct(flatten([map_entries(p.config.labels) FOR p IN platforms]))
             AS labels,
           list_distinct([p.base FOR p IN platforms IF p.base IS NOT NULL]) AS bases
    FROM report.lines"""

_TOTALS = """
    SELECT count(*) AS lines,
           count(*) FILTER (kind = 'image') AS images,
           count(*) FILTER (kind = 'failure') AS failures,
           count(DISTINCT registry) AS registries,
           count(DISTINCT (registry, repository)) AS repositories,
           count(DISTINCT digest) FILTER (kind = 'image') AS digests,
           count(*) FILTER (len(warnings) > 0) AS warned,
           min(audited_at) AS audited_from, max(audited_at) AS audited_to,
           min(registry) AS registry
    FROM line"""

_CAUSES = """
    SELECT failure AS name, count(*) AS count,
           count(DISTINCT (registry, repository)) AS repositories,
           arg_min(reference, reference) AS reference,
           arg_min(detail, reference) AS detail
    FROM line WHERE kind = 'failure' GROUP BY failure ORDER BY count DESC, name"""

_FAILURES = """
    SELECT reference, failure, stage, status, detail, attempts
    FROM line WHERE kind = 'failure' ORDER BY failure, reference LIMIT {limit}"""

_WARNINGS = """
    SELECT name, count(*) AS count, min(reference) AS reference
    FROM (SELECT reference, unnest(list_distinct(warnings)) AS name FROM line)
    GROUP BY name ORDER BY count DESC, name"""
