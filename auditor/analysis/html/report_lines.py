"""The lines of a report in one table, and its totals, failures and warnings.

The table `line` has one row per reference; if a reference has several lines, the last
one counts. Ages are relative to the last audit in the report, never to today, so that
the same report gives the same page.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from auditor.analysis.duckdb_connection import stream_rows
from auditor.analysis.report_views import (
    creation_time,
    keep_last_lines,
    open_reports,
    report_paths,
)
from auditor.errors import Blame, FailureKind, UsageError
from auditor.fast_dataclass import dataclass

if TYPE_CHECKING:
    import duckdb

# Failures listed one by one; their causes are counted over all of them.
MAX_FAILURES = 1000
# Report files listed by name; the digest covers all of them.
MAX_FILES_NAMED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRows:
    """The rows of a table that the page shows, and how many there are in all."""

    rows: Sequence[Any]
    total: int


class ReportLines:
    """Queries on the table `line`; usable while its connection is open.

    A row has an attribute for each column of the query. The lines of the files are the
    view `report.lines` of the `connection`.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        (self.totals,) = self.rows(_TOTALS)

    @property
    def several_registries(self) -> bool:
        """Whether the name of a repository must include its registry."""
        return bool(self.totals.registries > 1)

    def causes(self) -> list[SimpleNamespace]:
        """Kinds of failure, most frequent first, and their `blame` (who acts)."""
        causes = list(self.rows(_CAUSES))
        for cause in causes:
            # A report of a later version may have unknown kinds.
            kinds = (kind for kind in FailureKind if kind == cause.name)
            cause.blame = next((_BLAME_TEXT[kind.blame] for kind in kinds), "unknown")
        return causes

    def failures(self) -> ShownRows:
        """Failed references by kind of failure, then by reference."""
        return self.shown(_FAILURES.format(limit=MAX_FAILURES))

    def warnings(self) -> list[SimpleNamespace]:
        """Warnings with the number of their references, most frequent first."""
        return list(self.rows(_WARNINGS))

    def shown(self, query: str) -> ShownRows:
        """The result rows of a query, which has the number of all rows as `total`."""
        rows = list(self.rows(query))
        return ShownRows(rows=rows, total=rows[0].total if rows else 0)

    def rows(self, query: str) -> Iterator[SimpleNamespace]:
        """The result rows of a query."""
        return (SimpleNamespace(**row) for row in stream_rows(self.connection, query))


@contextmanager
def load_lines(paths: Sequence[str]) -> Iterator[ReportLines]:
    """Load the lines of a report, given as files or globs."""
    with open_reports(paths, schema="report", views=()) as connection:
        connection.execute("USE main")
        connection.execute(_LOAD)
        connection.execute(keep_last_lines("line", "reference"))
        yield ReportLines(connection)


def read_source(paths: Sequence[str]) -> SimpleNamespace:
    """The files that paths and globs name; raises `UsageError`.

    `digest` is that of the bytes of a single file. For several files it is that of the
    output of `sha256sum` for them, in the order of their names.
    """
    files = [_read_file(path) for path in report_paths(paths)]
    digest = files[0].digest
    if len(files) > 1:
        sums = "".join(f"{file.digest[7:]}  {file.name}\n" for file in files)
        hexadecimal = hashlib.sha256(
            sums.encode("utf-8", "surrogateescape")
        ).hexdigest()
        digest = f"sha256:{hexadecimal}"
    more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
    return SimpleNamespace(
        name=files[0].name + more,
        files=files[:MAX_FILES_NAMED],
        file_count=len(files),
        digest=digest,
        size=sum(file.size for file in files),
    )


def _read_file(path: str) -> SimpleNamespace:
    try:
        with Path(path).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    return SimpleNamespace(name=Path(path).name, digest=f"sha256:{digest}", size=size)


_BLAME_TEXT = {
    Blame.USER: "you",
    Blame.REGISTRY: "the registry",
    Blame.NETWORK: "the network",
    Blame.NOBODY: "none: run it again",
}

# Of a signature or a Helm chart these say nothing.
_OF_IMAGES = ", ".join(
    f"CASE WHEN content = 'image' THEN {field} END AS {field}"
    for field in (
        "architectures",
        "signed",
        "has_sbom",
        "has_provenance",
        "verified_by",
        "not_verified_by",
        "signatures",
    )
)
_LOAD = f"""
    CREATE TABLE line AS
    SELECT reference, registry, repository, tag, kind, content, digest, size,
           failure, stage, status, detail, attempts, audited_at,
           list_max([{creation_time("p")} FOR p IN platforms]) AS created,
           len([1 FOR p IN platforms IF ({creation_time("p")}) IS NULL])
             AS undated_platforms,
           [w.code FOR w IN warnings] AS warnings,
           {_OF_IMAGES},
           list_distinct(flatten([map_entries(p.config.labels) FOR p IN platforms]))
             AS labels,
           list_distinct([p.base FOR p IN platforms IF p.base IS NOT NULL]) AS bases
    FROM report.lines"""

# The failure of a pattern has the pattern in place of a repository.
IS_REPOSITORY = r"NOT regexp_matches(repository, '[*?\[]')"

_TOTALS = f"""
    SELECT count(*) AS lines,
           count(*) FILTER (content = 'image') AS images,
           count(*) FILTER (kind = 'image' AND content <> 'image') AS others,
           count(*) FILTER (kind = 'failure') AS failures,
           count(DISTINCT registry) AS registries,
           count(DISTINCT (registry, repository)) FILTER ({IS_REPOSITORY})
             AS repositories,
           count(DISTINCT digest) FILTER (content = 'image') AS digests,
           count(*) FILTER (len(warnings) > 0) AS warned,
           min(audited_at) AS audited_from, max(audited_at) AS audited_to,
           min(registry) AS registry
    FROM line"""

_CAUSES = """
    SELECT failure AS name, count(*) AS count,
           count(DISTINCT (registry, repository)) AS repositories
    FROM line WHERE kind = 'failure' GROUP BY failure ORDER BY count DESC, name"""

_FAILURES = """
    SELECT reference, failure, stage, status, detail, attempts,
           count(*) OVER () AS total
    FROM line WHERE kind = 'failure' ORDER BY failure, reference LIMIT {limit}"""

_WARNINGS = """
    SELECT name, count(*) AS count, min(reference) AS reference
    FROM (SELECT reference, unnest(list_distinct(warnings)) AS name FROM line)
    GROUP BY name ORDER BY count DESC, name"""
