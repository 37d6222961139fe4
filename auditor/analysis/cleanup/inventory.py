"""The manifests and blobs of reports, as tables.

| table | a row is |
|---|---|
| `line` | a reference, the last line of each |
| `node` | a manifest of a repository; `scope` is where its blobs are stored once |
| `tag` | a tag and the node that it names |
| `edge` | a node, and another one that it lists (`child`) or that is attached to it |
| `manifest_blob` | a blob of a manifest: itself, its config, a layer |
| `blob_size` | the bytes of a blob |
| `known_manifest` | a manifest whose blobs are all known |
| `attachment` | a manifest that is an attachment |
| `pinned` | a node that a tag names which the report does not have |
| `nested` | an index below another whose record alone has what both list |
| `has_referrers` | a registry that is known to have the referrers API |

An attachment of the referrers API lives with its subject (`referrer`); one that a tag
names or lists lives by that tag (`tagged`). A manifest that names a subject itself
counts as one of the referrers API, also where that is not known.

Of a reference with several lines, such as in the reports of two nights, the last one
counts.

Layers with URLs of their own are not in the registry and in no table.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from auditor.analysis.completeness import UNEXAMINED
from auditor.analysis.manifest_graph import MANIFESTS, RELATIONS, content_tables
from auditor.analysis.report_views import creation_time, keep_last_lines

if TYPE_CHECKING:
    import duckdb


class StorageScope(StrEnum):
    """Where a registry stores a blob once: for all its repositories, or in each."""

    REGISTRY = "registry"
    REPOSITORY = "repository"


def load_inventory(
    connection: duckdb.DuckDBPyConnection, storage: StorageScope
) -> None:
    """Make the tables in the schema `main`, from the views in the schema `report`."""
    connection.execute("USE main")
    connection.execute(_LINES)
    connection.execute(keep_last_lines("line", "reference"))
    scope = "registry"
    if storage is StorageScope.REPOSITORY:
        scope = "registry || '/' || repository"
    for statement in (*_GRAPH, *content_tables("report.lines"), *_BLOBS):
        connection.execute(statement.replace("$scope", scope))


# -- SQL --


def _utc(time: str) -> str:
    return f"TRY_CAST({time} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"


_LINES = f"""
    CREATE TABLE line AS
    SELECT reference, registry, repository,
           CASE WHEN NOT contains(reference, '@') THEN tag END AS tag,
           kind, content, digest, media_type, subject,
           coalesce(untagged, false) AS untagged,
           {UNEXAMINED} AS unexamined,
           stage, failure, status, audited_at, {_utc("audited_at")} AS audited,
           {_utc("pushed_at")} AS pushed, {_utc("pulled_at")} AS pulled,
           list_max([t FOR t IN [{creation_time("p")} FOR p IN platforms]
                     IF NOT coalesce(t > audited + INTERVAL 1 DAY, false)]) AS created,
           CASE WHEN kind = 'image' THEN {RELATIONS} END AS relations,
           [{{'digest': a.digest, 'tag': a.tag, 'blobs': a.blobs}} FOR a IN attachments
            IF a.tag IS NOT NULL OR a.blobs IS NOT NULL] AS attachments,
           {MANIFESTS} AS manifests
    FROM report.lines"""

_GRAPH = (
    """CREATE TABLE relation AS
       SELECT DISTINCT registry, repository, r.parent, r.child, r.role, r.size,
              r.known, r.present, r.attached
       FROM (SELECT registry, repository, unnest(relations) AS r FROM line)""",
    """CREATE TABLE attached AS
       SELECT DISTINCT registry, repository, a.digest AS digest, a.tag AS tag,
              a.blobs AS blobs
       FROM (SELECT registry, repository, unnest(attachments) AS a FROM line)""",
    "ALTER TABLE line DROP COLUMN relations",
    "ALTER TABLE line DROP COLUMN attachments",
    """CREATE TABLE nested AS
       SELECT DISTINCT registry, repository, child AS digest
       FROM relation WHERE role = 'nested' AND known
       EXCEPT SELECT registry, repository, child FROM relation WHERE role = 'self'""",
    "CREATE TABLE has_referrers AS"
    " SELECT DISTINCT registry FROM relation WHERE role = 'referrer'",
    """CREATE TABLE node AS
       SELECT row_number() OVER () AS id, registry, repository, digest, $scope AS scope
       FROM (SELECT DISTINCT registry, repository, child AS digest FROM relation
             WHERE present)""",
    """CREATE TABLE tag AS
       SELECT id, reference, tag
       FROM line JOIN node USING (registry, repository, digest)
       WHERE kind = 'image' AND tag IS NOT NULL""",
    """CREATE TABLE edge AS
       SELECT DISTINCT parent.id AS parent, child.id AS child,
              CASE role WHEN 'subject' THEN 'referrer' WHEN 'nested' THEN 'child'
                        ELSE role END AS role
       FROM relation
            JOIN node AS parent ON parent.registry = relation.registry
                 AND parent.repository = relation.repository
                 AND parent.digest = relation.parent
            JOIN node AS child ON child.registry = relation.registry
                 AND child.repository = relation.repository
                 AND child.digest = relation.child
       WHERE parent.id <> child.id""",
)

_BLOBS = (
    # What an index lists is kept as a blob even if its manifest was deleted:
    # distribution marks all that a manifest refers to (its garbagecollect.go).
    """CREATE TABLE manifest_blob AS
       SELECT DISTINCT manifest, blob
       FROM (SELECT digest AS manifest, digest AS blob FROM node
             UNION ALL SELECT parent, child FROM relation
                       WHERE present AND role IN ('child', 'nested')
             UNION ALL SELECT manifest, config FROM content WHERE config IS NOT NULL
             UNION ALL SELECT manifest, unnest([one FOR one IN layers
                                IF NOT list_contains(foreign_layers, one)])
                       FROM content
             UNION ALL SELECT digest, b.digest
                       FROM (SELECT digest, unnest(blobs) AS b FROM attached))""",
    # If manifests disagree on the size of a blob, the largest counts.
    """CREATE TABLE blob_size AS
       SELECT blob, max(size) AS size
       FROM (SELECT child AS blob, size FROM relation
             UNION ALL SELECT config, config_size FROM content
             UNION ALL SELECT unnest(layers), unnest(sizes) FROM content
             UNION ALL SELECT b.digest, b.size
                       FROM (SELECT unnest(blobs) AS b FROM attached))
       WHERE size IS NOT NULL GROUP BY blob""",
    "CREATE TABLE known_manifest AS SELECT DISTINCT child AS digest FROM relation"
    " WHERE known",
    "CREATE TABLE attachment AS SELECT DISTINCT child AS digest FROM relation"
    " WHERE attached",
    """CREATE TABLE pinned AS
       SELECT DISTINCT node.id AS id, tag
       FROM attached JOIN node USING (registry, repository, digest)
            ANTI JOIN line ON line.registry = attached.registry
                 AND line.repository = attached.repository AND line.tag = attached.tag
       WHERE attached.tag IS NOT NULL""",
)
