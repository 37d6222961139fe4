"""The lines of a report, loaded once: totals, causes of failure, warnings.

The table `line` has a row for each reference; of several lines of one reference the
last one counts. Ages are counted from the report's own last day, never from today, so
that the same report makes the same page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from auditor.analysis.expressions import keep_last_lines
from auditor.analysis.html.rows import Rows
from auditor.analysis.reports import open_reports
from auditor.errors import Blame, FailureKind
from auditor.fast_dataclass import dataclass

if TYPE_CHECKING:
    import duckdb

# A person reads no more failures than these; their causes are counted over all.
MAX_FAILURES = 1000

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

_BLAME = {
    Blame.USER: "you",
    Blame.REGISTRY: "the registry",
    Blame.NETWORK: "the network",
    Blame.NOBODY: "nobody: try again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How much there is. Times are the first and the last `audited_at`."""

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
class Cause:
    """A kind of failure, and the first reference that has it."""

    name: str
    count: int
    repositories: int
    reference: str
    detail: str

    @property
    def who_acts(self) -> str:
        """Who has to do something; a report of a later version may name new kinds."""
        known = self.name in set(FailureKind)
        return _BLAME[FailureKind(self.name).blame] if known else "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A reference that could not be audited."""

    reference: str
    failure: str
    stage: str
    status: int | None
    detail: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """A warning, how many references have it, and the first of them."""

    name: str
    count: int
    reference: str


class Lines:
    """Answers from the table `line`; good while its connection is open."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        (row,) = self.rows(_TOTALS)
        self.totals = Totals(**row)

    @property
    def many_registries(self) -> bool:
        """Whether a repository's name needs its registry."""
        return self.totals.registries > 1

    def causes(self) -> tuple[Cause, ...]:
        """Most frequent first."""
        return tuple(Cause(**row) for row in self.rows(_CAUSES))

    def failures(self) -> Rows[Failed]:
        """By cause, then by reference."""
        rows = self.rows(_FAILURES.format(limit=MAX_FAILURES))
        found = tuple(Failed(**row) for row in rows)
        return Rows(rows=found, total=self.totals.failures)

    def warnings(self) -> tuple[Warned, ...]:
        """Most frequent first."""
        return tuple(Warned(**row) for row in self.rows(_WARNINGS))

    def rows(self, query: str) -> Iterator[dict[str, Any]]:
        """The rows of a query over `line`, streamed."""
        found = self._connection.cursor().execute(query)
        names = [column[0] for column in found.description or ()]
        while batch := found.fetchmany(2000):
            for row in batch:
                yield dict(zip(names, row, strict=True))


@contextmanager
def open_lines(paths: Sequence[str]) -> Iterator[Lines]:
    """The lines of a report: a file, several or globs."""
    with open_reports(paths, schema="report") as connection:
        connection.execute("USE main")
        connection.execute(_LOAD)
        connection.execute(keep_last_lines("line", "reference"))
        yield Lines(connection)
