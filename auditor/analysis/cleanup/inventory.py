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

from auditor.analysis.reports import (
    creation_time,
    foreign_layers,
    keep_last_lines,
    last_lines,
)
from auditor.analysis.untagged_sql import HAS_UNNAMED_CHILDREN, INCOMPLETE
from auditor.model import SCHEMA1_TYPES
from auditor.oci.attachments import DIGEST_TAG
from auditor.oci.descriptor import INDEX_TYPES

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
    for statement in _TABLES:
        connection.execute(statement.replace("$scope", scope))


def digest_of_tag(tag: str) -> str:
    """SQL: the digest that a digest tag is named after; NULL for other tags."""
    return f"""CASE WHEN regexp_full_match({tag}, '{DIGEST_TAG}')
         THEN replace(regexp_extract({tag}, '^[^.]*'), '-', ':') END"""


# -- SQL --

_INDEXES = ", ".join(f"'{name}'" for name in sorted(INDEX_TYPES))


def _utc(time: str) -> str:
    return f"TRY_CAST({time} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"


_LINES = f"""
    CREATE TABLE line AS
    SELECT reference, registry, repository,
           CASE WHEN NOT contains(reference, '@') THEN tag END AS tag,
           kind, content, digest, media_type, subject,
           coalesce(untagged, false) AS untagged,
           signed IS NULL OR has_sbom IS NULL OR has_provenance IS NULL OR {INCOMPLETE}
             AS unexamined,
           stage, failure, status, audited_at, {_utc("audited_at")} AS audited,
           {_utc("pushed_at")} AS pushed, {_utc("pulled_at")} AS pulled,
           list_max([{creation_time("p")} FOR p IN platforms]) AS created,
           list_concat(
               [p.digest FOR p IN platforms IF p.layers IS NOT NULL],
               flatten([[x.digest FOR x IN p.alternatives] FOR p IN platforms]))
             AS manifests
    FROM report.lines"""

_PRESENT = f"""(p.layers IS NOT NULL OR p.config_digest IS NOT NULL
                OR coalesce(starts_with(p.media_type, '{SCHEMA1_TYPES}'), false))"""


# `known`: all blobs of the child are known; `attached`: it is an attachment.
def _relation(
    parent: str,
    child: str,
    role: str,
    size: str,
    known: str,
    *,
    attached: bool = False,
) -> str:
    return (
        f"{{'parent': {parent}, 'child': {child}, 'role': '{role}',"
        f" 'size': {size}, 'known': {known}, 'attached': {attached}}}"
    )


_IS_INDEX = f"coalesce({{}}media_type IN ({_INDEXES}), false)"
_SELF = _relation(
    *("digest", "digest", "self", "manifest_size"),
    f"{_IS_INDEX.format('')} AND NOT {HAS_UNNAMED_CHILDREN}",
)
_PLATFORM = _relation(
    "digest", "p.digest", "child", "p.manifest_size", "p.layers IS NOT NULL"
)
_ALTERNATIVE = _relation("digest", "x.digest", "child", "x.manifest_size", "true")
_OTHER = _relation("digest", "c.digest", "nested", "c.size", _IS_INDEX.format("c."))
_LISTED = _relation(
    *("digest", "a.digest", "child", "a.size", "a.blobs IS NOT NULL"), attached=True
)
_ATTACHED = _relation(
    *("coalesce(a.subject, digest)", "a.digest", "referrer", "a.size"),
    "a.blobs IS NOT NULL",
    attached=True,
)
_TAGGED = _relation(
    *("coalesce(a.subject, digest)", "a.digest", "tagged", "a.size"),
    "a.blobs IS NOT NULL",
    attached=True,
)
_SUBJECT = _relation("subject", "digest", "subject", "NULL", "false", attached=True)

# What each record says about manifests. In reports of earlier versions it is not known
# whether an index lists an attachment: then it counts as both.
_RELATIONS = f"""
    list_concat(
        [{_SELF}],
        [{_PLATFORM} FOR p IN platforms IF {_PRESENT}],
        flatten([[{_ALTERNATIVE} FOR x IN p.alternatives] FOR p IN platforms]),
        [{_OTHER} FOR c IN other_children],
        [{_LISTED} FOR a IN attachments IF coalesce(a.in_index, true)],
        [{_ATTACHED} FOR a IN attachments
         IF NOT coalesce(a.in_index, false) AND a.tag IS NULL],
        [{_TAGGED} FOR a IN attachments IF a.tag IS NOT NULL],
        CASE WHEN subject IS NULL THEN [] ELSE [{_SUBJECT}] END)"""


# A manifest as a structure of its blobs; alternatives and attachments have the same.
def _content(of: str) -> str:
    foreign = foreign_layers(f"{of}.layers", "warnings")
    return (
        f"{{'manifest': {of}.digest, 'config': {of}.config_digest,"
        f" 'config_size': {of}.config_size, 'layers': {of}.layers,"
        f" 'foreign': {foreign}}}"
    )


_CONTENTS = f"""
    list_concat(
        [{_content("p")} FOR p IN platforms IF p.layers IS NOT NULL],
        flatten([[{_content("x")} FOR x IN p.alternatives] FOR p IN platforms]))"""

_TABLES = (
    # Without the lines that a later one replaces.
    f"""CREATE VIEW record AS
        FROM ({last_lines("report.lines", "line")}) WHERE kind = 'image'""",
    f"""CREATE TABLE relation AS
        SELECT DISTINCT registry, repository, r.parent, r.child, r.role, r.size,
               r.known, r.attached
        FROM (SELECT registry, repository, unnest({_RELATIONS}) AS r FROM record)""",
    """CREATE TABLE attached AS
       SELECT DISTINCT registry, repository, a.digest AS digest, a.tag AS tag,
              a.blobs AS blobs
       FROM (SELECT registry, repository, unnest(attachments) AS a FROM record)
       WHERE a.tag IS NOT NULL OR a.blobs IS NOT NULL""",
    """CREATE TABLE nested AS
       SELECT DISTINCT registry, repository, child AS digest
       FROM relation WHERE role = 'nested' AND known
       EXCEPT SELECT registry, repository, child FROM relation WHERE role = 'self'""",
    "CREATE TABLE has_referrers AS"
    " SELECT DISTINCT registry FROM relation WHERE role = 'referrer'",
    """CREATE TABLE node AS
       SELECT row_number() OVER () AS id, registry, repository, digest, $scope AS scope
       FROM (SELECT DISTINCT registry, repository, child AS digest FROM relation)""",
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
    # The blobs of a manifest are taken from one line.
    """CREATE TABLE content_source AS
       SELECT manifest, reference
       FROM (SELECT manifest, min(line.rowid) AS id
             FROM (SELECT rowid, unnest(manifests) AS manifest FROM line) AS line
             GROUP BY manifest)
            JOIN line ON line.rowid = id""",
    f"""CREATE TABLE content AS
        SELECT c.manifest AS manifest, c.config AS config,
               c.config_size AS config_size,
               [l.digest FOR l IN c.layers IF NOT list_contains(c.foreign, l.digest)]
                 AS layers,
               [l.size FOR l IN c.layers IF NOT list_contains(c.foreign, l.digest)]
                 AS sizes
        FROM (SELECT reference, unnest({_CONTENTS}) AS c FROM record) AS image
             SEMI JOIN content_source ON content_source.manifest = c.manifest
                       AND content_source.reference = image.reference""",
    # What an index lists is kept as a blob even if its manifest was deleted:
    # distribution marks all that a manifest refers to (its garbagecollect.go).
    """CREATE TABLE manifest_blob AS
       SELECT DISTINCT manifest, blob
       FROM (SELECT digest AS manifest, digest AS blob FROM node
             UNION ALL SELECT parent, child FROM relation
                       WHERE role IN ('child', 'nested')
             UNION ALL SELECT manifest, config FROM content WHERE config IS NOT NULL
             UNION ALL SELECT manifest, unnest(layers) FROM content
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
