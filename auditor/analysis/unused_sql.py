"""The SQL of `unused`: what is used, what is not, and what it takes.

`line` has a row per reference of the registry's reports, `record` the manifests that
each needs, `running` a row per reference and digest of the running reports. `used` are
the manifests that something running leads to, `judged` the lines with their state.
Many references share few manifests, so layers are stored once for each of these.
"""

# ruff: noqa: S608  (the SQL is made of constants and quoted values)

from __future__ import annotations

from collections.abc import Mapping

from auditor.analysis.duckdb_connection import quoted
from auditor.analysis.listing_sql import (
    FAILED_LISTING,
    NOT_THERE,
    TAG_PATTERN,
    path_glob,
)
from auditor.analysis.reports import foreign_layers, keep_last_lines
from auditor.analysis.untagged_sql import record_parts

_PLACE = "registry, repository"
_LINE = "reference, registry, repository, tag, digest, kind, content, failure, status"

LOAD_REGISTRY = (
    # One registry may have several reports: they are read as one.
    """CREATE VIEW registry_line AS
       SELECT * REPLACE ('' AS report) FROM registry_report.lines""",
    f"""CREATE TABLE line AS
        SELECT {_LINE}, coalesce(untagged, false) AS untagged, size, pushed_at,
               pulled_at, audited_at,
               [p.digest FOR p IN platforms IF p.layers IS NOT NULL] AS manifests
        FROM registry_line""",
    keep_last_lines("line", "reference"),
    # Of all lines: a tag that has moved says what its manifest of before needs.
    f"CREATE TABLE record AS {record_parts('registry_line')}",
)

CREATE_RUNNING = """
    CREATE TABLE running_line (
        reference VARCHAR, registry VARCHAR, repository VARCHAR, tag VARCHAR,
        digest VARCHAR, kind VARCHAR, failure VARCHAR, status BIGINT, detail VARCHAR,
        last_seen VARCHAR,
        sources STRUCT("list" VARCHAR, place VARCHAR, namespace VARCHAR,
                       workload VARCHAR, container VARCHAR)[])"""

_RUNNING_KEY = "reference, registry, repository, tag, digest, kind, failure, status"

# A night has most references of the night before.
ADD_RUNNING_REPORTS = f"""
    INSERT INTO running_line
    SELECT {_RUNNING_KEY}, min(detail), max(audited_at), max_by(sources, audited_at)
    FROM running_report.lines GROUP BY ALL"""


def add_history(files: str) -> str:
    """Add the runs of a data set of `auditor history`; `files` is a glob of Parquet."""
    return f"""
        INSERT INTO running_line
        SELECT reference, registry, repository, tag, digest,
               CASE WHEN failure IS NULL THEN 'image' ELSE 'failure' END,
               failure, NULL, NULL,
               max(strftime(audited_at, '%Y-%m-%dT%H:%M:%SZ')), NULL
        FROM read_parquet({quoted(files)}, hive_partitioning = false) GROUP BY ALL"""


def load_running(same: Mapping[str, str], *, has_reports: bool) -> tuple[str, ...]:
    """The tables of what runs; `same` maps its registries to those of the registry."""
    cases = "".join(
        f" WHEN {quoted(name)} THEN {quoted(other)}" for name, other in same.items()
    )
    registry = f"CASE registry{cases} ELSE registry END" if cases else "registry"
    # What a running index contains may be in the registry without this index.
    children = """
        UNION
        SELECT unnest(list_concat(
                 [p.digest FOR p IN platforms],
                 flatten([[x.digest FOR x IN p.alternatives] FOR p IN platforms])))
        FROM running_report.lines WHERE kind = 'image'"""
    return (
        f"""CREATE TABLE running AS
            SELECT * REPLACE ({registry} AS registry),
                   CASE WHEN {FAILED_LISTING} THEN {TAG_PATTERN} END AS pattern
            FROM running_line WHERE registry IS NOT NULL""",
        f"""CREATE TABLE used_digest AS
            SELECT digest FROM running WHERE digest IS NOT NULL
            {children if has_reports else ""}""",
        f"""CREATE TABLE used_name AS
            SELECT DISTINCT {_PLACE}, tag FROM running WHERE tag IS NOT NULL""",
        f"""CREATE TABLE used_pattern AS
            SELECT DISTINCT {_PLACE}, {path_glob("repository")} AS path_glob, pattern
            FROM running WHERE pattern IS NOT NULL""",
    )


_MATCHED_BY_PATTERN = " UNION ALL ".join(
    f"""SELECT line.registry, line.repository, line.digest
        FROM line JOIN used_pattern AS p
             ON p.registry = line.registry AND line.repository {match}
                AND line.tag GLOB p.pattern
        WHERE line.kind = 'image'"""
    for match in ("= p.repository", "GLOB p.path_glob")
)

FIND_USED = (
    # From a manifest to what it needs, and to what is attached to it.
    f"""CREATE TABLE edge AS
        SELECT {_PLACE}, parent, digest, min(reference) AS owner
        FROM (SELECT {_PLACE}, digest AS parent, reference,
                     unnest(list_concat(children, attached)) AS digest
              FROM record
              UNION ALL
              SELECT {_PLACE}, subject,
                     concat(registry, '/', repository, '@', subject), digest
              FROM record WHERE subject IS NOT NULL)
        GROUP BY ALL""",
    f"""CREATE TABLE seed AS
        SELECT {_PLACE}, digest FROM record SEMI JOIN used_digest USING (digest)
        UNION
        SELECT {_PLACE}, digest FROM edge SEMI JOIN used_digest USING (digest)
        UNION
        SELECT {_PLACE}, parent FROM edge
               SEMI JOIN used_digest ON used_digest.digest = edge.parent
        UNION
        -- An index of which a platform runs.
        SELECT {_PLACE}, digest
        FROM (SELECT {_PLACE}, digest, unnest(children) AS child FROM record) AS one
             SEMI JOIN used_digest ON used_digest.digest = one.child
        UNION
        SELECT {_PLACE}, digest FROM line SEMI JOIN used_name USING ({_PLACE}, tag)
        WHERE kind = 'image'
        UNION ({_MATCHED_BY_PATTERN})""",
    f"""CREATE TABLE used AS
        WITH RECURSIVE reached AS (
            SELECT {_PLACE}, digest FROM seed
            UNION
            SELECT edge.registry, edge.repository, edge.digest
            FROM reached JOIN edge
                 ON edge.registry = reached.registry
                    AND edge.repository = reached.repository
                    AND edge.parent = reached.digest)
        SELECT * FROM reached""",
)

# Without one of its images, it is not known what the others of a repository are for.
_MISSING_PART = f"""
    failed.kind = 'failure' AND failed.registry IS NOT NULL
    AND failed.failure NOT IN ({NOT_THERE})"""

JUDGE = (
    # Repositories, not references: each pattern is compared with all of a registry.
    f"""CREATE TABLE incomplete AS
        WITH place AS (SELECT DISTINCT {_PLACE} FROM record),
        failed_place AS (
            SELECT DISTINCT {_PLACE}, {path_glob("repository")} AS path_glob
            FROM line AS failed WHERE {_MISSING_PART})
        SELECT {_PLACE} FROM record WHERE may_need_more
        UNION
        SELECT {_PLACE} FROM place SEMI JOIN failed_place USING ({_PLACE})
        UNION
        SELECT place.registry, place.repository
        FROM place JOIN (FROM failed_place WHERE path_glob IS NOT NULL) AS failed
             ON failed.registry = place.registry
                AND place.repository GLOB failed.path_glob""",
    f"""CREATE TABLE judged AS
        SELECT line.*, owner.reference AS part_of,
               CASE WHEN used.digest IS NOT NULL THEN 'used'
                    WHEN incomplete.repository IS NOT NULL
                         OR line.untagged AND line.content = 'unknown'
                         OR line.content = 'attachment' AND owner.reference IS NULL
                    THEN 'unknown' ELSE 'unused' END AS state
        FROM (SELECT * FROM line WHERE kind = 'image') AS line
             LEFT JOIN used USING ({_PLACE}, digest)
             LEFT JOIN incomplete USING ({_PLACE})
             LEFT JOIN (SELECT {_PLACE}, digest, min(owner) AS reference
                        FROM edge GROUP BY ALL) AS owner
                  USING ({_PLACE}, digest)""",
    # The line from which the layers of a manifest are taken.
    """CREATE TABLE layer_source AS
       SELECT manifest, reference
       FROM (SELECT manifest, min(id) AS id
             FROM (SELECT rowid AS id, unnest(manifests) AS manifest FROM line)
             GROUP BY manifest)
            JOIN line ON line.rowid = id""",
    f"""CREATE TABLE manifest_layer AS
        SELECT DISTINCT manifest, l.digest, l.size
        FROM (SELECT p.digest AS manifest, unnest([
                  l FOR l IN p.layers
                  IF NOT list_contains({foreign_layers("p.layers", "warnings")},
                                       l.digest)]) AS l
              FROM (SELECT reference, warnings, unnest(platforms) AS p
                    FROM registry_line WHERE kind = 'image') AS image
                   SEMI JOIN layer_source
                        ON layer_source.manifest = p.digest
                           AND layer_source.reference = image.reference)""",
    # A registry stores a layer once for all its repositories.
    """CREATE TABLE freed AS
       SELECT registry, digest, max(size) AS size
       FROM (SELECT registry, manifest, bool_and(state = 'unused') AS is_unused
             FROM (SELECT registry, state, unnest(manifests) AS manifest FROM judged)
             GROUP BY ALL)
            JOIN manifest_layer USING (manifest)
       GROUP BY ALL HAVING bool_and(is_unused)""",
)

# What runs by its name: a tag, or a digest where the reference has one.
FIND_GONE = (
    f"""CREATE TABLE asked AS
        SELECT {_PLACE}, name, contains(name, ':') AS by_digest,
               max(last_seen) AS last_seen,
               max_by({{reference: reference, tag: tag, digest: digest,
                        failure: failure, sources: sources}},
                      row(last_seen, failure IS NULL, reference)) AS newest
        FROM (SELECT *, CASE WHEN contains(reference, '@') THEN digest
                             ELSE tag END AS name
              FROM running)
        WHERE name IS NOT NULL AND repository IS NOT NULL GROUP BY ALL""",
    f"""CREATE TABLE present AS
        SELECT {_PLACE}, tag AS name FROM line
        WHERE kind = 'image' AND tag IS NOT NULL
        UNION
        SELECT {_PLACE}, digest FROM record
        UNION
        SELECT {_PLACE}, unnest(children) FROM record""",
    f"""CREATE TABLE sought AS
        SELECT asked.*,
               CASE WHEN NOT EXISTS (SELECT 1 FROM line
                                     WHERE line.registry = asked.registry)
                    THEN 'elsewhere'
                    WHEN present.name IS NOT NULL THEN 'present'
                    WHEN newest.failure IN ({NOT_THERE}) THEN 'gone'
                    WHEN asked.by_digest OR place.audited_at IS NULL
                         OR incomplete.repository IS NOT NULL THEN 'unknown'
                    WHEN newest.failure IS NULL AND last_seen >= place.audited_at
                    THEN 'present'
                    ELSE 'missing' END AS state
        FROM asked LEFT JOIN present USING ({_PLACE}, name)
             LEFT JOIN incomplete USING ({_PLACE})
             LEFT JOIN (SELECT {_PLACE}, max(audited_at) AS audited_at
                        FROM line WHERE kind = 'image' GROUP BY ALL) AS place
                  USING ({_PLACE})""",
    # What runs from another host under the name of an unused image: a mirror?
    """CREATE TABLE same_name AS
       SELECT judged.reference, judged.registry, min(sought.registry) AS host
       FROM sought JOIN judged ON judged.repository = sought.repository
            AND judged.tag = sought.name
       WHERE sought.state = 'elsewhere' AND judged.state = 'unused' GROUP BY ALL""",
)

COUNT = """
    SELECT count(*) AS images,
           count(*) FILTER (state = 'used') AS used,
           count(*) FILTER (state = 'unused') AS unused,
           count(*) FILTER (state = 'unknown') AS unknown,
           (SELECT least(coalesce(sum(size), 0), 9223372036854775807)::BIGINT
            FROM freed) AS freed_size,
           (SELECT count(*) FROM freed WHERE size IS NULL) AS unsized,
           (SELECT count(*) FROM line WHERE kind = 'failure') AS failures,
           (SELECT count(*) FROM asked) AS running,
           (SELECT count(*) FROM asked
            WHERE newest.failure IS NOT NULL) AS running_failures,
           (SELECT count(*) FROM used_pattern) AS running_listings,
           (SELECT count(*) FROM sought WHERE state = 'gone') AS gone,
           (SELECT count(*) FROM sought WHERE state = 'missing') AS missing,
           (SELECT count(*) FROM sought WHERE state = 'unknown') AS gone_unknown,
           (SELECT count(*) FROM sought WHERE state = 'elsewhere') AS elsewhere,
           (SELECT count(*) FROM same_name) AS same_names,
           (SELECT min(concat(host, '=', registry)) FROM same_name)
             AS maybe_same_registry,
           (SELECT min(last_seen) FROM running) AS running_from,
           (SELECT max(last_seen) FROM running) AS running_to
    FROM judged"""

SELECT_UNUSED = """
    SELECT reference, registry, repository, tag, digest, content, untagged, part_of,
           size, coalesce(freed_size, 0) AS freed_size, pushed_at, pulled_at
    FROM judged LEFT JOIN (
             SELECT registry, manifests,
                    least(coalesce(sum(freed.size), 0),
                          9223372036854775807)::BIGINT AS freed_size
             FROM (SELECT DISTINCT registry, manifests, manifest_layer.digest
                   FROM (SELECT *, unnest(manifests) AS manifest
                         FROM (SELECT DISTINCT registry, manifests FROM judged
                               WHERE state = 'unused'))
                        JOIN manifest_layer USING (manifest))
                  JOIN freed USING (registry, digest)
             GROUP BY ALL) AS freed USING (registry, manifests)
    WHERE state = 'unused'
    ORDER BY freed_size DESC, reference"""

SELECT_GONE = """
    SELECT newest.reference AS reference, registry, repository, newest.tag AS tag,
           newest.digest AS digest, last_seen, state = 'gone' AS certain,
           newest.sources AS sources
    FROM sought WHERE state IN ('gone', 'missing')
    ORDER BY certain DESC, last_seen DESC, reference"""
