"""The storage of layers: bytes by repository, shared layers, probable base images.

A registry stores a layer once for all its repositories, and two registries store it
twice; bytes are counted accordingly. They are the compressed sizes that manifests
declare. Blobs that no manifest in the report refers to are not counted, nor are layers
with URLs of their own, which are not in the registry.

`open_layer_inventory` loads the report into tables and yields a `LayerInventory`. Each
of its methods makes one ranked table when first called.
"""

# ruff: noqa: S608  (the SQL is made of constants and quoted values)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from auditor.analysis.completeness import check_not_empty, several_days
from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.analysis.manifest_graph import PLATFORM_MANIFESTS, content_tables
from auditor.analysis.platform_sql import platform_name
from auditor.analysis.report_views import keep_last_lines, open_reports
from auditor.analysis.untagged_sql import RECORD, unused_untagged
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA

if TYPE_CHECKING:
    import duckdb

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
class Usage:
    """The storage of a repository, namespace or architecture of one registry.

    `manifests` and `layers` count distinct digests. `size` is in bytes: `unique` bytes
    are in no other group of the registry, so deleting this group frees them, and the
    rest is `shared`. `unsized` counts layers without a known size, which are in no sum.
    """

    schema: int = SCHEMA
    kind: UsageGroup
    registry: str
    name: str | None
    images: int
    manifests: int
    layers: int
    size: int
    unique: int
    shared: int
    unsized: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLayer:
    """A layer that several platform manifests contain."""

    schema: int = SCHEMA
    kind: str = "shared_layer"
    digest: str
    size: int | None
    manifests: int
    repositories: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The first `layers` layers of several manifests: probably a base image.

    `manifests` is the number of manifests that start with them and have more layers,
    `repositories` that of their repositories. `image` is a reference with a platform of
    exactly these layers, if the report has one. `top` is the digest of the last layer.
    """

    schema: int = SCHEMA
    kind: str = "base"
    image: str | None
    platform: str | None
    layers: int
    size: int
    unsized: int
    top: str
    manifests: int
    repositories: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBase:
    """A base image that manifests declare in annotations or labels.

    If the report has the base image, `confirmed` manifests start with its layers and
    `denied` ones do not. `current` is whether its name still points at the digest; None
    if the report does not have the name.
    """

    schema: int = SCHEMA
    kind: str = "named_base"
    name: str | None
    digest: str | None
    manifests: int
    repositories: int
    confirmed: int
    denied: int
    current: bool | None


Row = TypeVar("Row", Usage, SharedLayer, Base, NamedBase)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTotals:
    """The last line of `--format jsonl`. `size` is what the registries store.

    Not included are the layers of `failures` references, which could not be audited,
    and of `missing` manifests, which are not in their registry, or whose layers are too
    long for the report. `foreign` layers have URLs of their own and are not in the
    registry; they are in no other number.

    `untagged` manifests have no tag (`audit --untagged`); `untagged_unused` of them are
    needed by nothing, of `untagged_unknown` this is not known. `untagged_size` is in
    bytes: the layers that only the unused ones have.
    """

    schema: int = SCHEMA
    kind: str = "totals"
    images: int
    manifests: int
    layers: int
    size: int
    unsized: int
    failures: int
    missing: int
    foreign: int
    untagged: int
    untagged_unused: int
    untagged_unknown: int
    untagged_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedRows(Generic[Row]):
    """The first rows of a table, iterable once, and the number of all rows."""

    total: int
    rows: Iterator[Row]


class LayerInventory:
    """The layers of a report; usable while its connection is open.

    A `limit` of 0 means no limit.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        (row,) = stream_rows(connection, _TOTALS)
        self.totals = LayerTotals(**row)

    def notices(self) -> Iterator[str]:
        """Sentences about the report, safe to print."""
        return several_days(self._connection)

    def usage(self, group: UsageGroup, *, limit: int = 0) -> RankedRows[Usage]:
        """Bytes by group, sorted by the bytes that deleting it frees, most first."""
        return self._ranked(_usage_table(group), Usage, limit)

    def shared_layers(self, *, limit: int = 0) -> RankedRows[SharedLayer]:
        """Shared layers, most repositories first, then most manifests."""
        return self._ranked(_SHARED_LAYERS, SharedLayer, limit)

    def bases(self, *, limit: int = 0) -> RankedRows[Base]:
        """Probable base images, most repositories first, then most manifests."""
        return self._ranked(_BASES, Base, limit)

    def named_bases(self, *, limit: int = 0) -> RankedRows[NamedBase]:
        """Declared base images, most repositories first, then most manifests."""
        return self._ranked(_NAMED_BASES, NamedBase, limit)

    def _ranked(
        self, table: _RankedTable, row_type: type[Row], limit: int
    ) -> RankedRows[Row]:
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table.name} AS {table.body}"
        )
        (counts,) = stream_rows(
            self._connection, f"SELECT count(*) AS total FROM {table.name}"
        )
        rows = stream_rows(
            self._connection,
            f"SELECT * FROM {table.name} ORDER BY {table.order}{limit_clause(limit)}",
        )
        return RankedRows(**counts, rows=(row_type(**row) for row in rows))


@contextmanager
def open_layer_inventory(
    paths: Sequence[str], *, allow_empty: bool = False
) -> Iterator[LayerInventory]:
    """Load the layers of a report, given as files or globs.

    If the report has several lines of a reference, the last one counts. Raises
    `UsageError` for a report that is empty, unless `allow_empty` is set.
    """
    with open_reports(paths, schema="report", views=()) as connection:
        if not allow_empty:
            check_not_empty(connection, "there are no layers to look into")
        connection.execute("USE main")
        connection.execute(_LOAD_LINES)
        connection.execute(keep_last_lines("line", "reference"))
        for statement in (*_LOAD_TABLES, _LOAD_UNTAGGED):
            connection.execute(statement)
        yield LayerInventory(connection)


# -- SQL --
# Many references share few manifests, so what a report repeats for each reference is
# stored once: `line` (a reference), `image_manifests` (the platform manifests of the
# images of each repository) and `manifests` (their layers). The report is read twice
# for this: all its layer lists at once would take more space than the report itself.


@dataclass(frozen=True, slots=True, kw_only=True)
class _RankedTable:
    """A table that is made when it is first used, and the order of its rows."""

    name: str
    body: str
    order: str


_LOAD_LINES = f"""
    CREATE TABLE line AS
    SELECT registry, repository, tag, kind, failure, status, audited_at,
           {RECORD},
           [{{platform: {platform_name("p")},
              manifest: p.digest, present: p.layers IS NOT NULL, base: p.base}}
            FOR p IN platforms] AS platforms,
           {PLATFORM_MANIFESTS} AS manifests
    FROM report.lines"""

_LOAD_TABLES = (
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
_LOAD_UNTAGGED = f"""
    CREATE TABLE untagged AS
    SELECT DISTINCT registry, repository, digest AS image, unused FROM ({_UNTAGGED})"""

_TOTALS = """
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


def _usage_table(group: UsageGroup) -> _RankedTable:
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
    return _RankedTable(name=f"usage_{group}", body=body, order=order)


_REPOSITORY_MANIFESTS = """
    SELECT DISTINCT registry, repository, manifest FROM image_manifests WHERE present"""

_SHARED_LAYERS = _RankedTable(
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
_BASES = _RankedTable(
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

_NAMED_BASES = _RankedTable(
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
