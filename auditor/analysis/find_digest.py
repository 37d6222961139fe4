"""Finds the images of a report that contain a digest, and in which role."""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.analysis.platform_sql import platform_name
from auditor.analysis.reports import keep_last_lines, open_reports
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.oci.descriptor import is_any_digest
from auditor.util.text import safe_text


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestUse:
    """A reference that contains a digest; a line of `--format jsonl`.

    `role` is `image` (the tag points at it), `platform` (a manifest in the index),
    `config`, `layer` or `attachment`. `position` is that of a layer, 0 at the base.
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

    `failures` is the number of references that were not audited, `missing` that of
    references with a platform whose manifest the registry does not have, or whose
    layers are too long for the report.
    """

    schema: int = SCHEMA
    kind: str = "totals"
    failures: int
    missing: int


class DigestSearch:
    """The result of a search; usable while its connection is open."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
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
    """Search a report, given as files or globs, for digests.

    If the report has several lines of a reference, the last one counts. Raises
    `UsageError` for an invalid digest.
    """
    for digest in digests:
        if not is_any_digest(digest):
            raise UsageError(
                f"--digest {safe_text(digest)}: not a digest; give it in full:"
                " sha256: and 64 hexadecimal digits"
            )
    with open_reports(paths, schema="report") as connection:
        connection.execute("USE main")
        connection.execute("CREATE TABLE searched (digest VARCHAR)")
        connection.executemany(
            "INSERT INTO searched VALUES (?)",
            [[digest] for digest in dict.fromkeys(digests)],
        )
        connection.execute(_HITS)
        connection.execute(keep_last_lines("hits", "reference"))
        connection.execute(_USES)
        yield DigestSearch(connection)


# -- SQL --

# Every line has a row, as it can be the last one of its reference; its content is kept
# only if it contains one of the digests.
_HITS = """
    CREATE TABLE hits AS
    WITH searched_list AS MATERIALIZED (SELECT list(digest) AS digests FROM searched)
    SELECT reference, audited_at, kind,
           len([p FOR p IN platforms IF p.layers IS NULL]) > 0 AS missing,
           CASE WHEN kind = 'image' AND list_has_any(digests, flatten([
                  [digest], [p.digest FOR p IN platforms],
                  [p.config_digest FOR p IN platforms],
                  flatten([[l.digest FOR l IN p.layers] FOR p IN platforms]),
                  flatten([flatten([list_concat([x.digest, x.config_digest],
                                                [l.digest FOR l IN x.layers])
                                    FOR x IN p.alternatives]) FOR p IN platforms]),
                  [a.digest FOR a IN attachments]]))
                THEN {registry: registry, repository: repository, tag: tag,
                      digest: digest, platforms: platforms, attachments: attachments}
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
