"""The SQL of `unused`: what is used, what is not, and what it takes.

| table | a row is |
|---|---|
| `line` | a reference of the registry's reports, the last line of each |
| `place` | a repository |
| `node` | a manifest that a line names or says something about |
| `edge` | a node, and another one that it needs or keeps; `stated_by` whose record |
| `line_node` | a line and its node |
| `running` | a reference and digest of the running reports |
| `used` | a node that something running leads to |
| `state` | a line with its verdict |
| `freed` | a layer that only unused manifests have |

Many references share few manifests, and digests are long: nodes have numbers, and the
layers of a manifest are stored once.
"""

# ruff: noqa: S608  (the SQL is made of constants and quoted values)

from __future__ import annotations

from collections.abc import Mapping

from auditor.analysis.completeness import (
    FAILED_LISTING,
    LACKS_PARTS,
    NOT_THERE,
    TAG_PATTERN,
    incomplete_places,
    not_audited,
    path_glob,
)
from auditor.analysis.duckdb_connection import quoted
from auditor.analysis.manifest_graph import (
    MANIFESTS,
    RELATIONS,
    content_tables,
    digest_of_tag,
)
from auditor.analysis.report_views import keep_last_lines

_PLACE = "registry, repository"
_LINE = "reference, registry, repository, tag, digest, kind, content, failure, status"

# What a record says about other manifests; the digest of the record itself is NULL.
_NEEDS = f"""
    list_concat(
        [{{'parent': nullif(r.parent, digest), 'child': nullif(r.child, digest),
           'attached': r.attached, 'present': r.present}}
         FOR r IN {RELATIONS} IF r.parent <> r.child],
        CASE WHEN subject IS NULL AND {digest_of_tag("tag")} <> digest THEN
            [{{'parent': {digest_of_tag("tag")}, 'child': NULL::VARCHAR,
               'attached': true, 'present': true}}] ELSE [] END)"""

LOAD_REGISTRY = (
    f"""CREATE TABLE line AS
        SELECT {_LINE}, coalesce(untagged, false) AS untagged, size, pushed_at,
               pulled_at, audited_at, {LACKS_PARTS} AS lacks_parts,
               CASE WHEN kind = 'image' THEN {_NEEDS} END AS needs,
               {MANIFESTS} AS manifests
        FROM registry_report.lines""",
    # Of all lines: a tag that has moved says what its manifest of before needs.
    f"""CREATE TABLE place AS
        SELECT row_number() OVER () AS place, {_PLACE}, lacks_parts
        FROM (SELECT {_PLACE}, bool_or(lacks_parts) AS lacks_parts
              FROM line WHERE kind = 'image' GROUP BY ALL)""",
    f"""CREATE TABLE node AS
        SELECT row_number() OVER () AS id, place, digest
        FROM (SELECT DISTINCT place, digest
              FROM (SELECT {_PLACE}, digest FROM line WHERE kind = 'image'
                    UNION ALL
                    SELECT {_PLACE}, unnest([r.parent, r.child])
                    FROM (SELECT {_PLACE}, unnest(needs) AS r FROM line))
                   JOIN place USING ({_PLACE})
              WHERE digest IS NOT NULL)""",
    # One number at a time, so that one table of digests is in memory.
    f"""CREATE TABLE stated AS
        SELECT DISTINCT node.id AS stated_by, place, r.parent, r.child, r.attached,
               r.present
        FROM (SELECT {_PLACE}, digest, unnest(needs) AS r FROM line)
             JOIN place USING ({_PLACE}) JOIN node USING (place, digest)""",
    """CREATE TABLE half_edge AS
       SELECT stated_by, stated.place, parent, coalesce(node.id, stated_by) AS child,
              attached, present
       FROM stated LEFT JOIN node
            ON node.place = stated.place AND node.digest = stated.child""",
    "DROP TABLE stated",
    # What is attached to a child is attached to the index whose record says so, too.
    """CREATE TABLE edge AS
       SELECT DISTINCT coalesce(node.id, stated_by) AS parent, child,
              nullif(stated_by, child) AS stated_by, attached, present
       FROM half_edge LEFT JOIN node
            ON node.place = half_edge.place AND node.digest = half_edge.parent
       UNION
       SELECT stated_by, child, stated_by, attached, present
       FROM half_edge WHERE stated_by <> child""",
    "DROP TABLE half_edge",
    f"""CREATE TABLE name AS
        SELECT node.id AS stated_by, min(reference) AS name
        FROM (FROM line WHERE kind = 'image') JOIN place USING ({_PLACE})
             JOIN node USING (place, digest) SEMI JOIN edge ON edge.stated_by = node.id
        GROUP BY node.id""",
    "ALTER TABLE line DROP COLUMN needs",
    "ALTER TABLE line DROP COLUMN lacks_parts",
    # What a tag named before it moved can run, and has its layers.
    *content_tables("registry_report.lines"),
    keep_last_lines("line", "reference"),
    f"""CREATE TABLE line_node AS
        SELECT line.rowid AS line, id
        FROM line JOIN place USING ({_PLACE}) JOIN node USING (place, digest)
        WHERE kind = 'image'""",
)

CREATE_RUNNING = """
    CREATE TABLE running_line (
        reference VARCHAR, registry VARCHAR, repository VARCHAR, tag VARCHAR,
        digest VARCHAR, kind VARCHAR, failure VARCHAR, status BIGINT, detail VARCHAR,
        first_seen VARCHAR, last_seen VARCHAR,
        sources STRUCT("list" VARCHAR, place VARCHAR, namespace VARCHAR,
                       workload VARCHAR, container VARCHAR)[])"""

_RUNNING_KEY = "reference, registry, repository, tag, digest, kind, failure, status"

# A night has most references of the night before.
ADD_RUNNING_REPORTS = f"""
    INSERT INTO running_line
    SELECT {_RUNNING_KEY}, min(detail), min(audited_at), max(audited_at),
           max_by(sources, audited_at)
    FROM running_report.lines GROUP BY ALL"""


def add_history(files: str) -> str:
    """Add the runs of a data set of `auditor history`; `files` is a glob of Parquet."""
    return f"""
        INSERT INTO running_line
        SELECT reference, registry, repository, tag, digest,
               CASE WHEN failure IS NULL THEN 'image' ELSE 'failure' END,
               failure, NULL, NULL,
               min(strftime(audited_at, '%Y-%m-%dT%H:%M:%SZ')),
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
    # Also of what the reports of the registry lack, such as by a tag that has moved.
    layers = f"""
        SELECT DISTINCT registry, layer
        FROM (SELECT {registry} AS registry, unnest({_LAYERS}) AS layer
              FROM running_report.lines WHERE kind = 'image')"""
    none = "(registry VARCHAR, layer VARCHAR)"
    return (
        f"CREATE TABLE running_layer {f'AS {layers}' if has_reports else none}",
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


_LAYERS = """
    flatten(list_concat(
        [[l.digest FOR l IN p.layers] FOR p IN platforms],
        flatten([[[l.digest FOR l IN x.layers] FOR x IN p.alternatives]
                 FOR p IN platforms])))"""

_MATCHED_BY_PATTERN = " UNION ALL ".join(
    f"""SELECT line.rowid AS line
        FROM line JOIN used_pattern AS p
             ON p.registry = line.registry AND line.repository {match}
                AND line.tag GLOB p.pattern"""
    for match in ("= p.repository", "GLOB p.path_glob")
)

FIND_USED = (
    f"""CREATE TABLE seed AS
        SELECT id FROM node SEMI JOIN used_digest USING (digest)
        UNION
        -- An index of which a platform runs.
        SELECT parent FROM edge
             JOIN (FROM node SEMI JOIN used_digest USING (digest)) AS node
                  ON node.id = edge.child
        WHERE NOT attached
        UNION
        SELECT id
        FROM (SELECT rowid AS line FROM line SEMI JOIN used_name USING ({_PLACE}, tag)
              UNION ALL {_MATCHED_BY_PATTERN})
             JOIN line_node USING (line)""",
    """CREATE TABLE used AS
       WITH RECURSIVE reached AS (
           SELECT id FROM seed
           UNION
           SELECT edge.child FROM reached JOIN edge ON edge.parent = reached.id)
       SELECT id FROM reached""",
)

_INCOMPLETE = incomplete_places("place", "line", _PLACE.split(", "))

JUDGE = (
    f"CREATE TABLE incomplete AS {_INCOMPLETE}",
    f"""CREATE TABLE state AS
        SELECT line_node.line, line_node.id,
               CASE WHEN used.id IS NOT NULL THEN 'used'
                    WHEN incomplete.repository IS NOT NULL
                         OR line.untagged AND line.content = 'unknown'
                         OR line.content = 'attachment' AND owned.id IS NULL
                    THEN 'unknown' ELSE 'unused' END AS state
        FROM line JOIN line_node ON line_node.line = line.rowid
             LEFT JOIN used USING (id)
             LEFT JOIN incomplete USING ({_PLACE})
             LEFT JOIN (SELECT DISTINCT child AS id FROM edge) AS owned
                  ON owned.id = line_node.id""",
    # A reference that has it as a child or an attachment.
    f"""CREATE TABLE owner AS
        SELECT child AS id,
               min(coalesce(name, concat({_PLACE.replace(", ", ", '/', ")}, '@',
                                         digest))) AS part_of
        FROM edge SEMI JOIN (FROM state WHERE state = 'unused') AS state
                  ON state.id = child
             LEFT JOIN name USING (stated_by)
             JOIN node ON node.id = parent JOIN place USING (place)
        GROUP BY child""",
    # A manifest can be used without a line that is: an index may only name its digest.
    """CREATE TABLE manifest_use AS
        SELECT registry, content.rowid AS content, bool_and(is_unused) AS is_unused
        FROM (SELECT registry, unnest(manifests) AS manifest,
                     state = 'unused' AS is_unused
              FROM line JOIN state ON state.line = line.rowid
              UNION ALL
              SELECT registry, digest, false
              FROM used JOIN node USING (id) JOIN place USING (place))
             JOIN content USING (manifest)
        GROUP BY ALL""",
    # A registry stores a layer once for all its repositories.
    """CREATE TABLE freed AS
       SELECT registry, layer, max(size) AS size
       FROM (SELECT registry, is_unused, foreign_layers, unnest(layers) AS layer,
                    unnest(sizes) AS size
             FROM manifest_use JOIN content ON content.rowid = manifest_use.content)
       WHERE NOT list_contains(foreign_layers, layer)
       GROUP BY ALL HAVING bool_and(is_unused)""",
    "DELETE FROM freed USING running_layer AS runs"
    " WHERE freed.registry = runs.registry AND freed.layer = runs.layer",
    "DROP TABLE manifest_use",
    # References with the same manifests have the same layers.
    """CREATE TABLE bundle AS
       SELECT row_number() OVER () AS id, registry, manifests
       FROM (SELECT DISTINCT registry, manifests
             FROM line JOIN state ON state.line = line.rowid
             WHERE state = 'unused')""",
    """CREATE TABLE bundle_size AS
       SELECT id, least(coalesce(sum(size), 0), 9223372036854775807)::BIGINT
                AS freed_bytes
       FROM (SELECT DISTINCT one.id, freed.rowid AS freed, freed.size
             FROM (SELECT id, registry, unnest(layers) AS layer
                   FROM (SELECT id, registry, unnest(manifests) AS manifest
                         FROM bundle) JOIN content USING (manifest)) AS one
                  JOIN freed USING (registry, layer))
       GROUP BY id""",
    "DROP TABLE content",
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
    # Of what runs: all that is present would be long.
    f"""CREATE TABLE present AS
        SELECT {_PLACE}, tag AS name
        FROM line SEMI JOIN asked ON asked.registry = line.registry
                  AND asked.repository = line.repository AND asked.name = line.tag
        WHERE kind = 'image'
        UNION
        SELECT {_PLACE}, digest
        FROM (FROM node SEMI JOIN asked ON asked.name = node.digest) AS node
             JOIN place USING (place)
             SEMI JOIN (SELECT id FROM line_node
                        UNION ALL SELECT child FROM edge WHERE present AND NOT attached)
                  AS there USING (id)""",
    f"""CREATE TABLE sought AS
        SELECT asked.*,
               CASE WHEN asked.registry NOT IN (SELECT DISTINCT registry FROM line
                                                WHERE registry IS NOT NULL)
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
       SELECT line.reference, line.registry, min(sought.registry) AS host
       FROM line JOIN state ON state.line = line.rowid
            JOIN sought ON line.repository = sought.repository
                 AND line.tag = sought.name
       WHERE sought.state = 'elsewhere' AND state.state = 'unused' GROUP BY ALL""",
)

COUNT = f"""
    SELECT count(*) AS images,
           count(*) FILTER (state = 'used') AS used,
           count(*) FILTER (state = 'unused') AS unused,
           count(*) FILTER (state = 'unknown') AS unknown,
           (SELECT least(coalesce(sum(size), 0), 9223372036854775807)::BIGINT
            FROM freed) AS freed_size,
           (SELECT count(*) FROM freed WHERE size IS NULL) AS unsized,
           (SELECT count(*) FROM line WHERE kind = 'failure') AS failures,
           (SELECT count(*) FROM line WHERE {not_audited("place")}) AS unaudited,
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
           (SELECT min(first_seen) FROM running) AS running_from,
           (SELECT max(last_seen) FROM running) AS running_to
    FROM state"""

SELECT_UNUSED = """
    SELECT reference, registry, repository, tag, digest, content, untagged, part_of,
           size, coalesce(freed_bytes, 0) AS freed_size, pushed_at, pulled_at
    FROM line JOIN (FROM state WHERE state = 'unused') AS state
              ON state.line = line.rowid
         LEFT JOIN owner ON owner.id = state.id
         LEFT JOIN bundle USING (registry, manifests)
         LEFT JOIN bundle_size ON bundle_size.id = bundle.id
    ORDER BY freed_size DESC, reference"""

SELECT_GONE = """
    SELECT newest.reference AS reference, registry, repository, newest.tag AS tag,
           newest.digest AS digest, last_seen, state = 'gone' AS certain,
           newest.sources AS sources
    FROM sought WHERE state IN ('gone', 'missing')
    ORDER BY certain DESC, last_seen DESC, reference"""
