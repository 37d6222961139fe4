"""A data set of all runs: the state of every reference, night by night.

    DATASET/images/date=2026-11-24/20261124T020000Z-1f0c9a42.parquet
    DATASET/repositories/date=2026-11-24/20261124T020000Z-1f0c9a42.parquet

A run is one report, or all reports of one night. Its name is the time of its first
record and a fingerprint of its content, so adding a run again changes nothing. `images`
has a row per reference. `repositories` has a row per repository, and one without a name
for input that is not a reference. Any program that reads Parquet with Hive partitions
can query them; docs/guide/history.md has the usual queries. `show` answers the
question that needs a complex query: when a tag moved.
"""

# ruff: noqa: S608  (the SQL is made of constants and quoted values)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb

from auditor.analysis.duckdb_connection import quoted, work_database
from auditor.analysis.export import atomic_files, copy_parquet
from auditor.analysis.query import QueryResult
from auditor.analysis.reports import (
    duckdb_pattern,
    foreign_layers,
    open_reports,
    reading_reports,
)
from auditor.errors import ProtocolError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import Reference, parse_reference
from auditor.util.text import safe_text


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRun:
    """A run of the data set. `date` is that of its first record, UTC."""

    name: str
    date: str

    def files(self, dataset: Path) -> list[Path]:
        """The files of its images and of its repositories."""
        return [
            dataset / kind / f"date={self.date}" / f"{self.name}.parquet"
            for kind in ("images", "repositories")
        ]


def add(dataset: Path, reports: Sequence[str]) -> tuple[HistoryRun, bool]:
    """Add the run of these reports; also return whether it is new to the data set.

    Raises `UsageError` for files that are not reports or have no record with a time,
    `OutputError` if the data set cannot be written.
    """
    with open_reports(reports) as connection:
        run = _read_run(connection)
        files = run.files(dataset)
        if all(file.exists() for file in files):
            return run, False
        with atomic_files(files, force=True) as partials:
            for select, partial in zip((_IMAGES, _REPOSITORIES), partials, strict=True):
                copy_parquet(connection, select.format(run=quoted(run.name)), partial)
    return run, True


@contextmanager
def show(dataset: Path, target: str) -> Iterator[QueryResult]:
    """The states of a reference, each with its first and last time.

    Consecutive runs with the same result are one row; runs without the repository are
    left out. Raises `UsageError` if there is no data set, or no data for the reference.
    """
    for kind in ("images", "repositories"):
        if not any((dataset / kind).glob("date=*/*.parquet")):
            raise UsageError(
                f"{safe_text(str(dataset))}: not a data set of auditor history: no run"
                f" in {kind}; add one with auditor history add"
            )
    try:
        reference = parse_reference(target)
    except ProtocolError as error:
        raise UsageError(error.detail) from None
    select = _PERIODS.format(
        images=_read_parquet(dataset, "images"),
        repositories=_read_parquet(dataset, "repositories"),
        registry=quoted(reference.registry),
        repository=quoted(reference.repository),
        reference=quoted(str(reference)),
    )
    with work_database() as connection, reading_reports():
        if connection.execute(f"SELECT 1 FROM ({select}) LIMIT 1").fetchone() is None:
            suggestion = _other_registry(connection, dataset, reference)
            raise UsageError(
                f"{safe_text(str(dataset))}: no data for {safe_text(target)}"
                + (f"; did you mean {safe_text(suggestion)}?" if suggestion else "")
            )
        yield QueryResult(connection, select)


def _other_registry(
    connection: duckdb.DuckDBPyConnection, dataset: Path, reference: Reference
) -> str | None:
    """The reference in another registry that has the repository, if one does."""
    names = (reference.repository, reference.repository.removeprefix("library/"))
    row = connection.execute(
        f"SELECT registry, repository FROM {_read_parquet(dataset, 'repositories')}"
        f" WHERE repository IN ({', '.join(map(quoted, names))})"
        " ORDER BY run DESC, registry LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    return str(replace(reference, registry=row[0], repository=row[1]))


def _read_parquet(dataset: Path, kind: str) -> str:
    files = f"{duckdb_pattern(str(dataset / kind))}/date=*/*.parquet"
    return f"read_parquet({quoted(files)}, hive_partitioning = true)"


def _read_run(connection: duckdb.DuckDBPyConnection) -> HistoryRun:
    ((started, date, fingerprint, count),) = connection.execute("""
        SELECT strftime(started, '%Y%m%dT%H%M%SZ'), strftime(started, '%Y-%m-%d'),
               fingerprint % 18446744073709551616, count
        FROM (SELECT try_cast(min(audited_at) AS TIMESTAMP) AS started,
                     sum(md5_number_lower(concat_ws(
                         ' ', reference, digest, failure, size, audited_at)))
                     AS fingerprint, count(*) AS count
              FROM lines)""").fetchall()
    if count == 0:
        raise UsageError("the report is empty: there is no run to add")
    if started is None:
        raise UsageError("the records of the report have no valid audited_at")
    return HistoryRun(name=f"{started}-{int(fingerprint):016x}", date=date)


# -- SQL --

# The latest record of each reference, sorted so that `show` reads few row groups.
_IMAGES = """
    SELECT DISTINCT ON (reference) {run} AS run, reference, registry, repository, tag,
           digest, size, architectures, failure, audited_at
    FROM (SELECT reference, registry, repository, tag, digest, size, architectures,
                 NULL::VARCHAR AS failure, audited_at FROM images
          UNION ALL
          SELECT reference, registry, repository, tag, digest, NULL, NULL,
                 failure, audited_at FROM failures)
    ORDER BY reference, audited_at DESC, digest"""

# Layers in the registry; `bytes` is the size of those whose size is known.
_REPOSITORIES = f"""
    WITH foreign_layers AS (
        SELECT reference, unnest({foreign_layers("p.layers", "warnings")}) AS digest
        FROM (SELECT reference, warnings, unnest(platforms) AS p FROM images
              WHERE len(warnings) > 0)),
    stored AS (
        SELECT registry, repository, count(*) AS layers,
               -- hostile sizes can add up to more than 64 bits
               least(coalesce(sum(size), 0), 9223372036854775807)::BIGINT AS bytes
        FROM (SELECT registry, repository, digest, max(size) AS size
              FROM layers ANTI JOIN foreign_layers USING (reference, digest)
              GROUP BY ALL)
        GROUP BY ALL),
    found AS (
        SELECT registry, repository, count(DISTINCT reference) AS "references",
               count(DISTINCT digest) AS manifests, 0 AS failures
        FROM images GROUP BY ALL),
    failed AS (
        SELECT registry, repository, count(DISTINCT reference) AS failures
        FROM failures GROUP BY ALL)
    SELECT {{run}} AS run, registry, repository,
           coalesce(found."references", 0) AS "references",
           coalesce(failed.failures, 0) AS failures,
           coalesce(manifests, 0) AS manifests,
           coalesce(layers, 0) AS layers, coalesce(bytes, 0) AS bytes
    FROM found FULL JOIN failed USING (registry, repository)
         LEFT JOIN stored USING (registry, repository)
    ORDER BY registry, repository"""


_PERIODS = """
    WITH runs AS (
        SELECT run, date FROM {repositories}
        WHERE registry = {registry} AND repository = {repository}),
    seen AS (
        SELECT runs.run, runs.date::VARCHAR AS date, record.digest, record.size,
               len(record.architectures) AS architectures,
               CASE WHEN record.run IS NULL THEN 'absent'
                    ELSE coalesce(record.failure, 'present') END AS state
        FROM runs LEFT JOIN
             (SELECT * FROM {images} WHERE reference = {reference}) AS record
             ON record.run = runs.run),
    marked AS (
        SELECT *, coalesce(lag(state) OVER w = state, false)
               AND lag(digest) OVER w IS NOT DISTINCT FROM digest AS same
        FROM seen WINDOW w AS (ORDER BY run)),
    numbered AS (
        SELECT *, count(*) FILTER (NOT same) OVER (ORDER BY run) AS period
        FROM marked)
    SELECT min(date) AS "from", max(date) AS until, count(*) AS runs,
           any_value(state) AS state, any_value(digest) AS digest,
           any_value(size) AS size, any_value(architectures) AS architectures
    FROM numbered GROUP BY period ORDER BY period"""
