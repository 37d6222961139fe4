"""Finds the images of a report that contain a digest, and in which role."""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from auditor.analysis.completeness import check_not_empty
from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.analysis.platform_sql import platform_name
from auditor.analysis.report_views import keep_last_lines, open_reports
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.oci.descriptor import is_any_digest
from auditor.util.text import safe_text

# Fewer digits would be a matter of luck.
MIN_DIGITS = 6
_DIGITS = re.compile(rf"[0-9a-f]{{{MIN_DIGITS},64}}")
_SHA256_CHARS = len("sha256:") + 64
_MAX_CANDIDATES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestUse:
    """A reference that contains a digest; a line of `--format jsonl`.

    - `role`: `image` (the tag points at it), `platform` (a manifest in the index),
      `config`, `layer` or `attachment`
    - `position`: that of a layer, 0 at the base
    """

    schema: int = SCHEMA
    kind: str = "digest_use"
    digest: str
    role: str
    reference: str
    registry: str
    repository: str
    tag: str | None
    image_digest: str
    platform: str | None
    position: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestTotals:
    """The last line of `--format jsonl`: what the search did not cover.

    - `failures`: number of references that were not audited
    - `missing`: number of references with a platform whose manifest the registry does
      not have, or whose layers are too long for the report
    """

    schema: int = SCHEMA
    kind: str = "totals"
    failures: int
    missing: int


class DigestSearch:
    """The result of a search; usable while its connection is open.

    `digests` are those searched for, each once and in full; one of which the report has
    no digest stays as it was given.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, digests: tuple[str, ...]
    ) -> None:
        self._connection = connection
        self.digests = digests
        (counts,) = stream_rows(connection, _COUNTS)
        self.totals = DigestTotals(**counts)

    def count(self, digest: str, role: str) -> int:
        """The number of uses of a digest in a role."""
        query = (
            "SELECT count(*) AS uses FROM uses WHERE digest = $digest AND role = $role"
        )
        (counts,) = stream_rows(
            self._connection, query, {"digest": digest, "role": role}
        )
        return int(counts["uses"])

    def uses(
        self, digest: str, role: str | None = None, *, limit: int = 0
    ) -> Iterator[DigestUse]:
        """The uses of a digest by role and reference; a limit of 0 means no limit."""
        query = f"""SELECT * FROM uses
                    WHERE digest = $digest AND role = coalesce($role, role)
                    ORDER BY list_position({list(ROLES)}, role), reference,
                             coalesce(platform, ''), coalesce(position, -1)
                    {limit_clause(limit)}"""
        parameters = {"digest": digest, "role": role}
        rows = stream_rows(self._connection, query, parameters)
        return (DigestUse(**row) for row in rows)


@contextmanager
def search_digests(
    paths: Sequence[str], digests: Sequence[str]
) -> Iterator[DigestSearch]:
    """Search a report, given as files or globs, for digests or their first digits.

    If the report has several lines of a reference, the last one counts. Raises
    `UsageError` for an invalid digest, and for digits that several digests begin with.
    """
    prefixes = [_prefix(digest) for digest in digests]
    with open_reports(paths, schema="report", views=()) as connection:
        check_not_empty(connection, "there are no images to look into")
        connection.execute("USE main")
        digests = tuple(
            dict.fromkeys(_in_full(connection, prefix) for prefix in prefixes)
        )
        connection.execute("CREATE TABLE searched (digest VARCHAR)")
        connection.executemany(
            "INSERT INTO searched VALUES (?)",
            [[digest] for digest in digests],
        )
        connection.execute(_HITS)
        connection.execute(keep_last_lines("hits", "reference"))
        connection.execute(_USES)
        yield DigestSearch(connection, digests)


def _prefix(text: str) -> str:
    """A digest, or the beginning of one with its algorithm."""
    lower = text.lower()
    digits = lower.removeprefix("sha256:")
    if _DIGITS.fullmatch(digits):
        return f"sha256:{digits}"
    if is_any_digest(text):
        return text
    raise UsageError(
        f"--digest {safe_text(text)}: not a digest: sha256: and 64 hexadecimal digits,"
        f" of which the first {MIN_DIGITS} or more are enough"
    )


def _in_full(connection: duckdb.DuckDBPyConnection, prefix: str) -> str:
    """The one digest of the report that begins so; the prefix if there is none."""
    if is_any_digest(prefix) and len(prefix) >= _SHA256_CHARS:
        return prefix
    query = f"""
        SELECT DISTINCT digest
        FROM (SELECT unnest({_DIGESTS}) AS digest FROM report.lines
              WHERE kind = 'image')
        WHERE starts_with(digest, $prefix)
        ORDER BY digest LIMIT {_MAX_CANDIDATES + 1}"""
    found = connection.execute(query, {"prefix": prefix}).fetchall()
    if len(found) > 1:
        shown = ", ".join(row[0] for row in found[:_MAX_CANDIDATES])
        more = ", ..." if len(found) > _MAX_CANDIDATES else ""
        raise UsageError(
            f"--digest {prefix}: several digests begin so: {shown}{more}; give more"
            " digits"
        )
    return str(found[0][0]) if found else prefix


# -- SQL --

_DIGESTS = """flatten([
                  [digest], [p.digest FOR p IN platforms],
                  [p.config_digest FOR p IN platforms],
                  flatten([[l.digest FOR l IN p.layers] FOR p IN platforms]),
                  flatten([flatten([list_concat([x.digest, x.config_digest],
                                                [l.digest FOR l IN x.layers])
                                    FOR x IN p.alternatives]) FOR p IN platforms]),
                  [a.digest FOR a IN attachments]])"""

# Every line has a row, as it can be the last one of its reference; its content is kept
# only if it contains one of the digests.
_HITS = f"""
    CREATE TABLE hits AS
    WITH searched_list AS MATERIALIZED (SELECT list(digest) AS digests FROM searched)
    SELECT reference, audited_at, kind,
           len([p FOR p IN platforms IF p.layers IS NULL]) > 0 AS missing,
           CASE WHEN kind = 'image' AND list_has_any(digests, {_DIGESTS})
                THEN {{registry: registry, repository: repository, tag: tag,
                      digest: digest, platforms: platforms, attachments: attachments}}
           END AS hit
    FROM report.lines, searched_list"""

_COUNTS = """
    SELECT count(*) FILTER (kind = 'failure') AS failures,
           count(*) FILTER (missing) AS missing
    FROM hits"""

# role: (column, platform, position, subquery of _SOURCES)
_LOOKUPS = {
    "image": ("image_digest", "NULL", "NULL", "hit"),
    # a manifest that the tag itself points at is listed once, as the image
    "platform": ("nullif(p.digest, image_digest)", "p.platform", "NULL", "platform"),
    "config": ("p.config_digest", "p.platform", "NULL", "platform"),
    "layer": ("p.layers[i].digest", "p.platform", "i - 1", "layer"),
    "attachment": ("a.digest", "NULL", "NULL", "attachment"),
}
ROLES = tuple(_LOOKUPS)

_SOURCES = f"""
    WITH hit AS (
        SELECT reference, hit.registry, hit.repository, hit.tag,
               hit.digest AS image_digest, hit.platforms, hit.attachments
        FROM hits WHERE hit IS NOT NULL),
    platform AS (
        SELECT * REPLACE ({{digest: one.digest, config_digest: one.config_digest,
                  layers: one.layers, platform: nullif({platform_name("p")}, '')}} AS p)
        FROM (SELECT *, unnest(list_concat(
                [{{digest: p.digest, config_digest: p.config_digest,
                   layers: p.layers}}],
                [{{digest: x.digest, config_digest: x.config_digest,
                   layers: x.layers}} FOR x IN p.alternatives])) AS one
              FROM (SELECT *, unnest(platforms) AS p FROM hit))),
    layer AS (SELECT *, unnest(range(1, len(p.layers) + 1)) AS i FROM platform),
    attachment AS (SELECT *, unnest(attachments) AS a FROM hit)
    """

_UNION = " UNION ALL ".join(
    f"""SELECT {column} AS digest, '{role}' AS role, reference, registry, repository,
               tag, image_digest, {platform}::VARCHAR AS platform,
               ({position})::INTEGER AS position
        FROM {source} WHERE {column} IN (SELECT digest FROM searched)"""
    for role, (column, platform, position, source) in _LOOKUPS.items()
)
_USES = f"CREATE TABLE uses AS {_SOURCES} {_UNION}"
