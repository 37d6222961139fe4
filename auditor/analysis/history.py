"""What the data set holds, and how a report gets into it.

    DATASET/images/date=2026-11-24/20261124T020000Z-1f0c9a42.parquet
    DATASET/repositories/date=2026-11-24/20261124T020000Z-1f0c9a42.parquet

A run is what `add` was given at once: one report, or those of one night. Its name is
the time of its first record and a fingerprint of what it found, so that adding a run
again changes nothing. `images` has a row for each reference, `repositories` one for
each repository, and one without a name for what could not become a reference; every
program that reads Hive partitions can read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from auditor.analysis.duckdb_connection import quoted
from auditor.analysis.export import copy_parquet
from auditor.analysis.export.destination import whole_files
from auditor.analysis.reports import open_reports
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass

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
class Run:
    """A run of the data set. `date` is that of its first record, UTC."""

    name: str
    date: str

    def files(self, dataset: Path) -> list[Path]:
        """Where its images and its repositories are."""
        return [
            dataset / kind / f"date={self.date}" / f"{self.name}.parquet"
            for kind in ("images", "repositories")
        ]


def add(dataset: Path, reports: Sequence[str]) -> tuple[Run, bool]:
    """The run that the reports make, and whether it is new to the data set.

    `UsageError` for reports that are none, or hold no record with a time;
    `OutputError` where the data set cannot be written.
    """
    with open_reports(reports) as connection:
        run = _run(connection)
        files = run.files(dataset)
        if all(file.exists() for file in files):
            return run, False
        with whole_files(files, force=True) as partials:
            for select, partial in zip((_IMAGES, _REPOSITORIES), partials, strict=True):
                copy_parquet(connection, select.format(run=quoted(run.name)), partial)
    return run, True


def _run(connection: duckdb.DuckDBPyConnection) -> Run:
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
    return Run(name=f"{started}-{int(fingerprint):016x}", date=date)
