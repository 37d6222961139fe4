"""What the data set is asked: when did a tag move, how did a repository grow."""

# ruff: noqa: S608  (SQL is made of this program's own texts, values are quoted)

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from auditor.analysis.duckdb_connection import quoted, work_database
from auditor.analysis.query import Answer
from auditor.analysis.reading_errors import reading_reports
from auditor.analysis.reports import duckdb_pattern
from auditor.errors import ProtocolError, UsageError
from auditor.oci.reference import Reference, parse_reference
from auditor.util.text import safe_text

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
def show(dataset: Path, target: str | None) -> Iterator[Answer]:
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
        yield Answer(connection, select)


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
