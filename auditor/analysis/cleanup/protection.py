"""The manifests that a prune tool must not delete, whatever has no tag.

Prune tools that delete untagged manifests break images: the platforms of an index, its
attestations and the referrers of an image have no tags of their own.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

from auditor.analysis.cleanup.plan import rehearsed
from auditor.analysis.cleanup.plan_sql import RUNNING_UNKNOWN
from auditor.analysis.cleanup.rehearsal import Semantics, add_needed
from auditor.analysis.completeness import not_audited
from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA

if TYPE_CHECKING:
    import duckdb


class Role(StrEnum):
    """Why a manifest is needed; the first that applies."""

    TAG = "tag"  # a tag names it
    RUNNING = "running"  # a container runs it
    CHILD = "child"  # a living index lists it
    REFERRER = "referrer"  # it is attached to a living manifest
    REFERENCE = "reference"  # the report has it by digest; it may have a tag
    CONFIG = "config"  # with --blobs: the config of a living manifest
    LAYER = "layer"  # with --blobs: a layer of one


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedDigest:
    """A digest that must stay in a repository.

    - `needed_by`, `others`: a reference that needs it, and the number of further ones
    """

    schema: int = SCHEMA
    kind: str = "protected"
    registry: str
    repository: str
    digest: str
    role: Role
    needed_by: str
    others: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectionTotals:
    """The last line of `--format jsonl`.

    `unprotected` manifests of the report live by nothing: a prune tool may delete them.
    What a `failures` reference needs is unknown, and so is what is attached to
    `unexamined` images, what `running_unknown` running references run, and which blobs
    `unread` protected manifests have (0 without `--blobs`).
    """

    schema: int = SCHEMA
    kind: str = "totals"
    repositories: int
    digests: int
    unprotected: int
    failures: int
    unexamined: int
    running_unknown: int
    unread: int

    @property
    def is_complete(self) -> bool:
        """Whether nothing that must stay can be missing."""
        return not (
            self.failures or self.unexamined or self.running_unknown or self.unread
        )


class Protection:
    """The digests that must stay; usable while its connection is open."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, *, blobs: bool = False
    ) -> None:
        self._connection = connection
        (row,) = stream_rows(connection, _TOTALS)
        if not blobs:
            row["unread"] = 0
        self.totals = ProtectionTotals(**row)

    def digests(self, *, limit: int = 0) -> Iterator[ProtectedDigest]:
        """Each digest, by registry and repository."""
        rows = stream_rows(
            self._connection,
            "SELECT * FROM protected_digest ORDER BY registry, repository, digest"
            + limit_clause(limit),
        )
        return (ProtectedDigest(**{**row, "role": Role(row["role"])}) for row in rows)


@contextmanager
def open_protection(
    paths: Sequence[str], *, running: Sequence[str] = (), blobs: bool = False
) -> Iterator[Protection]:
    """What must stay of the reports; `running` are reports of images that run.

    `blobs`: with configs and layers, for tools that delete blobs. Raises `UsageError`
    for reports that cannot be read.
    """
    with rehearsed(paths, running=running, semantics=Semantics()) as connection:
        # With what runs: a running image may have lost its tag.
        add_needed(
            connection,
            "needed",
            "SELECT id FROM after UNION SELECT id FROM running_node",
        )
        connection.execute(_PROTECTED)
        connection.execute(_RUNNING_WITHOUT_A_LINE)
        if blobs:
            connection.execute(_BLOBS)
        yield Protection(connection, blobs=blobs)


# -- SQL --

_PROTECTED = """
       CREATE TABLE protected_digest AS
       WITH tags AS (
           SELECT id, min(reference) AS name, count(*) AS n FROM tag GROUP BY id),
       runs AS (
           SELECT id, min(reference) AS name, count(DISTINCT reference) AS n
           FROM running_node GROUP BY id),
       above AS (
           SELECT child AS id, role,
                  min(coalesce(tags.name, concat(registry, '/', repository, '@',
                                                 digest))) AS name, count(*) AS n
           FROM edge SEMI JOIN needed ON needed.id = parent
                JOIN node ON node.id = parent LEFT JOIN tags ON tags.id = parent
           GROUP BY ALL)
       SELECT registry, repository, digest,
              CASE WHEN tags.n > 0 THEN 'tag' WHEN runs.n > 0 THEN 'running'
                   WHEN lists.n > 0 THEN 'child' WHEN subjects.n > 0 THEN 'referrer'
                   ELSE 'reference' END AS role,
              coalesce(tags.name, runs.name, lists.name, subjects.name,
                       concat(registry, '/', repository, '@', digest)) AS needed_by,
              coalesce(tags.n, runs.n, lists.n, subjects.n, 1) - 1 AS others
       FROM needed JOIN node USING (id) LEFT JOIN tags USING (id)
            LEFT JOIN runs USING (id)
            LEFT JOIN (FROM above WHERE role = 'child') AS lists USING (id)
            LEFT JOIN (FROM above WHERE role = 'referrer') AS subjects USING (id)"""

# What runs by a tag that has moved since: only its own audit knows that it is there.
_RUNNING_WITHOUT_A_LINE = """
    INSERT INTO protected_digest
    SELECT registry, repository, digest, 'running', min(reference),
           count(DISTINCT reference) - 1
    FROM running_image ANTI JOIN node USING (registry, repository, digest)
    WHERE digest IS NOT NULL AND NOT is_absent
          AND registry IN (SELECT registry FROM node)
    GROUP BY registry, repository, digest"""

_BLOBS = """
    INSERT INTO protected_digest
    SELECT registry, repository, blob,
           CASE WHEN bool_or(content.config = blob) THEN 'config' ELSE 'layer' END,
           min(needed_by), count(*) - 1
    FROM protected_digest JOIN manifest_blob ON manifest = digest
         LEFT JOIN content ON content.manifest = manifest_blob.manifest
              AND content.config = blob
    WHERE blob <> digest
    GROUP BY registry, repository, blob"""

_TOTALS = f"""
    SELECT (SELECT count(*) FROM (SELECT DISTINCT registry, repository
                                  FROM protected_digest)) AS repositories,
           (SELECT count(*) FROM protected_digest) AS digests,
           (SELECT count(*) FROM node ANTI JOIN needed USING (id)) AS unprotected,
           (SELECT count(*) FROM line
            WHERE {not_audited("node")}) AS failures,
           (SELECT count(*) FROM line
            WHERE kind = 'image' AND content = 'image' AND unexamined) AS unexamined,
           {RUNNING_UNKNOWN} AS running_unknown,
           (SELECT count(*) FROM protected_digest
                                 ANTI JOIN known_manifest USING (digest)
            WHERE role NOT IN ('config', 'layer')) AS unread"""
