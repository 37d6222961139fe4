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
from typing import TYPE_CHECKING, Generic, TypeVar

from auditor.analysis import layers_sql as sql
from auditor.analysis.completeness import check_not_empty, several_days
from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.analysis.layers_sql import UsageGroup
from auditor.analysis.report_views import keep_last_lines, open_reports
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The storage of a repository, namespace or architecture of one registry.

    - `manifests`, `layers`: number of distinct digests
    - `size`: bytes of its distinct layers
    - `unique`: bytes that no other group of the registry has: deleting it frees them
    - `shared`: the rest
    - `unsized`: number of layers without a known size, which are in no sum
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
    """The first layers of several manifests: probably a base image.

    - `image`: a reference with a platform of exactly these layers, if the report has
      one
    - `layers`: number of its layers
    - `top`: the digest of the last layer
    - `manifests`: number of manifests that start with them and have more layers
    - `repositories`: number of the repositories of these
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

    - `manifests`, `repositories`: number of those that name it
    - `confirmed`, `denied`: manifests that start with its layers, and that do not, if
      the report has the base image
    - `current`: whether its name still points at the digest; None if the report does
      not have the name
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
    """The last line of `--format jsonl`.

    - `size`: bytes that the registries store
    - `unsized`: number of layers without a known size
    - `failures`: references that were not audited, whose layers are not included
    - `missing`: manifests that are not in their registry, or whose layers are too long
      for the report; neither are theirs
    - `foreign`: layers with URLs of their own, which are in no other number
    - `untagged`: manifests without a tag (`audit --untagged`)
    - `untagged_unused`: those of them that nothing needs
    - `untagged_unknown`: those of which this is not known
    - `untagged_size`: bytes of the layers that only the unused ones have
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
        (row,) = stream_rows(connection, sql.TOTALS)
        self.totals = LayerTotals(**row)

    def notices(self) -> Iterator[str]:
        """Sentences about the report, safe to print."""
        return several_days(self._connection)

    def usage(self, group: UsageGroup, *, limit: int = 0) -> RankedRows[Usage]:
        """Bytes by group, sorted by the bytes that deleting it frees, most first."""
        return self._ranked(sql.usage_table(group), Usage, limit)

    def shared_layers(self, *, limit: int = 0) -> RankedRows[SharedLayer]:
        """Shared layers, most repositories first, then most manifests."""
        return self._ranked(sql.SHARED_LAYERS, SharedLayer, limit)

    def bases(self, *, limit: int = 0) -> RankedRows[Base]:
        """Probable base images, most repositories first, then most manifests."""
        return self._ranked(sql.BASES, Base, limit)

    def named_bases(self, *, limit: int = 0) -> RankedRows[NamedBase]:
        """Declared base images, most repositories first, then most manifests."""
        return self._ranked(sql.NAMED_BASES, NamedBase, limit)

    def _ranked(
        self, table: sql.RankedTable, row_type: type[Row], limit: int
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
        connection.execute(sql.LOAD_LINES)
        connection.execute(keep_last_lines("line", "reference"))
        for statement in (*sql.LOAD_TABLES, sql.LOAD_UNTAGGED):
            connection.execute(statement)
        yield LayerInventory(connection)
