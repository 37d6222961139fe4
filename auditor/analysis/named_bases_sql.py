"""The bases that images name themselves, held against what the report knows.

A base's digest may be that of a manifest or of an index; of an index, the manifest of
the image's own platform is meant.
"""

from __future__ import annotations

from auditor.analysis.layers_sql import Query

# What docker leaves out of a name, and the report's references do not.
_SPELLINGS = "[name, 'docker.io/' || name, 'docker.io/library/' || name]"

NAMED_BASES = Query(
    table="named_bases",
    body=f"""
        WITH named AS MATERIALIZED (
            SELECT DISTINCT registry, repository, p.platform, p.manifest,
                   p.base.name AS name, p.base.digest AS digest
            FROM (SELECT registry, repository, unnest(platforms) AS p FROM line)
            WHERE p.there AND coalesce(p.base.name, p.base.digest) IS NOT NULL),
        bases AS (SELECT DISTINCT name, digest FROM named),
        counts AS (
            SELECT name, digest, count(DISTINCT manifest) AS manifests,
                   count(DISTINCT (registry, repository)) AS repositories
            FROM named GROUP BY ALL),
        origins AS (
            SELECT DISTINCT manifest AS digest, NULL AS platform, manifest AS origin
            FROM holds WHERE there AND manifest IN (SELECT digest FROM bases)
            UNION
            SELECT DISTINCT image, platform, manifest
            FROM holds WHERE there AND image IN (SELECT digest FROM bases)),
        compared AS (
            SELECT named.name, named.digest, named.manifest,
                   bool_or(own.layers[1:len(base.layers)] = base.layers) AS begins
            FROM named JOIN origins ON origins.digest = named.digest
                   AND coalesce(origins.platform, named.platform) = named.platform
                 JOIN manifests AS base ON base.manifest = origins.origin
                 JOIN manifests AS own ON own.manifest = named.manifest
            GROUP BY ALL),
        begun AS (
            SELECT name, digest, count(*) FILTER (begins) AS confirmed,
                   count(*) FILTER (NOT begins) AS denied
            FROM compared GROUP BY ALL),
        now AS (
            SELECT name, digest,
                   bool_or(line.image = digest OR list_contains(
                       [p.manifest FOR p IN line.platforms], digest)) AS current
            FROM (SELECT name, digest, unnest({_SPELLINGS}) AS reference FROM bases)
                 JOIN line USING (reference)
            WHERE line.kind = 'image' AND digest IS NOT NULL GROUP BY ALL)
        SELECT counts.name, counts.digest, manifests, repositories,
               coalesce(confirmed, 0) AS confirmed, coalesce(denied, 0) AS denied,
               current
        FROM counts
             LEFT JOIN begun ON begun.name IS NOT DISTINCT FROM counts.name
                   AND begun.digest = counts.digest
             LEFT JOIN now ON now.name = counts.name AND now.digest = counts.digest
        """,  # noqa: S608
    order="repositories DESC, manifests DESC, name, digest",
)
