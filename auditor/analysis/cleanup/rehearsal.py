"""Which manifests live before and after the deletions, and which blobs that frees.

A manifest lives if a tag names it, if a living index lists it, or if it is attached to
a living manifest. What a registry deletes, and what its garbage collection removes, are
two questions that products answer differently: `DeleteBy` and `Collects`.

| table | a row is |
|---|---|
| `doomed` | a reference that would be deleted, and its node |
| `deleted_node` | a node that is deleted by its digest, with all its tags |
| `tag_left` | a tag that stays |
| `before`, `after` | a node that lives before, and after, the deletions |
| `gone` | a node that the deletions and the garbage collection remove |
| `freed_blob` | a blob that nothing needs any more |
| `garbage_blob` | a blob that nothing needed before |
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from auditor.analysis.cleanup.inventory import StorageScope
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass

if TYPE_CHECKING:
    import duckdb

# Attachments of attachments: a signature of an SBOM of an image is the second round. A
# hostile registry could make a chain of any length.
MAX_ROUNDS = 32


class DeleteBy(StrEnum):
    """What deleting a tag does.

    `TAG`: remove the tag. `LAST_TAG`: remove the tag, and with the last tag of a
    manifest the manifest (ECR: "When you remove the last tag from an image, the image
    is deleted", API reference, BatchDeleteImage). `DIGEST`: remove the manifest, with
    all its tags.
    """

    TAG = "tag"
    LAST_TAG = "last-tag"
    DIGEST = "digest"


class Collects(StrEnum):
    """What the garbage collection removes.

    `UNTAGGED`: every manifest that does not live. `DELETED`: only what was deleted by
    digest; untagged manifests stay, among them the children of a deleted index.
    """

    UNTAGGED = "untagged"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Semantics:
    """How the registry deletes, collects and stores."""

    delete_by: DeleteBy = DeleteBy.TAG
    collects: Collects = Collects.UNTAGGED
    storage: StorageScope = StorageScope.REGISTRY


def rehearse(connection: duckdb.DuckDBPyConnection, semantics: Semantics) -> None:
    """Make the tables from those of the inventory and the selection.

    Raises `UsageError` if attachments of attachments are nested too deeply.
    """
    connection.execute(
        f"""CREATE OR REPLACE TABLE deleted_node AS
            SELECT DISTINCT id FROM doomed
            WHERE id IS NOT NULL AND ({_DELETES_MANIFEST[semantics.delete_by]})"""
    )
    connection.execute(_TAG_LEFT)
    if semantics.collects is Collects.DELETED:
        connection.execute("CREATE OR REPLACE TABLE before AS SELECT id FROM node")
        connection.execute(
            "CREATE OR REPLACE TABLE after AS"
            " SELECT id FROM node ANTI JOIN deleted_node USING (id)"
        )
    else:
        named = (
            "SELECT id FROM tag UNION SELECT id FROM pinned UNION SELECT id FROM kept"
        )
        connection.execute(_KEPT)
        add_needed(connection, "after", _LIVING_AFTER, without="deleted_node")
        add_needed(connection, "before", named)
        # What is deleted by digest may have had no name before.
        add_needed(connection, "selected", "SELECT DISTINCT id FROM doomed")
        connection.execute(
            "INSERT INTO before"
            " SELECT id, round FROM selected ANTI JOIN before USING (id)"
        )
    for statement in _RESULTS:
        connection.execute(statement)


def add_needed(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    roots: str,
    *,
    without: str | None = None,
    by_root: bool = False,
) -> None:
    """Make a table of nodes with what they list, and what is attached to it.

    `roots` is a query for the column `id`. `without` names a table of nodes that are
    left out. With `by_root`, the table has what each root needs, in a column `root`.
    """
    # A recursive query would not spill to disk.
    left_out = f"ANTI JOIN {without} USING (id)" if without else ""
    root, key = ("root, ", "root, id") if by_root else ("", "id")
    first = "id AS root, " if by_root else ""
    connection.execute(
        f"CREATE OR REPLACE TABLE {table} AS SELECT {first}id, 0 AS round"
        f" FROM (SELECT DISTINCT id FROM ({roots}) WHERE id IS NOT NULL) {left_out}"
    )
    for number in range(MAX_ROUNDS):
        (added,) = connection.execute(
            f"""INSERT INTO {table}
                SELECT {key}, {number + 1}
                FROM (SELECT DISTINCT {root}child AS id
                      FROM edge JOIN {table} ON id = parent AND round = {number}
                      WHERE role <> 'tagged')
                     {left_out} ANTI JOIN {table} USING ({key})"""
        ).fetchone() or (0,)
        if not added:
            return
    raise UsageError(
        f"the report has attachments of attachments, nested more than {MAX_ROUNDS}"
        " levels deep: leave their repository out"
    )


# -- SQL --

# Whether the deletion of a doomed reference deletes its manifest.
_DELETES_MANIFEST = {
    DeleteBy.TAG: "tag IS NULL",
    DeleteBy.LAST_TAG: """
        tag IS NULL OR id NOT IN (
            SELECT id FROM tag ANTI JOIN doomed USING (reference)
            UNION SELECT id FROM pinned)""",
    DeleteBy.DIGEST: "true",
}

_TAG_LEFT = """
    CREATE OR REPLACE TABLE tag_left AS
    SELECT id, reference, tag.tag FROM tag
    ANTI JOIN doomed USING (reference) ANTI JOIN deleted_node USING (id)"""

# Named by no tag of the report, and nevertheless not known to be garbage: a reference
# by digest that no listing called untagged, and an attachment of an unknown subject.
_KEPT = """
    CREATE OR REPLACE TABLE kept AS
    SELECT DISTINCT id
    FROM line JOIN node USING (registry, repository, digest)
    WHERE kind = 'image' AND line.tag IS NULL
          AND (NOT untagged OR content = 'attachment')
          AND id NOT IN (SELECT child FROM edge WHERE role <> 'tagged')
          AND id NOT IN (SELECT id FROM tag)"""

_LIVING_AFTER = """
    SELECT id FROM tag_left UNION SELECT id FROM pinned UNION SELECT id FROM kept"""

_RESULTS = (
    "CREATE OR REPLACE TABLE gone AS SELECT id FROM before ANTI JOIN after USING (id)",
    """CREATE OR REPLACE TABLE freed_blob AS
       WITH candidate AS (
           SELECT DISTINCT scope, blob
           FROM gone JOIN node USING (id) JOIN manifest_blob ON manifest = digest),
       living AS (
           SELECT DISTINCT scope, blob
           FROM after JOIN node USING (id) JOIN manifest_blob ON manifest = digest
                SEMI JOIN candidate USING (scope, blob))
       SELECT scope, blob, size
       FROM candidate ANTI JOIN living USING (scope, blob)
            LEFT JOIN blob_size USING (blob)""",
    """CREATE OR REPLACE TABLE garbage_blob AS
       WITH candidate AS (
           SELECT DISTINCT scope, blob
           FROM (SELECT id FROM node ANTI JOIN before USING (id)) JOIN node USING (id)
                JOIN manifest_blob ON manifest = digest),
       living AS (
           SELECT DISTINCT scope, blob
           FROM before JOIN node USING (id) JOIN manifest_blob ON manifest = digest
                SEMI JOIN candidate USING (scope, blob))
       SELECT scope, blob, size
       FROM candidate ANTI JOIN living USING (scope, blob)
            LEFT JOIN blob_size USING (blob)""",
)
