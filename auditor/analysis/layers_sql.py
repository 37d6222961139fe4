"""The SQL of `layers`: tables of what a report has, and ranked tables made from them.

Many references share few manifests, so what a report repeats for each reference is
stored once: `line` (a reference), `image_manifests` (the platform manifests of the
images of each repository) and `manifests` (their layers). The report is read twice
for this: all its layer lists at once would take more space than the report itself.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from enum import StrEnum

from auditor.analysis.manifest_graph import PLATFORM_MANIFESTS, content_tables
from auditor.analysis.platform_sql import platform_name
from auditor.analysis.untagged_sql import RECORD, unused_untagged
from auditor.fast_dataclass import dataclass

# Docker allows 127 layers at most ("max depth exceeded"), so no base image has more. It
# also bounds the cost of a hostile manifest of 28,000 layers.
MAX_BASE_LAYERS = 127
# The sizes in hostile descriptors can add up to more than 64 bits.
MAX_BYTES = 2**63 - 1


class UsageGroup(StrEnum):
    """The groups of byte totals. A namespace is the first part of a repository name."""

    REPOSITORY = "repository"
    NAMESPACE = "namespace"
    ARCHITECTURE = "architecture"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedTable:
    """A table that is made when it is first used, and the order of its rows."""

    name: str
    body: str
    order: str


LOAD_LINES = f"""
    CREATE TABLE line AS
    SELECT registry, repository, tag, kind, failure, status, audited_at,
           {RECORD},
           [{{platform: {platform_name("p")},
              manifest: p.digest, present: p.layers IS NOT NULL, base: p.base}}
            FOR p IN platforms] AS platforms,
           {PLATFORM_MANIFESTS} AS manifests
    FROM report.lines"""

LOAD_TABLES = (
    f"CREATE MACRO bytes(n) AS least(coalesce(n, 0), {MAX_BYTES})::BIGINT",
    """CREATE TABLE image_manifests AS
       SELECT DISTINCT registry, repository, digest AS image, p.platform, p.manifest,
              p.present
       FROM (SELECT *, unnest(platforms) AS p FROM line)""",
    *content_tables("report.lines", "manifests"),
    """CREATE TABLE manifest_foreign_layers AS
       SELECT DISTINCT manifest, unnest(foreign_layers) AS digest FROM manifests""",
    """CREATE TABLE manifest_layers AS
       SELECT DISTINCT manifest, unnest(layers) AS digest FROM manifests
       EXCEPT FROM manifest_foreign_layers""",
    # If manifests disagree on the size of a layer, the largest counts.
    """CREATE TABLE sizes AS
       SELECT digest, max(size) AS size
       FROM (SELECT unnest(layers) AS digest, unnest(sizes) AS size FROM manifests)
       GROUP BY digest""",
)

# Two nights are one report here, and the last line of each reference counts.
_ONE_REPORT = "SELECT '' AS report, * EXCLUDE (platforms, manifests) FROM line"
_UNTAGGED = unused_untagged(
    f"{_ONE_REPORT} WHERE kind = 'image'", f"({_ONE_REPORT})", "needing"
)
LOAD_UNTAGGED = f"""
    CREATE TABLE untagged AS
    SELECT DISTINCT registry, repository, digest AS image, unused FROM ({_UNTAGGED})"""

TOTALS = """
    SELECT (SELECT count(*) FROM line WHERE content = 'image') AS images,
           (SELECT count(*) FROM manifests) AS manifests,
           count(*) AS layers, bytes(sum(size)) AS size,
           count(*) FILTER (size IS NULL) AS unsized,
           (SELECT count(*) FROM line WHERE kind = 'failure') AS failures,
           (SELECT count(*) FROM (SELECT DISTINCT registry, manifest
                                  FROM image_manifests WHERE NOT present)) AS missing,
           (SELECT count(*)
            FROM (SELECT registry, digest
                  FROM image_manifests JOIN manifest_foreign_layers USING (manifest)
                  EXCEPT
                  SELECT registry, digest
                  FROM image_manifests JOIN manifest_layers USING (manifest))
           ) AS "foreign",
           (SELECT count(*) FROM untagged) AS untagged,
           (SELECT count(*) FROM untagged WHERE unused) AS untagged_unused,
           (SELECT count(*) FROM untagged WHERE unused IS NULL) AS untagged_unknown,
           (SELECT bytes(sum(size))
            FROM (SELECT registry, digest
                  FROM image_manifests JOIN manifest_layers USING (manifest)
                       LEFT JOIN untagged USING (registry, repository, image)
                  WHERE present
                  GROUP BY ALL HAVING bool_and(coalesce(unused, false)))
                 JOIN sizes USING (digest)) AS untagged_size
    FROM (SELECT DISTINCT registry, digest
          FROM image_manifests JOIN manifest_layers USING (manifest) WHERE present)
         JOIN sizes USING (digest)"""

_NAMES = {
    UsageGroup.REPOSITORY: "repository",
    UsageGroup.NAMESPACE: "regexp_extract(repository, '^([^/]*)/', 1)",
    UsageGroup.ARCHITECTURE: "platform",
}


def usage_table(group: UsageGroup) -> RankedTable:
    """The bytes of each group of a registry."""
    name = _NAMES[group]
    images = "SELECT * FROM line WHERE kind = 'image'"
    if group is UsageGroup.ARCHITECTURE:
        images = """SELECT DISTINCT registry, reference, content, p.platform
                    FROM (SELECT *, unnest(platforms) AS p FROM line) WHERE p.present"""
    body = f"""
        WITH groups AS (
            SELECT registry, {name} AS name,
                   count(*) FILTER (content = 'image') AS images
            FROM ({images}) GROUP BY ALL),
        members AS (
            SELECT DISTINCT registry, {name} AS name, manifest
            FROM image_manifests WHERE present),
        manifest_counts AS (
            SELECT registry, name, count(*) AS manifests FROM members GROUP BY ALL),
        layers AS (
            SELECT DISTINCT registry, name, digest
            FROM members JOIN manifest_layers USING (manifest)),
        users AS (
            SELECT registry, digest, count(*) AS users FROM layers GROUP BY ALL),
        sums AS (
            SELECT registry, name, count(*) AS layers,
                   sum(size) AS size, sum(size) FILTER (users = 1) AS alone,
                   count(*) FILTER (size IS NULL) AS unsized
            FROM layers JOIN users USING (registry, digest) JOIN sizes USING (digest)
            GROUP BY ALL)
        SELECT '{group}' AS kind, registry, nullif(name, '') AS name, images,
               coalesce(manifests, 0) AS manifests, coalesce(layers, 0) AS layers,
               bytes(size) AS size, bytes(alone) AS "unique",
               bytes(size - coalesce(alone, 0)) AS shared,
               coalesce(unsized, 0) AS unsized
        FROM groups LEFT JOIN sums USING (registry, name)
             LEFT JOIN manifest_counts USING (registry, name)"""
    order = "\"unique\" DESC, size DESC, registry, coalesce(name, '')"
    return RankedTable(name=f"usage_{group}", body=body, order=order)


_REPOSITORY_MANIFESTS = """
    SELECT DISTINCT registry, repository, manifest FROM image_manifests WHERE present"""

SHARED_LAYERS = RankedTable(
    name="shared_layers",
    body=f"""
        WITH by_manifest AS (
            SELECT digest, count(*) AS manifests FROM manifest_layers GROUP BY digest),
        by_repository AS (
            SELECT digest, count(*) AS repositories
            FROM (SELECT DISTINCT digest, registry, repository
                  FROM ({_REPOSITORY_MANIFESTS}) JOIN manifest_layers USING (manifest))
            GROUP BY digest)
        SELECT digest, size, manifests, repositories
        FROM by_manifest JOIN by_repository USING (digest) JOIN sizes USING (digest)
        WHERE manifests > 1 OR repositories > 1""",
    order="repositories DESC, manifests DESC, coalesce(size, 0) DESC, digest",
)

# Models and charts are built on no image, even if they start with the same layers.
_OF_IMAGES = """
    SELECT p.manifest FROM (SELECT unnest(platforms) AS p FROM line
                            WHERE content = 'image')"""

# A prefix of layers is a base where manifests diverge: some end after it, or continue
# differently, so that no longer prefix is shared by as many manifests.
BASES = RankedTable(
    name="bases",
    body=f"""
        WITH prefixes AS MATERIALIZED (
            SELECT manifest, n, len(layers) > n AS continues,
                   md5_number(array_to_string(layers[1:n], ' ')) AS prefix,
                   md5_number(array_to_string(layers[1:n - 1], ' ')) AS parent
            FROM (SELECT *, unnest(range(1, least(len(layers), {MAX_BASE_LAYERS}) + 1))
                            AS n
                  FROM manifests SEMI JOIN ({_OF_IMAGES}) USING (manifest))),
        counted AS (
            SELECT prefix, n, parent, count(*) AS sharers,
                   count(*) FILTER (continues) AS manifests
            FROM prefixes GROUP BY ALL),
        longer AS (
            SELECT parent AS prefix, max(sharers) AS most FROM counted GROUP BY parent),
        found AS MATERIALIZED (
            SELECT counted.* FROM counted LEFT JOIN longer USING (prefix)
            WHERE sharers > 1 AND manifests > 0 AND sharers > coalesce(most, 0)),
        examples AS (
            SELECT prefix, min(manifest) AS example
            FROM prefixes SEMI JOIN found USING (prefix) GROUP BY prefix),
        builders AS (
            SELECT prefix, count(*) AS repositories
            FROM (SELECT DISTINCT prefix, registry, repository
                  FROM prefixes SEMI JOIN found USING (prefix)
                       JOIN ({_REPOSITORY_MANIFESTS}) USING (manifest)
                  WHERE continues)
            GROUP BY prefix),
        itself AS (
            SELECT prefix, min_by(reference, row(length(reference), reference)) AS image
            FROM prefixes SEMI JOIN found USING (prefix)
                 JOIN image_manifests USING (manifest)
                 JOIN line ON line.registry = image_manifests.registry
                      AND line.repository = image_manifests.repository
                      AND line.digest = image
            WHERE NOT continues AND present
                  -- of two lines with one digest, one can lack the manifest
                  AND list_contains(
                      [p.manifest FOR p IN platforms IF p.present], manifest)
            GROUP BY prefix),
        weights AS (
            SELECT prefix, bytes(sum(size)) AS size,
                   count(*) FILTER (size IS NULL) AS unsized
            FROM (SELECT DISTINCT prefix, unnest(layers[1:n]) AS digest
                  FROM found JOIN examples USING (prefix)
                       JOIN manifests ON manifest = example)
                 JOIN sizes USING (digest)
            GROUP BY prefix),
        platforms AS (
            SELECT manifest AS example, min(platform) AS platform
            FROM image_manifests
            WHERE present AND manifest IN (SELECT example FROM examples)
            GROUP BY manifest)
        SELECT itself.image, nullif(platform, '') AS platform, n::INTEGER AS layers,
               weights.size, weights.unsized, manifests.layers[n] AS top,
               found.manifests, repositories
        FROM found JOIN builders USING (prefix) JOIN weights USING (prefix)
             JOIN examples USING (prefix) JOIN platforms USING (example)
             JOIN manifests ON manifests.manifest = example
             LEFT JOIN itself USING (prefix)""",
    order="repositories DESC, manifests DESC, layers DESC, top",
)


# Declared bases, compared with the layers in the report. The digest of a base can be
# that of a manifest or of an index; in an index, the same platform's manifest counts.

# Docker omits what the references of the report have in full.
_SPELLINGS = "[name, 'docker.io/' || name, 'docker.io/library/' || name]"

NAMED_BASES = RankedTable(
    name="named_bases",
    body=f"""
        WITH named AS MATERIALIZED (
            SELECT DISTINCT registry, repository, p.platform, p.manifest,
                   p.base.name AS name, p.base.digest AS digest
            FROM (SELECT registry, repository, unnest(platforms) AS p FROM line)
            WHERE p.present AND coalesce(p.base.name, p.base.digest) IS NOT NULL),
        bases AS (SELECT DISTINCT name, digest FROM named),
        counts AS (
            SELECT name, digest, count(DISTINCT manifest) AS manifests,
                   count(DISTINCT (registry, repository)) AS repositories
            FROM named GROUP BY ALL),
        origins AS (
            SELECT DISTINCT manifest AS digest, NULL AS platform, manifest AS origin
            FROM image_manifests
            WHERE present AND manifest IN (SELECT digest FROM bases)
            UNION
            SELECT DISTINCT image, platform, manifest
            FROM image_manifests WHERE present AND image IN (SELECT digest FROM bases)),
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
                   bool_or(image = digest OR list_contains(parts, digest)) AS current
            FROM (SELECT name, digest, unnest({_SPELLINGS}) AS reference FROM bases)
                 JOIN (SELECT reference, digest AS image,
                              [p.manifest FOR p IN platforms] AS parts
                       FROM line WHERE kind = 'image') USING (reference)
            WHERE digest IS NOT NULL GROUP BY ALL)
        SELECT counts.name, counts.digest, manifests, repositories,
               coalesce(confirmed, 0) AS confirmed, coalesce(denied, 0) AS denied,
               current
        FROM counts
             LEFT JOIN begun ON begun.name IS NOT DISTINCT FROM counts.name
                   AND begun.digest = counts.digest
             LEFT JOIN now ON now.name = counts.name AND now.digest = counts.digest
        """,
    order="repositories DESC, manifests DESC, name, digest",
)
