"""What the data set holds, and how a report gets into it.

    DATASET/images/date=2026-11-24/20261124T020000Z-1f0c9a42.parquet
    DATASET/repositories/date=2026-11-24/20261124T020000Z-1f0c9a42.parquet

A run is what `add` was given at once: one report, or those of one night. Its name is
the time of its first record and a fingerprint of what it found, so that adding a run
again changes nothing. `images` has a row for each reference, `repositories` one for
each repository, and one without a name for what could not become a reference; every
program that reads Hive partitions can read them.
"""

# ruff: noqa: S608  (SQL is made of this program's own texts, values are quoted)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from auditor.analysis.duckdb_connection import quoted, work_database
from auditor.analysis.export import atomic_files, copy_parquet
from auditor.analysis.query import QueryResult
from auditor.analysis.reports import duckdb_pattern, open_reports, reading_reports
from auditor.errors import ProtocolError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import Reference, parse_reference
from auditor.util.text import safe_text

# Of a reference that is there twice, the latest record counts. In the order of the
# references, `show` reads a few row groups of each file.
_IMAGES = """
    SELECT DISTINCT ON (reference) {run} AS run, reference, registry, repository, tag,
           digest, size, architectures, failure, audited_at
    FROM (SELECT reference, registry, repository, tag, digest, size, architectures,
                 NULL::VARCHAR AS failure, audited_at FROM images
          UNION ALL
          SELECT reference, registry, repository, tag, digest, NULL, NULL,
                 failure, audited_at FROM failures)
    ORDER BY reference, audited_at DESC, digest"""

# `bytes` are those of the distinct layers, as far as manifests give them.
_REPOSITORIES = """
    WITH stored AS (
        SELECT registry, repository, count(*) AS layers,
               -- what adds up to more than 64 bits is not true anyway
               CASE WHEN sum(size) <= 9223372036854775807 THEN sum(size)::BIGINT
                    WHEN sum(size) IS NOT NULL THEN 9223372036854775807 END AS bytes
        FROM (SELECT registry, repository, digest, max(size) AS size
              FROM layers GROUP BY ALL)
        GROUP BY ALL),
    found AS (
        SELECT registry, repository, count(DISTINCT reference) AS "references",
               count(DISTINCT digest) AS manifests, 0 AS failures
        FROM images GROUP BY ALL),
    failed AS (
        SELECT registry, repository, count(DISTINCT reference) AS failures
        FROM failures GROUP BY ALL)
    SELECT {run} AS run, registry, repository,
           coalesce(found."references", 0) AS "references",
           coalesce(failed.failures, 0) AS failures,
           coalesce(manifests, 0) AS manifests,
           coalesce(layers, 0) AS layers, coalesce(bytes, 0) AS bytes
    FROM found FULL JOIN failed USING (registry, repository)
         LEFT JOIN stored USING (registry, repository)
    ORDER BY registry, repository"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRun:
    """A run of the data set. `date` is that of its first record, UTC."""

    name: str
    date: str

    def files(self, dataset: Path) -> list[Path]:
        """Where its images and its repositories are."""
        return [
            dataset / kind / f"date={self.date}" / f"{self.name}.parquet"
            for kind in ("images", "repositories")
        ]


def add(dataset: Path, reports: Sequence[str]) -> tuple[HistoryRun, bool]:
    """The run that the reports make, and whether it is new to the data set.

    `UsageError` for reports that are none, or hold no record with a time;
    `OutputError` where the data set cannot be written.
    """
    with open_reports(reports) as connection:
        run = _run(connection)
        files = run.files(dataset)
        if all(file.exists() for file in files):
            return run, False
        with atomic_files(files, force=True) as partials:
            for select, partial in zip((_IMAGES, _REPOSITORIES), partials, strict=True):
                copy_parquet(connection, select.format(run=quoted(run.name)), partial)
    return run, True


def _run(connection: duckdb.DuckDBPyConnection) -> HistoryRun:
    found = connection.execute("""
        SELECT strftime(try_cast(min(audited_at) AS TIMESTAMP), '%Y%m%dT%H%M%SZ'),
               strftime(try_cast(min(audited_at) AS TIMESTAMP), '%Y-%m-%d'),
               sum(md5_number_lower(concat_ws(
                   ' ', reference, digest, failure, size, audited_at)))
                   % 18446744073709551616,
               count(*)
        FROM lines""").fetchone()
    assert found is not None
    started, date, fingerprint, count = found
    if count == 0:
        raise UsageError("the report holds no record")
    if started is None:
        raise UsageError("the report's records do not say when they were made")
    return HistoryRun(name=f"{started}-{int(fingerprint):016x}", date=date)


# -- questions --
# What the data set is asked: when did a tag move, how did a repository grow.


# Every run of the data set, oldest first.
_RUNS = """
    SELECT run, date::VARCHAR AS date, count(repository) AS repositories,
           sum("references")::BIGINT AS "references", sum(failures)::BIGINT AS failures,
           sum(bytes)::BIGINT AS bytes
    FROM {repositories} GROUP BY ALL ORDER BY run"""

# The runs that know the repository; consecutive ones that found the same are a row.
_TAG = """
    WITH runs AS (
        SELECT run, date FROM {repositories}
        WHERE registry = {registry} AND repository = {repository}),
    seen AS (
        SELECT runs.run, runs.date::VARCHAR AS date, found.digest, found.size,
               len(found.architectures) AS architectures,
               CASE WHEN found.run IS NULL THEN 'absent'
                    ELSE coalesce(found.failure, 'present') END AS state
        FROM runs LEFT JOIN
             (SELECT * FROM {images} WHERE reference = {reference}) AS found
             ON found.run = runs.run),
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

_REPOSITORY = """
    SELECT date::VARCHAR AS date, run, "references", failures, manifests, layers, bytes,
           bytes - lag(bytes) OVER (ORDER BY run) AS grown
    FROM {repositories} WHERE registry = {registry} AND repository = {repository}
    ORDER BY run"""


@contextmanager
def show(dataset: Path, target: str | None) -> Iterator[QueryResult]:
    """The runs of a data set; or a repository's growth, run by run; or, where the
    target has a tag or digest, what it was, from when until when.

    `UsageError` where there is no data set, or it does not know the target.
    """
    for kind in ("images", "repositories"):
        if not any((dataset / kind).glob("date=*/*.parquet")):
            raise UsageError(
                f"{safe_text(str(dataset))}: no data set of auditor history:"
                f" no run has been added to {kind}"
            )
    tables = {kind: _table(dataset, kind) for kind in ("images", "repositories")}
    if target is None:
        select = _RUNS.format(**tables)
    else:
        reference, whole_repository = _read(target)
        select = (_REPOSITORY if whole_repository else _TAG).format(
            **tables,
            registry=quoted(reference.registry),
            repository=quoted(reference.repository),
            reference=quoted(str(reference)),
        )
    with work_database() as connection, reading_reports():
        found = connection.execute(f"SELECT 1 FROM ({select}) LIMIT 1").fetchone()
        if target is not None and found is None:
            raise UsageError(
                f"{safe_text(str(dataset))}: knows nothing of {safe_text(target)}"
            )
        yield QueryResult(connection, select)


def _table(dataset: Path, kind: str) -> str:
    files = f"{duckdb_pattern(str(dataset / kind))}/date=*/*.parquet"
    return f"read_parquet({quoted(files)}, hive_partitioning = true)"


def _read(target: str) -> tuple[Reference, bool]:
    try:
        reference = parse_reference(target)
    except ProtocolError as error:
        raise UsageError(error.detail) from None
    named = "@" in target or ":" in target.rpartition("/")[2]
    return reference, not named
