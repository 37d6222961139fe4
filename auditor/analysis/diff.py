"""What changed between two reports: DuckDB joins them, Python sees the differences."""

# ruff: noqa: S608  (SQL is made of this program's own texts, values are quoted)

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from auditor.analysis.reports import (
    add_reports,
    keep_last_lines,
    open_reports,
    platform_name,
)
from auditor.errors import FailureKind, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.util.text import safe_text

if TYPE_CHECKING:
    import duckdb

# -- change --
# What can have become of a reference between two reports.


class Change(StrEnum):
    """The one class that a reference of either report is in.

    The order is that in which people want to read them.
    """

    FAILING = "failing"  # fails now; was an image, or was not there
    UNREACHED = "unreached"  # the new run was ended before it came to it
    REMOVED = "removed"  # was an image; is not in the new report
    UNLISTED = "unlisted"  # not in the new report, whose listing of it failed
    MOVED = "moved"  # an image in both, with another digest
    ALTERED = "altered"  # the same digest; other architectures or attachments
    ADDED = "added"  # an image that was not in the old report
    RELISTED = "relisted"  # an image that the old report could not list or reach
    HEALED = "healed"  # failed, is an image now
    DROPPED = "dropped"  # failed, is not in the new report
    STILL_FAILING = "still_failing"
    UNCHANGED = "unchanged"

    @property
    def is_difference(self) -> bool:
        """Whether it is worth a line."""
        return self not in {Change.STILL_FAILING, Change.UNCHANGED}


class Facet(StrEnum):
    """What else may be said of an image that is in both reports."""

    LOST = "architectures_lost"
    GAINED = "architectures_gained"
    UNATTACHED = "attachments_lost"
    ATTACHED = "attachments_gained"
    GROWN = "grown"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A reference in one report: an image (`digest`) or a failure (`failure`)."""

    reference: str
    digest: str | None
    size: int | None
    failure: str | None
    detail: str | None
    audited_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """A platform whose compressed layers grew, in bytes; null is an artifact's."""

    platform: str | None
    old_size: int
    new_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A reference that is not as it was; one line of `--format jsonl`.

    `reference` and its parts are the new report's where it is there. `old` or `new`
    is null where that report has no line of it. Attachments are `signature`, `sbom`
    and `provenance`, where both reports say whether there is one.
    """

    schema: int = SCHEMA
    kind: str = "difference"
    change: Change
    reference: str
    registry: str | None
    repository: str | None
    tag: str | None
    old: State | None
    new: State | None
    architectures_gained: tuple[str, ...]
    architectures_lost: tuple[str, ...]
    attachments_gained: tuple[str, ...]
    attachments_lost: tuple[str, ...]
    grown: tuple[Grown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two reports. Times are the first and the last `audited_at`."""

    images: int
    failures: int
    audited_from: str | None
    audited_to: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How many references are in each class, and with each facet.

    The classes add up to the references of both reports: none is lost.
    """

    schema: int = SCHEMA
    kind: str = "totals"
    old: Side
    new: Side
    changes: dict[Change, int]
    facets: dict[Facet, int]

    @property
    def differences(self) -> int:
        """References that are not as they were."""
        return sum(
            count for change, count in self.changes.items() if change.is_difference
        )


_GROWTH = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)\s*(%|[kMGT]?B)")
_UNIT_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """When a platform counts as grown: by at least both of these.

    The default of a tenth is more than what package updates usually bring.
    """

    percent: float = 0.0
    minimum_bytes: float = 0.0
    text: str = field(default="", compare=False)


def parse_growth(text: str) -> Growth:
    """`10%` or `50MB` (powers of 1,000); raises `UsageError`."""
    found = _GROWTH.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--growth {text}: give a percentage or a size: 10%, 50MB")
    number, unit = float(found[1]), found[2]
    if unit == "%":
        return Growth(percent=number, text=text.strip())
    return Growth(minimum_bytes=number * _UNIT_BYTES[unit], text=text.strip())


# -- diff_sql --
# The statements behind `diff`.
#
# `old` and `new` hold a row for each reference, named by `key`. Listings that failed are
# failures of a whole repository: they name neither tag nor digest, and their reference is
# `registry/repository:pattern`. DuckDB's GLOB reads tag patterns as `fnmatchcase` does.

# What a run says of references that it did not come to.
_ENDED = FailureKind.INTERRUPTED.value

_STATE = "reference, digest, size, failure, detail, audited_at"


def load(side: str, *, ignore_registry: bool) -> str:
    """The table `side` from the report's lines: what a comparison needs of them."""
    key = "reference"
    if ignore_registry:
        # What is no reference has no registry; no name begins with a colon.
        key = "coalesce(substr(reference, length(registry) + 2), ':' || reference)"
    return f"""
        CREATE TABLE {side} AS
        SELECT {key} AS key, reference, registry, repository, tag, kind, digest, size,
               failure, detail, status, audited_at, architectures,
               signed, has_sbom, has_provenance,
               [{{platform: {platform_name("p")},
                  size: p.size}} FOR p IN platforms] AS sizes
        FROM {side}_report.lines"""


def two_registries(side: str) -> str:
    """A key that comes from two registries, and these."""
    return f"""
        SELECT key, min(registry), max(registry) FROM {side}
        GROUP BY key HAVING min(registry) <> max(registry) ORDER BY key LIMIT 1
        """


def failed_listings(side: str) -> str:
    """Patterns whose tags this report cannot know.

    "None of the tags matches" (not found, without a status) is what a whole list said.
    """
    return f"""
        CREATE TABLE {side}_listings AS
        SELECT key, registry, repository, {_path_glob("repository")} AS path_glob,
               substr(reference, length(registry) + length(repository) + 3) AS pattern
        FROM {side}
        WHERE kind = 'failure' AND repository IS NOT NULL
              AND tag IS NULL AND digest IS NULL
              AND NOT (failure = 'not_found' AND status IS NULL)"""


def hidden_by_listing(side: str, other: str, *, ignore_registry: bool) -> str:
    """Keys of `side` that `other` would not hold even if they were there."""
    return f"""
        CREATE TABLE hidden_{side} AS
        SELECT one.key FROM {side} AS one JOIN {other}_listings AS listing
        ON {_same_repository("one", ignore_registry=ignore_registry)}
           AND one.tag GLOB listing.pattern
        UNION
        SELECT one.key FROM {side} AS one JOIN {other}_listings AS listing
        ON {_in_catalog("one", ignore_registry=ignore_registry)}
           AND one.tag GLOB listing.pattern"""


def listed_again(*, ignore_registry: bool) -> str:
    """Listings that failed and of whose tags the new report holds some."""
    return f"""
        CREATE TABLE listed_again AS
        SELECT listing.key FROM old_listings AS listing JOIN new AS one
        ON {_same_repository("one", ignore_registry=ignore_registry)}
           AND one.tag GLOB listing.pattern
        UNION
        SELECT listing.key FROM old_listings AS listing JOIN new AS one
        ON {_in_catalog("one", ignore_registry=ignore_registry)}
           AND one.tag GLOB listing.pattern"""


def _path_glob(repository: str) -> str:
    """A glob that matches what a repository pattern does, and more: `*` crosses /."""
    glob = repository
    for stars in ("/**/", "**/", "**"):
        glob = f"replace({glob}, '{stars}', '*')"
    return f"CASE WHEN regexp_matches({repository}, '[*?[]') THEN {glob} END"


def _in_catalog(one: str, *, ignore_registry: bool) -> str:
    """Whether a catalog that could not be read might have named its repository."""
    same = f"{one}.repository GLOB listing.path_glob"
    if ignore_registry:
        return same
    return f"{same} AND {one}.registry = listing.registry"


def _same_repository(one: str, *, ignore_registry: bool) -> str:
    same = f"{one}.repository = listing.repository"
    if ignore_registry:
        return same
    return f"{same} AND {one}.registry = listing.registry"


# What an audit says to be attached, or not; null where it did not look everywhere.
_ATTACHED = {
    "signature": "signed",
    "sbom": "has_sbom",
    "provenance": "has_provenance",
}
_OTHER_ATTACHMENTS = " OR ".join(
    f"coalesce(old.{one} <> new.{one}, false)" for one in _ATTACHED.values()
)

# Every reference of either report with the one class that it is in.
CLASSIFIED = f"""
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
                  AND (old.failure <> '{_ENDED}' OR new.failure = '{_ENDED}')
               THEN '{Change.STILL_FAILING}'
             WHEN new.failure = '{_ENDED}' THEN '{Change.UNREACHED}'
             WHEN new.kind = 'failure' THEN '{Change.FAILING}'
             WHEN old.failure = '{_ENDED}' THEN '{Change.RELISTED}'
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


def growth_table(threshold: Growth) -> str:
    """Platforms of moved images that grew; of equal names (Windows) the largest."""

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


def _without(one: str, other: str) -> str:
    """The architectures of one that the other lacks; none unless both are images."""
    return f"""
        CASE WHEN old.kind = 'image' AND new.kind = 'image'
             THEN list_sort([a FOR a IN {one}.architectures
                             IF NOT list_contains({other}.architectures, a)])
             ELSE [] END"""


def _detached(one: str, other: str) -> str:
    """What is attached in one and is not in the other, where both say so."""
    words = ", ".join(
        f"CASE WHEN {one}.{field} AND NOT {other}.{field} THEN '{word}' END"
        for word, field in _ATTACHED.items()
    )
    return f"[word FOR word IN [{words}] IF word IS NOT NULL]"


DIFFERENCES = f"""
    CREATE TABLE differences AS
    SELECT key, change,
           coalesce(new.reference, old.reference) AS reference,
           coalesce(new.registry, old.registry) AS registry,
           coalesce(new.repository, old.repository) AS repository,
           coalesce(new.tag, old.tag) AS tag,
           old, new,
           {_without("new", "old")} AS gained,
           {_without("old", "new")} AS lost,
           {_detached("new", "old")} AS attached,
           {_detached("old", "new")} AS unattached,
           coalesce(grown, []) AS grown
    FROM classified LEFT JOIN growth USING (key)
    WHERE change NOT IN ('{Change.UNCHANGED}', '{Change.STILL_FAILING}')
    """

CLASS_COUNTS = "SELECT change, count(*) FROM classified GROUP BY change"

_FACETS = {
    Facet.LOST: "len(lost) > 0",
    Facet.GAINED: "len(gained) > 0",
    Facet.UNATTACHED: "len(unattached) > 0",
    Facet.ATTACHED: "len(attached) > 0",
    Facet.GROWN: "len(grown) > 0",
}
_FACET_COUNTS = ", ".join(f"count(*) FILTER ({_FACETS[facet]})" for facet in Facet)
FACET_COUNTS = f"SELECT {_FACET_COUNTS} FROM differences"
# Strings are quoted as in a Python list.
_CLASSES = [change.value for change in Change]


def side_totals(side: str) -> str:
    """Images, failures, first and last time of one report."""
    return f"""
        SELECT count(*) FILTER (kind = 'image'), count(*) FILTER (kind = 'failure'),
               min(audited_at), max(audited_at) FROM {side}"""


def differences(only: Change | Facet | None, limit: int) -> str:
    """Differences by class, or those that grew most first; then by key."""

    def state(side: str) -> str:
        fields = ", ".join(f"{name}: {side}.{name}" for name in _STATE.split(", "))
        return f"CASE WHEN {side}.key IS NOT NULL THEN {{{fields}}} END"

    where = "true"
    if isinstance(only, Change):
        where = f"change = '{only}'"
    elif isinstance(only, Facet):
        where = _FACETS[only]
    order = f"list_position({_CLASSES}, change)"
    if only is Facet.GROWN:
        order = "-list_max([one.new_size - one.old_size FOR one IN grown])"
    return f"""
        SELECT change, reference, registry, repository, tag,
               {state("old")}, {state("new")}, gained, lost, attached, unattached,
               grown
        FROM differences WHERE {where}
        ORDER BY {order}, key
        {f"LIMIT {limit}" if limit else ""}"""


# Rows that Python holds at once: some megabytes.
BATCH_ROWS = 2000


class Comparison:
    """Two reports that were compared; ask it as often as you like."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.totals = _totals(connection)

    def differences(
        self, only: Change | Facet | None = None, *, limit: int = 0
    ) -> Iterator[Difference]:
        """Those of a class or facet, or all, by class and then by reference.

        A `limit` of 0 means all of them.
        """
        query = differences(only, limit)
        # A cursor of its own: several iterations may go on at once.
        rows = self._connection.cursor().execute(query)
        while batch := rows.fetchmany(BATCH_ROWS):
            yield from map(_difference, batch)


@contextmanager
def compare(
    old: Sequence[str],
    new: Sequence[str],
    *,
    ignore_registry: bool = False,
    growth: Growth | None = None,
) -> Iterator[Comparison]:
    """Compare two reports, each a file, several or globs.

    Where a report has several lines of a reference, its last one counts. With
    `ignore_registry` a reference is named without its registry; `UsageError` where a
    report holds one name from two registries.
    """
    with open_reports(old, schema="old_report") as connection:
        add_reports(connection, new, schema="new_report")
        connection.execute("USE main")
        for side in ("old", "new"):
            connection.execute(load(side, ignore_registry=ignore_registry))
            if ignore_registry:
                _check_one_registry(connection, side)
            connection.execute(keep_last_lines(side, "key"))
            connection.execute(failed_listings(side))
        for side, other in (("old", "new"), ("new", "old")):
            connection.execute(
                hidden_by_listing(side, other, ignore_registry=ignore_registry)
            )
        connection.execute(listed_again(ignore_registry=ignore_registry))
        connection.execute(CLASSIFIED)
        connection.execute(growth_table(growth or Growth(percent=10.0)))
        connection.execute(DIFFERENCES)
        yield Comparison(connection)


def _check_one_registry(connection: duckdb.DuckDBPyConnection, side: str) -> None:
    found = connection.execute(two_registries(side)).fetchone()
    if found is not None:
        name, one, other = (safe_text(part, 500) for part in found)
        raise UsageError(
            f"--ignore-registry: the {side} report holds {name} from {one} and from"
            f" {other}; compare reports of one registry each"
        )


def _totals(connection: duckdb.DuckDBPyConnection) -> Totals:
    counts = dict(connection.execute(CLASS_COUNTS).fetchall())
    facets = connection.execute(FACET_COUNTS).fetchone()
    assert facets is not None
    return Totals(
        old=_side(connection, "old"),
        new=_side(connection, "new"),
        changes={change: counts.get(change.value, 0) for change in Change},
        facets=dict(zip(Facet, facets, strict=True)),
    )


def _side(connection: duckdb.DuckDBPyConnection, side: str) -> Side:
    found = connection.execute(side_totals(side)).fetchone()
    assert found is not None
    images, failures, first, last = found
    return Side(images=images, failures=failures, audited_from=first, audited_to=last)


def _difference(row: tuple[Any, ...]) -> Difference:
    change, reference, registry, repository, tag, old, new, *lists, grown = row
    gained, lost, attached, unattached = map(tuple, lists)
    return Difference(
        change=Change(change),
        reference=reference,
        registry=registry,
        repository=repository,
        tag=tag,
        old=State(**old) if old else None,
        new=State(**new) if new else None,
        architectures_gained=gained,
        architectures_lost=lost,
        attachments_gained=attached,
        attachments_lost=unattached,
        grown=tuple(Grown(**one) for one in grown),
    )
