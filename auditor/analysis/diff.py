"""What changed between two reports.

`compare` loads both reports into the tables `old` and `new`, one row per reference
named by `key`, classifies each key as one `Change` in SQL, and yields a `Comparison`
that streams the differences. A reference that is missing because a run was interrupted
or a listing failed is classified as unknown, not as removed.
"""

# ruff: noqa: S608  (the SQL is made of constants and quoted values)

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from auditor.analysis.completeness import FAILED_LISTING, TAG_PATTERN, path_glob
from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.analysis.platform_sql import platform_name
from auditor.analysis.report_views import (
    add_reports,
    keep_last_lines,
    open_reports,
)
from auditor.errors import FailureKind, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.util.text import safe_text

if TYPE_CHECKING:
    import duckdb


class Change(StrEnum):
    """The change of a reference between the reports; each reference has exactly one.

    The order is that of the output.
    """

    FAILING = "failing"  # fails now; before, an image or not in the report
    UNREACHED = "unreached"  # the new run was interrupted before this reference
    REMOVED = "removed"  # was an image; is not in the new report
    UNLISTED = "unlisted"  # not in the new report, whose listing failed
    MOVED = "moved"  # an image in both, with another digest
    ALTERED = "altered"  # the same digest, other architectures or attachments
    ADDED = "added"  # an image that was not in the old report
    RELISTED = "relisted"  # an image that the old report could not list or reach
    HEALED = "healed"  # failed before, is an image now
    DROPPED = "dropped"  # failed before, is not in the new report
    STILL_FAILING = "still_failing"
    UNCHANGED = "unchanged"

    @property
    def is_difference(self) -> bool:
        """Whether references of this class are listed."""
        return self not in {Change.STILL_FAILING, Change.UNCHANGED}


class Facet(StrEnum):
    """A further property of a difference between two images."""

    LOST = "architectures_lost"
    GAINED = "architectures_gained"
    UNATTACHED = "attachments_lost"
    ATTACHED = "attachments_gained"
    GROWN = "grown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceState:
    """A reference in one report: an image (`digest`) or a failure (`failure`)."""

    reference: str
    digest: str | None
    size: int | None
    failure: str | None
    detail: str | None
    audited_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformGrowth:
    """The compressed size of a grown platform in bytes; artifacts have no platform."""

    platform: str | None
    old_size: int
    new_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A reference that changed; a line of `--format jsonl`.

    - `reference`, `registry`, `repository`, `tag`: in the new report, or in the old one
      if only that has it
    - `old`, `new`: None if that report has no line for the reference
    - `architectures_gained`, `architectures_lost`: `os/architecture[/variant]`
    - `attachments_gained`, `attachments_lost`: of `signature`, `sbom` and `provenance`;
      they count if both audits looked for them
    - `grown`: the platforms that grew by more than `--growth`
    """

    schema: int = SCHEMA
    kind: str = "difference"
    change: Change
    reference: str
    registry: str | None
    repository: str | None
    tag: str | None
    old: ReferenceState | None
    new: ReferenceState | None
    architectures_gained: tuple[str, ...]
    architectures_lost: tuple[str, ...]
    attachments_gained: tuple[str, ...]
    attachments_lost: tuple[str, ...]
    grown: tuple[PlatformGrowth, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSide:
    """One of the two reports.

    - `others`: signatures, Helm charts and other manifests that are no image
    - `audited_from`, `audited_to`: the first and the last `audited_at`
    """

    images: int
    others: int
    failures: int
    audited_from: str | None
    audited_to: str | None

    @property
    def references(self) -> int:
        """The number of all references."""
        return self.images + self.others + self.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffTotals:
    """The last line of `--format jsonl`: references by change and by facet.

    The changes add up to the number of references in either report.
    """

    schema: int = SCHEMA
    kind: str = "totals"
    old: ReportSide
    new: ReportSide
    changes: dict[Change, int]
    facets: dict[Facet, int]

    @property
    def differences(self) -> int:
        """The number of references that changed."""
        return sum(
            count for change, count in self.changes.items() if change.is_difference
        )


_GROWTH = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)\s*(%|[kMGT]?B|[KMGT])")
_UNIT_BYTES = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", 1)},
    # As in the options of an audit.
    **{prefix: 1024**power for power, prefix in enumerate("KMGT", 1)},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthThreshold:
    """A platform counts as grown if it grew by at least both values."""

    percent: float = 0.0
    minimum_bytes: float = 0.0


# More than package updates usually add.
DEFAULT_GROWTH = GrowthThreshold(percent=10.0)


def parse_growth_threshold(text: str) -> GrowthThreshold:
    """`10%`, `50MB` (powers of 1,000) or `50M` (of 1,024); raises `UsageError`."""
    match = _GROWTH.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f'--growth: expected a percentage or a size (10%, 50MB), got "{text}"'
        )
    number, unit = float(match[1]), match[2]
    if unit == "%":
        return GrowthThreshold(percent=number)
    return GrowthThreshold(minimum_bytes=number * _UNIT_BYTES[unit])


class Comparison:
    """The result of a comparison; usable while its connection is open.

    `ignores_registry`: references are compared without their registry.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, *, ignores_registry: bool = False
    ) -> None:
        self._connection = connection
        self.ignores_registry = ignores_registry
        changes = dict(connection.execute(_COUNT_CHANGES).fetchall())
        (facets,) = stream_rows(connection, _COUNT_FACETS)
        self.totals = DiffTotals(
            old=_read_side(connection, "old"),
            new=_read_side(connection, "new"),
            changes={change: changes.get(change.value, 0) for change in Change},
            facets={facet: facets[facet] for facet in Facet},
        )

    def differences(
        self, only: Change | Facet | None = None, *, limit: int = 0
    ) -> Iterator[Difference]:
        """Differences of one change or facet, or all, by change and then by reference.

        Facet.GROWN puts the largest growth first. A `limit` of 0 means no limit.
        """
        rows = stream_rows(self._connection, _select_differences(only, limit))
        yield from map(_difference, rows)


@contextmanager
def compare(
    old: Sequence[str],
    new: Sequence[str],
    *,
    ignore_registry: bool = False,
    growth: GrowthThreshold = DEFAULT_GROWTH,
) -> Iterator[Comparison]:
    """Compare two reports, each given as files or globs.

    If a report has several lines of a reference, its last one counts. With
    `ignore_registry` references are compared without their registry; raises
    `UsageError` if a report has the same name from two registries.
    """
    with open_reports(old, schema="old_report", views=()) as connection:
        add_reports(connection, new, schema="new_report", views=())
        connection.execute("USE main")
        for side in ("old", "new"):
            connection.execute(_load(side, ignore_registry=ignore_registry))
            if ignore_registry:
                _check_one_registry(connection, side)
            connection.execute(keep_last_lines(side, "key"))
            connection.execute(_failed_listings(side))
        for table, key, side, by in (
            ("hidden_old", "line.key", "old", "new"),
            ("hidden_new", "line.key", "new", "old"),
            # Old failed listings for which the new report has tags.
            ("listed_again", "listing.key", "new", "old"),
        ):
            connection.execute(
                _covered(table, key, side, by=by, ignore_registry=ignore_registry)
            )
        for statement in (_CLASSIFIED, _growth_table(growth), _DIFFERENCES):
            connection.execute(statement)
        yield Comparison(connection, ignores_registry=ignore_registry)


def _check_one_registry(connection: duckdb.DuckDBPyConnection, side: str) -> None:
    clash = connection.execute(f"""
        SELECT key, min(registry), max(registry) FROM {side}
        GROUP BY key HAVING min(registry) <> max(registry) ORDER BY key LIMIT 1
        """).fetchone()
    if clash is not None:
        name, registry, other = (safe_text(part, 500) for part in clash)
        raise UsageError(
            f"--ignore-registry: the {side} report has {name} from {registry} and from"
            f" {other}; compare reports of one registry each"
        )


def _read_side(connection: duckdb.DuckDBPyConnection, side: str) -> ReportSide:
    query = f"""
        SELECT count(*) FILTER (content = 'image') AS images,
               count(*) FILTER (kind = 'image' AND content <> 'image') AS others,
               count(*) FILTER (kind = 'failure') AS failures,
               min(audited_at) AS audited_from, max(audited_at) AS audited_to
        FROM {side}"""
    (row,) = stream_rows(connection, query)
    return ReportSide(**row)


def _difference(row: dict[str, Any]) -> Difference:
    row["change"] = Change(row["change"])
    for side in ("old", "new"):
        row[side] = ReferenceState(**row[side]) if row[side] else None
    for name in _LISTS:
        row[name] = tuple(row[name])
    row["grown"] = tuple(PlatformGrowth(**platform) for platform in row["grown"])
    return Difference(**row)


# -- SQL --


def _load(side: str, *, ignore_registry: bool) -> str:
    """The table `old` or `new`, from the lines of that report."""
    key = "reference"
    if ignore_registry:
        # A malformed reference has no registry. No name begins with a colon.
        key = "coalesce(substr(reference, length(registry) + 2), ':' || reference)"
    return f"""
        CREATE TABLE {side} AS
        SELECT {key} AS key, reference, registry, repository, tag, kind, digest, size,
               failure, detail, status, audited_at, content, architectures,
               signed, has_sbom, has_provenance,
               [{{platform: {platform_name("p")},
                  size: p.size}} FOR p IN platforms] AS sizes
        FROM {side}_report.lines"""


def _failed_listings(side: str) -> str:
    """The patterns with a failed listing in this report."""
    return f"""
        CREATE TABLE {side}_listings AS
        SELECT key, registry, repository, {path_glob("repository")} AS path_glob,
               {TAG_PATTERN} AS pattern
        FROM {side} WHERE {FAILED_LISTING}"""


def _covered(table: str, key: str, side: str, *, by: str, ignore_registry: bool) -> str:
    """SQL for a table of the keys in `side` that failed listings of `by` may contain.

    A listing is of a repository, or of all repositories that a pattern matches.
    """
    registry = "" if ignore_registry else "line.registry = listing.registry AND"
    matches = " UNION ".join(
        f"""SELECT {key} FROM {side} AS line JOIN {by}_listings AS listing
            ON {registry} line.repository {match} AND line.tag GLOB listing.pattern"""
        for match in ("= listing.repository", "GLOB listing.path_glob")
    )
    return f"CREATE TABLE {table} AS {matches}"


_INTERRUPTED = FailureKind.INTERRUPTED.value
# Fields that say whether something is attached; NULL if the audit did not look.
_ATTACHED = {
    "signature": "signed",
    "sbom": "has_sbom",
    "provenance": "has_provenance",
}
_OTHER_ATTACHMENTS = " OR ".join(
    f"coalesce(old.{name} <> new.{name}, false)" for name in _ATTACHED.values()
)

# The change of every key of either report.
_CLASSIFIED = f"""
    CREATE VIEW classified AS
    SELECT coalesce(new.key, old.key) AS key,
           CASE
             WHEN new.key IS NULL AND hidden_old.key IS NOT NULL
               THEN '{Change.UNLISTED}'
             WHEN new.key IS NULL AND old.kind = 'image' THEN '{Change.REMOVED}'
             WHEN new.key IS NULL AND listed_again.key IS NOT NULL
               THEN '{Change.HEALED}'
             WHEN new.key IS NULL THEN '{Change.DROPPED}'
             WHEN new.kind = 'failure' AND old.kind = 'failure'
                  AND (old.failure <> '{_INTERRUPTED}'
                       OR new.failure = '{_INTERRUPTED}')
               THEN '{Change.STILL_FAILING}'
             WHEN new.failure = '{_INTERRUPTED}' THEN '{Change.UNREACHED}'
             WHEN new.kind = 'failure' THEN '{Change.FAILING}'
             WHEN old.failure = '{_INTERRUPTED}' THEN '{Change.RELISTED}'
             WHEN old.kind = 'failure' THEN '{Change.HEALED}'
             WHEN old.key IS NULL AND hidden_new.key IS NOT NULL
               THEN '{Change.RELISTED}'
             WHEN old.key IS NULL THEN '{Change.ADDED}'
             WHEN old.digest <> new.digest THEN '{Change.MOVED}'
             WHEN old.architectures <> new.architectures OR {_OTHER_ATTACHMENTS}
               THEN '{Change.ALTERED}'
             ELSE '{Change.UNCHANGED}'
           END AS change,
           old, new
    FROM old FULL OUTER JOIN new ON old.key = new.key
         LEFT JOIN hidden_old ON hidden_old.key = old.key
         LEFT JOIN hidden_new ON hidden_new.key = new.key
         LEFT JOIN listed_again ON listed_again.key = old.key"""


def _growth_table(threshold: GrowthThreshold) -> str:
    """Grown platforms of moved images; for equal names (Windows) the largest."""

    def sizes(side: str) -> str:
        return f"""
            SELECT key, one.platform, max(one.size) AS size
            FROM (SELECT key, unnest(sizes) AS one FROM {side}
                  SEMI JOIN moved ON moved.key = {side}.key)
            GROUP BY ALL"""

    return f"""
        CREATE TABLE growth AS
        WITH moved AS MATERIALIZED (
            SELECT old.key FROM old JOIN new ON old.key = new.key
            WHERE old.kind = 'image' AND new.kind = 'image'
                  AND old.digest <> new.digest),
        was AS ({sizes("old")}), is_now AS ({sizes("new")})
        SELECT key, list({{platform: nullif(platform, ''), old_size: was.size,
                           new_size: is_now.size}} ORDER BY platform) AS grown
        FROM was JOIN is_now USING (key, platform)
        WHERE is_now.size > was.size
              AND is_now.size::DOUBLE - was.size >= {threshold.minimum_bytes!r}::DOUBLE
              AND (is_now.size::DOUBLE - was.size) * 100
                  >= {threshold.percent!r}::DOUBLE * was.size
        GROUP BY key"""


def _missing_architectures(of: str, other: str) -> str:
    """Architectures of one report that the other lacks, if both have an image."""
    return f"""
        CASE WHEN old.kind = 'image' AND new.kind = 'image'
             THEN list_sort([a FOR a IN {of}.architectures
                             IF NOT list_contains({other}.architectures, a)])
             ELSE [] END"""


def _missing_attachments(of: str, other: str) -> str:
    """Attachments in one report but not in the other, if both audits looked."""
    names = ", ".join(
        f"CASE WHEN {of}.{field} AND NOT {other}.{field} THEN '{name}' END"
        for name, field in _ATTACHED.items()
    )
    return f"[name FOR name IN [{names}] IF name IS NOT NULL]"


_DIFFERENCES = f"""
    CREATE TABLE differences AS
    SELECT key, change,
           coalesce(new.reference, old.reference) AS reference,
           coalesce(new.registry, old.registry) AS registry,
           coalesce(new.repository, old.repository) AS repository,
           coalesce(new.tag, old.tag) AS tag,
           old, new,
           {_missing_architectures("new", "old")} AS architectures_gained,
           {_missing_architectures("old", "new")} AS architectures_lost,
           {_missing_attachments("new", "old")} AS attachments_gained,
           {_missing_attachments("old", "new")} AS attachments_lost,
           coalesce(grown, []) AS grown
    FROM classified LEFT JOIN growth USING (key)
    WHERE change NOT IN ('{Change.UNCHANGED}', '{Change.STILL_FAILING}')
    """
_COUNT_CHANGES = "SELECT change, count(*) FROM classified GROUP BY change"
# The columns of `differences` with lists of names. A facet is the name of a column
# whose list is not empty.
_LISTS = tuple(facet.value for facet in Facet if facet is not Facet.GROWN)
_COUNT_FACETS = "SELECT {} FROM differences".format(
    ", ".join(f"count(*) FILTER (len({facet}) > 0) AS {facet}" for facet in Facet)
)
# A Python list of strings is written as DuckDB writes one.
_CHANGES = [change.value for change in Change]
_STATE = ("reference", "digest", "size", "failure", "detail", "audited_at")


def _select_differences(only: Change | Facet | None, limit: int) -> str:
    def state(side: str) -> str:
        fields = ", ".join(f"{name}: {side}.{name}" for name in _STATE)
        return f"CASE WHEN {side}.key IS NOT NULL THEN {{{fields}}} END"

    condition = "true"
    if isinstance(only, Change):
        condition = f"change = '{only}'"
    elif isinstance(only, Facet):
        condition = f"len({only}) > 0"
    order = f"list_position({_CHANGES}, change)"
    if only is Facet.GROWN:
        order = "-list_max([p.new_size - p.old_size FOR p IN grown])"
    return f"""
        SELECT change, reference, registry, repository, tag,
               {state("old")} AS old, {state("new")} AS new, {", ".join(_LISTS)}, grown
        FROM differences WHERE {condition}
        ORDER BY {order}, key
        {limit_clause(limit)}"""
