"""What layers share: bytes by repository, what deleting would free, probable bases.

A registry stores a layer once, however many repositories hold it (distribution keeps
blobs by digest), and two registries store it twice: bytes are counted so. They are the
compressed bytes that manifests tell; what nothing in the report refers to is not known.
"""

# ruff: noqa: S608  (SQL is made of this program's own texts, values are quoted)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from auditor.analysis.reports import keep_last_lines, open_reports, platform_name
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA

if TYPE_CHECKING:
    import duckdb

# -- layers_sql --
# The statements behind `layers`.
#
# Many references share few manifests, so what a report repeats for each of them is kept
# once: `line` (what a reference names), `holds` (which image of which repository holds
# which manifest of a platform) and `manifests` (its layers). The report is read twice for
# that: all its layer lists together would take more room than the report itself.

# Docker stacks at most 127 layers ("max depth exceeded"), so no base image has more;
# and a hostile manifest of 28,000 layers costs no more than this.
MAX_BASE_LAYERS = 127

# The descriptors of hostile manifests may add up to more than 64 bits hold.
MAX_BYTES = 2**63 - 1


class UsageGroup(StrEnum):
    """By what bytes are summed. A namespace is a repository's first component."""

    REPOSITORY = "repository"
    NAMESPACE = "namespace"
    ARCHITECTURE = "architecture"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedTable:
    """A table that is made when it is first asked for, and its order."""

    table: str
    body: str
    order: str

    @property
    def make(self) -> str:
        """The statement that makes the table unless it is there."""
        return f"CREATE TABLE IF NOT EXISTS {self.table} AS {self.body}"

    @property
    def count(self) -> str:
        """Its number of rows."""
        return f"SELECT count(*) FROM {self.table}"

    def rows(self, limit: int) -> str:
        """Its first rows; a limit of 0 means all."""
        query = f"SELECT * FROM {self.table} ORDER BY {self.order}"
        return f"{query} LIMIT {limit}" if limit else query


REFERENCES = f"""
    CREATE TABLE line AS
    SELECT reference, registry, repository, kind, digest AS image, audited_at,
           [{{platform: {platform_name("p")},
              manifest: p.digest, there: p.layers IS NOT NULL, base: p.base}}
            FOR p IN platforms] AS platforms
    FROM report.lines"""

TABLES = (
    f"CREATE MACRO bytes(n) AS least(coalesce(n, 0), {MAX_BYTES})::BIGINT",
    """CREATE TABLE holds AS
       SELECT DISTINCT registry, repository, image, p.platform, p.manifest, p.there
       FROM (SELECT *, unnest(platforms) AS p FROM line)""",
    # The line from which a manifest's layers are taken.
    """CREATE TABLE chosen AS
       SELECT manifest, reference
       FROM (SELECT p.manifest, min(line.rowid) AS id
             FROM (SELECT rowid, unnest(platforms) AS p FROM line) AS line
             WHERE p.there GROUP BY p.manifest)
            JOIN line ON line.rowid = id""",
    """CREATE TABLE manifests AS
       SELECT p.digest AS manifest, audited_at,
              [l.digest FOR l IN p.layers] AS layers,
              [l.size FOR l IN p.layers] AS sizes
       FROM (SELECT reference, audited_at, unnest(platforms) AS p
             FROM report.images) AS image
            SEMI JOIN chosen ON chosen.manifest = p.digest
                                AND chosen.reference = image.reference
       WHERE p.layers IS NOT NULL""",
    keep_last_lines("manifests", "manifest"),
    # A row for each layer of each manifest; where these disagree on a layer's size,
    # the largest counts.
    """CREATE TABLE held_layers AS
       SELECT DISTINCT manifest, unnest(layers) AS digest FROM manifests""",
    """CREATE TABLE sizes AS
       SELECT digest, max(size) AS size
       FROM (SELECT unnest(layers) AS digest, unnest(sizes) AS size FROM manifests)
       GROUP BY digest""",
)

TOTALS = """
    SELECT (SELECT count(*) FROM line WHERE kind = 'image') AS images,
           (SELECT count(*) FROM manifests) AS manifests,
           count(*) AS layers, bytes(sum(size)) AS size,
           count(*) FILTER (size IS NULL) AS unsized,
           (SELECT count(*) FROM line WHERE kind = 'failure') AS failures,
           (SELECT count(*) FROM (SELECT DISTINCT registry, manifest
                                  FROM holds WHERE NOT there)) AS missing
    FROM (SELECT DISTINCT registry, digest
          FROM holds JOIN held_layers USING (manifest) WHERE there)
         JOIN sizes USING (digest)"""

_NAMESPACE = "CASE WHEN contains(repository, '/') THEN split_part(repository, '/', 1)"
_NAMES = {
    UsageGroup.REPOSITORY: "repository",
    UsageGroup.NAMESPACE: f"{_NAMESPACE} ELSE '' END",
    UsageGroup.ARCHITECTURE: "platform",
}


def usage(group: UsageGroup) -> RankedTable:
    """Bytes by group: its layers, those of no other group, and those of others too."""
    name = _NAMES[group]
    images = "SELECT * FROM line WHERE kind = 'image'"
    if group is UsageGroup.ARCHITECTURE:
        images = """SELECT DISTINCT registry, reference, p.platform
                    FROM (SELECT *, unnest(platforms) AS p FROM line) WHERE p.there"""
    body = f"""
        WITH groups AS (
            SELECT registry, {name} AS name, count(*) AS images
            FROM ({images}) GROUP BY ALL),
        members AS (
            SELECT DISTINCT registry, {name} AS name, manifest FROM holds WHERE there),
        layers AS (
            SELECT DISTINCT registry, name, digest
            FROM members JOIN held_layers USING (manifest)),
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
               bytes(size) AS size,
               bytes(alone) AS "unique",
               bytes(size - coalesce(alone, 0)) AS shared,
               coalesce(unsized, 0) AS unsized
        FROM groups LEFT JOIN sums USING (registry, name)
             LEFT JOIN (SELECT registry, name, count(*) AS manifests
                        FROM members GROUP BY ALL) USING (registry, name)
        """
    order = "\"unique\" DESC, size DESC, registry, coalesce(name, '')"
    return RankedTable(table=f"usage_{group}", body=body, order=order)


_HOLDERS = "SELECT DISTINCT registry, repository, manifest FROM holds WHERE there"

SHARED_LAYERS = RankedTable(
    table="shared_layers",
    body=f"""
        WITH by_manifest AS (
            SELECT digest, count(*) AS manifests FROM held_layers GROUP BY digest),
        by_repository AS (
            SELECT digest, count(*) AS repositories
            FROM (SELECT DISTINCT digest, registry, repository
                  FROM ({_HOLDERS}) JOIN held_layers USING (manifest))
            GROUP BY digest)
        SELECT digest, size, manifests, repositories
        FROM by_manifest JOIN by_repository USING (digest) JOIN sizes USING (digest)
        WHERE manifests > 1 OR repositories > 1""",
    order="repositories DESC, manifests DESC, coalesce(size, 0) DESC, digest",
)

# A prefix is a base where manifests part ways: some end there or go on differently,
# which is to say that no longer prefix has as many manifests.
BASES = RankedTable(
    table="bases",
    body=f"""
        WITH prefixes AS MATERIALIZED (
            SELECT manifest, n, len(layers) > n AS goes_on,
                   md5_number(array_to_string(layers[1:n], ' ')) AS prefix,
                   md5_number(array_to_string(layers[1:n - 1], ' ')) AS parent
            FROM (SELECT *, unnest(range(1, least(len(layers), {MAX_BASE_LAYERS}) + 1))
                            AS n FROM manifests)),
        counted AS (
            SELECT prefix, n, parent, count(*) AS sharers,
                   count(*) FILTER (goes_on) AS manifests
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
                       JOIN ({_HOLDERS}) USING (manifest)
                  WHERE goes_on)
            GROUP BY prefix),
        itself AS (
            SELECT prefix, min_by(reference, row(length(reference), reference)) AS image
            FROM prefixes SEMI JOIN found USING (prefix)
                 JOIN holds USING (manifest)
                 JOIN line USING (registry, repository, image)
            WHERE NOT goes_on AND there
                  -- of two lines with one digest, one may lack the manifest
                  AND list_contains(
                      [p.manifest FOR p IN platforms IF p.there], manifest)
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
            FROM holds WHERE there AND manifest IN (SELECT example FROM examples)
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


# -- named_bases_sql --
# The bases that images name themselves, held against what the report knows.
#
# A base's digest may be that of a manifest or of an index; of an index, the manifest of
# the image's own platform is meant.

# What docker leaves out of a name, and the report's references do not.
_SPELLINGS = "[name, 'docker.io/' || name, 'docker.io/library/' || name]"

NAMED_BASES = RankedTable(
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
        """,
    order="repositories DESC, manifests DESC, name, digest",
)


# Rows that Python holds at once: some megabytes.
BATCH_ROWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a repository, namespace or architecture of one registry holds.

    `manifests` and `layers` count distinct ones. `size` bytes are `unique`, held by
    nothing else of this kind in the registry, so that deleting it frees them, and
    `shared`. `unsized` layers have no known size and are in no sum.
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
    """A layer that several manifests of platforms hold."""

    schema: int = SCHEMA
    kind: str = "shared_layer"
    digest: str
    size: int | None
    manifests: int
    repositories: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The first `layers` layers of several manifests: probably a base image.

    `manifests` hold them and more, in so many `repositories`. `image` is a reference
    whose platform consists of just these layers, if the report has one. `top` is the
    digest of the last of them.
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
    """A base image that so many manifests, in so many repositories, name themselves.

    Where the report holds it, `confirmed` manifests begin with its layers and `denied`
    ones do not. `current` says whether the name still points at the digest; null
    where the report does not hold the name.
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
    """What was looked at. `size` is what the registries store, layers only.

    `failures` were not audited and `missing` manifests are not in their registry:
    what these hold is not known.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedRows(Generic[Row]):
    """The rows that were asked for, to be read once, and how many there are in all."""

    total: int
    rows: Iterator[Row]


class LayerInventory:
    """The layers of a report; ask it as often as you like.

    A `limit` of 0 means no limit.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        (row,) = self._rows(TOTALS)
        self.totals = LayerTotals(**row)

    def usage(self, group: UsageGroup, *, limit: int = 0) -> RankedRows[Usage]:
        """Those whose deletion frees most first."""
        return self._answer(usage(group), Usage, limit)

    def shared_layers(self, *, limit: int = 0) -> RankedRows[SharedLayer]:
        """Those in most repositories first, then in most manifests."""
        return self._answer(SHARED_LAYERS, SharedLayer, limit)

    def bases(self, *, limit: int = 0) -> RankedRows[Base]:
        """Those that most repositories build on first, then most manifests."""
        return self._answer(BASES, Base, limit)

    def named_bases(self, *, limit: int = 0) -> RankedRows[NamedBase]:
        """Those that most repositories name first, then most manifests."""
        return self._answer(NAMED_BASES, NamedBase, limit)

    def _answer(
        self, query: RankedTable, row: type[Row], limit: int
    ) -> RankedRows[Row]:
        self._connection.execute(query.make)
        ((total,),) = self._connection.execute(query.count).fetchall()
        rows = (row(**fields) for fields in self._rows(query.rows(limit)))
        return RankedRows(total=total, rows=rows)

    def _rows(self, query: str) -> Iterator[dict[str, Any]]:
        # A cursor of its own: several iterations may go on at once.
        rows = self._connection.cursor().execute(query)
        names = [column[0] for column in rows.description or ()]
        while batch := rows.fetchmany(BATCH_ROWS):
            for row in batch:
                yield dict(zip(names, row, strict=True))


@contextmanager
def open_layer_inventory(paths: Sequence[str]) -> Iterator[LayerInventory]:
    """The layers of a report: a file, several or globs.

    Where it has several lines of a reference, its last one counts.
    """
    with open_reports(paths, schema="report") as connection:
        connection.execute("USE main")
        connection.execute(REFERENCES)
        connection.execute(keep_last_lines("line", "reference"))
        for statement in TABLES:
            connection.execute(statement)
        yield LayerInventory(connection)
