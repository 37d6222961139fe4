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

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

import duckdb

from auditor.analysis.completeness import TAG_PATTERN
from auditor.analysis.duckdb_connection import quoted, work_database
from auditor.analysis.export import PRIVATE_FOLDER, atomic_files, copy_parquet
from auditor.analysis.manifest_graph import foreign_layers
from auditor.analysis.query import QueryNames, QueryResult
from auditor.analysis.report_views import (
    READING_ERRORS,
    duckdb_pattern,
    open_reports,
    reading_error,
)
from auditor.errors import FailureKind, OutputError, ProtocolError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import Reference, parse_reference
from auditor.util.text import safe_text

MAX_SUGGESTIONS = 3
_SHORT_DIGEST = re.compile(r"(?P<repository>.+)@sha256:(?P<digits>[0-9a-f]{6,63})")
_KINDS = ("images", "repositories")
_RUN_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{16}")
_DATE = re.compile(r"date=[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRun:
    """A run of the data set. `date` is that of its first record, UTC."""

    name: str
    date: str

    def files(self, dataset: Path) -> list[Path]:
        """The files of its images and of its repositories."""
        return [
            dataset / kind / f"date={self.date}" / f"{self.name}.parquet"
            for kind in _KINDS
        ]


def add(dataset: Path, reports: Sequence[str]) -> tuple[HistoryRun, bool]:
    """Add the run of these reports; also return whether it is new to the data set.

    Raises `UsageError` for files that are not reports or have no record with a time,
    `OutputError` if the data set cannot be written.
    """
    with open_reports(reports, views=("images", "failures", "layers")) as connection:
        run = _read_run(connection)
        files = run.files(dataset)
        if all(file.exists() for file in files):
            return run, False
        with atomic_files(files, force=True) as partials:
            for select, partial in zip((_IMAGES, _REPOSITORIES), partials, strict=True):
                copy_parquet(connection, select.format(run=quoted(run.name)), partial)
    return run, True


def remove_unfinished(dataset: Path) -> None:
    """Remove what an `add` that was killed left. No other may run. Raises `OSError`."""
    for left in dataset.glob(f"*/date=*/{PRIVATE_FOLDER}*"):
        shutil.rmtree(left)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run of the data set with its files.

    `complete`: its audit came to its end and found an image, and both files exist.
    """

    name: str
    date: date
    complete: bool
    files: tuple[Path, ...]


def stored_runs(dataset: Path) -> list[StoredRun]:
    """The runs of a data set, oldest first. Raises `UsageError` if there is none."""
    files: dict[tuple[str, str], list[Path]] = {}
    for kind in _KINDS:
        for file in (dataset / kind).glob("date=*/*.parquet"):
            if _RUN_NAME.fullmatch(file.stem) and _DATE.fullmatch(file.parent.name):
                files.setdefault((file.stem, file.parent.name), []).append(file)
    if not files:
        raise _no_data_set(dataset, _KINDS[0])
    with work_database() as connection, _reading(dataset):
        rows = connection.execute(
            "SELECT run, bool_or(failure IS NULL)"
            f" AND NOT bool_or(coalesce(failure, '') = '{FailureKind.INTERRUPTED}')"
            f" FROM {_read_parquet(dataset, 'images')} GROUP BY run"
        ).fetchall()
    complete = {run for run, is_complete in rows if is_complete}
    return [
        StoredRun(
            name=name,
            date=date.fromisoformat(day.removeprefix("date=")),
            complete=len(paths) == len(_KINDS) and name in complete,
            files=tuple(paths),
        )
        for (name, day), paths in sorted(files.items())
    ]


def remove(run: StoredRun) -> None:
    """Remove the files of a run. Raises `OutputError`."""
    # Without its repositories a run does not count any more: they go first.
    for file in reversed(run.files):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{safe_text(str(file))}: cannot be removed: {error.strerror}"
            ) from None
        with suppress(OSError):  # other runs of the day
            file.parent.rmdir()


@contextmanager
def show(
    dataset: Path, target: str, *, for_people: bool = False
) -> Iterator[QueryResult]:
    """The states of a reference, each with its first and last time.

    Consecutive runs with the same result are one row; runs without the repository are
    left out. Of a reference by digest, its first digits are enough. `for_people`: times
    in place of dates, readable sizes, and short digests. Raises `UsageError` if there
    is no data set, or no data for the reference.
    """
    for kind in _KINDS:
        if not any((dataset / kind).glob("date=*/*.parquet")):
            raise _no_data_set(dataset, kind)
    with work_database() as connection, _reading(dataset):
        reference = _parse(connection, dataset, target)
        select = _PERIODS.format(
            images=_read_parquet(dataset, "images"),
            repositories=_read_parquet(dataset, "repositories"),
            registry=quoted(reference.registry),
            repository=quoted(reference.repository),
            reference=quoted(str(reference)),
            tag=quoted(reference.tag) if reference.tag else "NULL",
            pattern=TAG_PATTERN,
            not_found=FailureKind.NOT_FOUND,
            selected=_FOR_PEOPLE if for_people else _FOR_PROGRAMS,
        )
        if connection.execute(f"SELECT 1 FROM ({select}) LIMIT 1").fetchone() is None:
            suggestions = _suggestions(connection, dataset, reference)
            raise UsageError(
                f"{safe_text(str(dataset))}: no data for {safe_text(target)}"
                + _did_you_mean(suggestions)
            )
        if _is_absent(connection, select):
            suggestions = _suggestions(connection, dataset, reference)
            raise UsageError(
                f"{safe_text(str(dataset))}: {reference} was in no run"
                + _did_you_mean(suggestions)
            )
        yield QueryResult(connection, select, QueryNames())


@contextmanager
def _reading(dataset: Path) -> Iterator[None]:
    """Turn an error of DuckDB into a `UsageError`, which names a damaged file."""
    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.Error as error:
        for file in sorted(dataset.glob("*/date=*/*.parquet")):
            if _is_damaged(file):
                raise UsageError(
                    f"{safe_text(str(file))}: damaged: remove it, and add its report"
                    " again (auditor history add)"
                ) from None
        if isinstance(error, READING_ERRORS):
            raise reading_error(error) from None
        raise


def _is_damaged(file: Path) -> bool:
    try:
        file.open("rb").close()
    except OSError as error:
        name = safe_text(str(file))
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from None
    pattern = quoted(duckdb_pattern(str(file)))
    try:
        with duckdb.connect() as connection:
            connection.execute(
                f"SELECT bit_xor(hash(COLUMNS(*))) FROM read_parquet({pattern})"
            ).fetchall()
    except duckdb.Error:
        return True
    return False


def _no_data_set(dataset: Path, kind: str) -> UsageError:
    return UsageError(
        f"{safe_text(str(dataset))}: not a data set of auditor history: no run in"
        f" {kind}; add one with auditor history add"
    )


def _is_absent(connection: duckdb.DuckDBPyConnection, select: str) -> bool:
    """Whether the repository is known, and the reference never was in it."""
    states = f"SELECT 1 FROM ({select}) WHERE state <> 'absent' LIMIT 1"
    return connection.execute(states).fetchone() is None


def _parse(
    connection: duckdb.DuckDBPyConnection, dataset: Path, target: str
) -> Reference:
    """The reference, whose digest may be the beginning of one in the data set."""
    if match := _SHORT_DIGEST.fullmatch(target):
        found = connection.execute(
            f"SELECT DISTINCT reference FROM {_read_parquet(dataset, 'images')}"
            " WHERE starts_with(reference, $1) ORDER BY reference LIMIT 4",
            [target],
        ).fetchall()
        if len(found) > 1:
            raise UsageError(
                f"{safe_text(target)}: several digests begin so:"
                f" {', '.join(row[0] for row in found)}; give more digits"
            )
        if not found:
            raise UsageError(
                f"{safe_text(str(dataset))}: no digest of"
                f" {safe_text(match['repository'])} begins with {match['digits']}"
            )
        target = found[0][0]
    try:
        return parse_reference(target, stores=True)
    except ProtocolError as error:
        raise UsageError(error.detail) from None


def _did_you_mean(names: Sequence[str]) -> str:
    if not names:
        return ""
    *first, last = map(safe_text, names)
    return f"; did you mean {', '.join(first)}{' or ' if first else ''}{last}?"


def _suggestions(
    connection: duckdb.DuckDBPyConnection, dataset: Path, reference: Reference
) -> list[str]:
    """Full names in the data set that may be meant: at most `MAX_SUGGESTIONS`.

    First the same tag in a repository of this name, in another registry or below
    another namespace; then other tags of the repository; then a similar repository.
    """
    repository = reference.repository.removeprefix("library/")
    name = repository.rpartition("/")[2]
    found = connection.execute(
        f"""SELECT DISTINCT reference, repository, tag
            FROM {_read_parquet(dataset, "images")}
            WHERE repository IS NOT NULL AND (
                repository IN ($repository, $given)
                OR ends_with(repository, '/' || $name)
                OR jaro_winkler_similarity(repository, $repository) > 0.9)""",
        {"repository": repository, "given": reference.repository, "name": name},
    ).fetchall()

    def rank(row: tuple[str, str, str | None]) -> tuple[bool, bool, str]:
        return (
            row[1] not in {repository, reference.repository},
            row[2] != reference.tag,
            row[0],
        )

    return [row[0] for row in sorted(found, key=rank)[:MAX_SUGGESTIONS]]


def _read_parquet(dataset: Path, kind: str) -> str:
    files = f"{duckdb_pattern(str(dataset / kind))}/date=*/*.parquet"
    # Runs of earlier versions have no column `content`.
    return (
        f"read_parquet({quoted(files)}, hive_partitioning = true, union_by_name = true)"
    )


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
           digest, content, size, architectures, failure, audited_at
    FROM (SELECT reference, registry, repository, tag, digest, content, size,
                 architectures, NULL::VARCHAR AS failure, audited_at FROM images
          UNION ALL
          SELECT reference, registry, repository, tag, digest, NULL, NULL, NULL,
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
    -- Runs with a failed listing that may have had it. A pattern that matches nothing
    -- is "not found", too.
    unlisted AS (
        SELECT DISTINCT run FROM {images}
        WHERE registry = {registry} AND repository = {repository}
              AND failure <> '{not_found}' AND tag IS NULL AND digest IS NULL
              AND {tag} GLOB {pattern}),
    seen AS (
        SELECT runs.run, runs.date::VARCHAR AS date, record.digest, record.size,
               len(record.architectures) AS architectures,
               CASE WHEN record.run IS NOT NULL
                    THEN coalesce(record.failure, 'present')
                    WHEN unlisted.run IS NOT NULL THEN 'unlisted'
                    ELSE 'absent' END AS state
        FROM runs LEFT JOIN
             (SELECT * FROM {images} WHERE reference = {reference}) AS record
             ON record.run = runs.run
             LEFT JOIN unlisted ON unlisted.run = runs.run),
    marked AS (
        SELECT *, coalesce(lag(state) OVER w = state, false)
               AND lag(digest) OVER w IS NOT DISTINCT FROM digest AS same
        FROM seen WINDOW w AS (ORDER BY run)),
    numbered AS (
        SELECT *, count(*) FILTER (NOT same) OVER (ORDER BY run) AS period
        FROM marked)
    SELECT {selected}
    FROM numbered GROUP BY period ORDER BY period"""

_FOR_PROGRAMS = """
    min(date) AS "from", max(date) AS until, count(*) AS runs,
    any_value(state) AS state, any_value(digest) AS digest,
    any_value(size) AS size, any_value(architectures) AS architectures"""
# The name of a run begins with its time; of a digest, 12 digits are enough.
_TIME = "strftime(strptime(left({run}, 16), '%Y%m%dT%H%M%SZ'), '%Y-%m-%d %H:%M')"
_FOR_PEOPLE = f"""
    {_TIME.format(run="min(run)")} AS "from", {_TIME.format(run="max(run)")} AS until,
    count(*) AS runs, any_value(state) AS state,
    left(any_value(digest), 19) AS digest,
    formatReadableDecimalSize(any_value(size)) AS size,
    any_value(architectures) AS architectures"""
