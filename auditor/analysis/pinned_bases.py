"""Bases that an image names by digest alone: which tag of the report had that digest.

A digest never moves, so `audit --check-bases` has nothing to ask for. But if a tag of
the same report, perhaps of an earlier night, had that digest, what it has now says
whether the base has moved, by the rules of `auditor.audit.base_checks`: the base is
current if the tag still has the digest, itself or below its index, or if the layers of
the platform begin with those that the tag has for it now. If several tags had it and
only some have moved, it is not known which of them the image follows.
"""

# ruff: noqa: S608  (the SQL is made of constants and names of views)

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.analysis.platform_sql import platform_name
from auditor.analysis.report_views import keep_last_lines

if TYPE_CHECKING:
    import duckdb


def resolve_pinned_bases(connection: duckdb.DuckDBPyConnection, *, lines: str) -> str:
    """What to read instead of the view `lines`: its `bases` say what a report knows.

    A base by digest that tags are known for has one of these as `reference`, its
    `current_digest`, `is_stale` and a `detail` that says so; the detail of others says
    that none is known. Only the last line of a reference is right.
    """
    connection.execute(_LINES.replace("$lines", lines))
    connection.execute(keep_last_lines("pinned_line", "reference"))
    connection.execute(_PINS)
    (pins,) = connection.execute("SELECT count(*) FROM pin").fetchone() or (0,)
    if not pins:
        return lines
    connection.execute(_HAD.replace("$lines", lines))
    connection.execute(_BASES_NOW.replace("$lines", lines))
    connection.execute(keep_last_lines("base_now", "reference"))
    connection.execute(_CANDIDATES)
    connection.execute(_RESOLVED_PINS)
    connection.execute(_RESOLVED)
    return f"""(
        SELECT line.* REPLACE (coalesce(resolved.bases, line.bases) AS bases)
        FROM {lines} AS line LEFT JOIN resolved_bases AS resolved USING (reference))"""


# -- SQL --

_PLATFORMS = f"""
    [{{'name': {platform_name("p")}, 'layers': [l.digest FOR l IN p.layers]}}
     FOR p IN platforms]"""

# No name that `--check-bases` could ask for; see `base_checks.asked_reference`.
_IS_PIN = "b.is_stale IS NULL AND b.reference IS NULL AND b.digest IS NOT NULL"
_LINES = f"""
    CREATE TABLE pinned_line AS
    SELECT reference, audited_at, digest, CASE WHEN has_pin THEN bases END AS bases,
           CASE WHEN has_pin THEN {_PLATFORMS} END AS platforms
    FROM (SELECT *, kind = 'image' AND coalesce(len([b FOR b IN bases IF {_IS_PIN}]), 0)
                    > 0 AS has_pin FROM $lines)"""

_PINS = f"""
    CREATE TABLE pin AS
    SELECT reference AS image, digest AS image_digest, position, b, platforms,
           CASE WHEN {_IS_PIN} THEN b.digest END AS digest
    FROM (SELECT *, unnest(bases) AS b, generate_subscripts(bases, 1) AS position
          FROM pinned_line WHERE bases IS NOT NULL)"""

# A tag and a digest that it has or had, itself or below its index.
_HAD = """
    CREATE TABLE had AS
    SELECT DISTINCT base, digest
    FROM (SELECT reference AS base,
                 unnest(list_concat([digest], [p.digest FOR p IN platforms])) AS digest
          FROM $lines WHERE kind = 'image' AND tag IS NOT NULL)
    SEMI JOIN pin USING (digest)"""

_BASES_NOW = f"""
    CREATE TABLE base_now AS
    SELECT reference, audited_at, kind, digest,
           list_concat([digest], [p.digest FOR p IN platforms]) AS manifests,
           {_PLATFORMS} AS platforms
    FROM $lines SEMI JOIN (SELECT base AS reference FROM had) USING (reference)"""

# Each tag that had the digest of a base, and whether it has moved for the platforms
# that are built on this base. An image is not its own base.
_CANDIDATES = """
    CREATE TABLE base_candidate AS
    WITH paired AS (
        SELECT image, position, pin.digest, base, now.kind,
               now.digest AS current_digest, now.manifests,
               [{'own': p.layers,
                 'base': [q.layers FOR q IN now.platforms
                          IF q.name = p.name OR len(now.platforms) = 1][1]}
                FOR p IN pin.platforms IF list_contains(b.platforms, p.name)] AS pairs
        FROM pin JOIN had ON had.digest = pin.digest
             JOIN base_now AS now ON now.reference = base
        WHERE now.digest IS DISTINCT FROM image_digest),
    compared AS (
        SELECT *, [CASE WHEN len(pair.base) > 0
                        THEN pair.own[1:len(pair.base)] <> pair.base
                        ELSE pair.base IS NOT NULL OR NULL END
                   FOR pair IN pairs] AS differs
        FROM paired)
    SELECT image, position, base, current_digest,
           CASE WHEN kind <> 'image' THEN NULL
                WHEN list_contains(manifests, digest) THEN false
                WHEN list_bool_or(differs) THEN true
                WHEN len([d FOR d IN differs IF d IS NOT NULL]) = len(differs)
                     AND len(differs) > 0 THEN false END AS is_stale
    FROM compared"""

_SHORTEST = "row(length(base), base)"


def _tags(condition: str) -> str:
    """SQL: the shortest such tag, and how many others there are; NULL for none."""
    return f"""
        min_by(base, {_SHORTEST}) FILTER ({condition}) || CASE
            WHEN count(*) FILTER ({condition}) > 1
            THEN format(' and {{:,}} more', count(*) FILTER ({condition}) - 1)
            ELSE '' END"""


_RESOLVED_PINS = f"""
    CREATE TABLE resolved_pin AS
    SELECT image, position,
           CASE WHEN bool_and(is_stale IS NOT DISTINCT FROM true) THEN true
                WHEN bool_and(is_stale IS NOT DISTINCT FROM false) THEN false
                END AS is_stale,
           min_by(base, {_SHORTEST}) AS base,
           min_by(current_digest, {_SHORTEST}) AS current_digest,
           count(*) AS tags,
           concat_ws(', ', {_tags("is_stale")} || ' moved',
                     {_tags("NOT is_stale")} || ' did not move',
                     {_tags("is_stale IS NULL")} || ' may have moved') AS undecided
    FROM base_candidate GROUP BY image, position"""

_RESOLVED = """
    CREATE TABLE resolved_bases AS
    SELECT image AS reference,
           list(CASE WHEN digest IS NULL THEN b ELSE
             {'name': b.name,
              'reference': CASE WHEN is_stale IS NOT NULL THEN base END,
              'digest': b.digest,
              'current_digest': CASE WHEN is_stale IS NOT NULL THEN current_digest END,
              'is_stale': is_stale,
              'platforms': b.platforms,
              'detail': CASE
                 WHEN tags IS NULL THEN
                   concat(b.detail, ', and no other tag in the report has had this',
                          ' digest')
                 WHEN is_stale IS NULL THEN
                   concat('of the tags that had its digest in the report, ', undecided)
                 ELSE concat('pinned by a digest that the tag',
                             ' and ' || nullif(tags - 1, 0) || ' more', ' had') END}
             END ORDER BY position) AS bases
    FROM pin LEFT JOIN resolved_pin USING (image, position)
    GROUP BY image"""
