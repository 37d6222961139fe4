"""The statements behind `diff`.

`old` and `new` hold a row for each reference, named by `key`. Listings that failed are
failures of a whole repository: they name neither tag nor digest, and their reference is
`registry/repository:pattern`. DuckDB's GLOB reads tag patterns as `fnmatchcase` does.
"""

from __future__ import annotations

from auditor.analysis.change import Change, Facet, Growth
from auditor.analysis.expressions import platform_name
from auditor.errors import FailureKind

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
        FROM {side}_report.lines"""  # noqa: S608


def two_registries(side: str) -> str:
    """A key that comes from two registries, and these."""
    return f"""
        SELECT key, min(registry), max(registry) FROM {side}
        GROUP BY key HAVING min(registry) <> max(registry) ORDER BY key LIMIT 1
        """  # noqa: S608


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
              AND NOT (failure = 'not_found' AND status IS NULL)"""  # noqa: S608


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
           AND one.tag GLOB listing.pattern"""  # noqa: S608


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
           AND one.tag GLOB listing.pattern"""  # noqa: S608


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
         LEFT JOIN listed_again ON listed_again.key = old.key"""  # noqa: S608


def growth(threshold: Growth) -> str:
    """Platforms of moved images that grew; of equal names (Windows) the largest."""

    def sizes(side: str) -> str:
        return f"""
            SELECT key, one.platform, max(one.size) AS size
            FROM (SELECT key, unnest(sizes) AS one FROM {side}
                  SEMI JOIN moved ON moved.key = {side}.key)
            GROUP BY ALL"""  # noqa: S608

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
        GROUP BY key"""  # noqa: S608


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
    """  # noqa: S608

CLASS_COUNTS = "SELECT change, count(*) FROM classified GROUP BY change"

_FACETS = {
    Facet.LOST: "len(lost) > 0",
    Facet.GAINED: "len(gained) > 0",
    Facet.UNATTACHED: "len(unattached) > 0",
    Facet.ATTACHED: "len(attached) > 0",
    Facet.GROWN: "len(grown) > 0",
}
_FACET_COUNTS = ", ".join(f"count(*) FILTER ({_FACETS[facet]})" for facet in Facet)
FACET_COUNTS = f"SELECT {_FACET_COUNTS} FROM differences"  # noqa: S608
# Strings are quoted as in a Python list.
_CLASSES = [change.value for change in Change]


def side_totals(side: str) -> str:
    """Images, failures, first and last time of one report."""
    return f"""
        SELECT count(*) FILTER (kind = 'image'), count(*) FILTER (kind = 'failure'),
               min(audited_at), max(audited_at) FROM {side}"""  # noqa: S608


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
        {f"LIMIT {limit}" if limit else ""}"""  # noqa: S608
