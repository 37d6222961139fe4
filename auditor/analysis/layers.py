"""What layers share: bytes by repository, what deleting would free, probable bases.

A registry stores a layer once, however many repositories hold it (distribution keeps
blobs by digest), and two registries store it twice: bytes are counted so. They are the
compressed bytes that manifests tell; what nothing in the report refers to is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from auditor.analysis import layers_sql as sql
from auditor.analysis.expressions import keep_last_lines
from auditor.analysis.layers_sql import Group
from auditor.analysis.named_bases_sql import NAMED_BASES
from auditor.analysis.reports import open_reports
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA

if TYPE_CHECKING:
    import duckdb

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
    kind: Group
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
class Totals:
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
class Answer(Generic[Row]):
    """The rows that were asked for, to be read once, and how many there are in all."""

    total: int
    rows: Iterator[Row]


class Inventory:
    """The layers of a report; ask it as often as you like.

    A `limit` of 0 means no limit.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        (row,) = self._rows(sql.TOTALS)
        self.totals = Totals(**row)

    def usage(self, group: Group, *, limit: int = 0) -> Answer[Usage]:
        """Those whose deletion frees most first."""
        return self._answer(sql.usage(group), Usage, limit)

    def shared_layers(self, *, limit: int = 0) -> Answer[SharedLayer]:
        """Those in most repositories first, then in most manifests."""
        return self._answer(sql.SHARED_LAYERS, SharedLayer, limit)

    def bases(self, *, limit: int = 0) -> Answer[Base]:
        """Those that most repositories build on first, then most manifests."""
        return self._answer(sql.BASES, Base, limit)

    def named_bases(self, *, limit: int = 0) -> Answer[NamedBase]:
        """Those that most repositories name first, then most manifests."""
        return self._answer(NAMED_BASES, NamedBase, limit)

    def _answer(self, query: sql.Query, row: type[Row], limit: int) -> Answer[Row]:
        self._connection.execute(query.make)
        ((total,),) = self._connection.execute(query.count).fetchall()
        rows = (row(**fields) for fields in self._rows(query.rows(limit)))
        return Answer(total=total, rows=rows)

    def _rows(self, query: str) -> Iterator[dict[str, Any]]:
        # A cursor of its own: several iterations may go on at once.
        rows = self._connection.cursor().execute(query)
        names = [column[0] for column in rows.description or ()]
        while batch := rows.fetchmany(BATCH_ROWS):
            for row in batch:
                yield dict(zip(names, row, strict=True))


@contextmanager
def open_inventory(paths: Sequence[str]) -> Iterator[Inventory]:
    """The layers of a report: a file, several or globs.

    Where it has several lines of a reference, its last one counts.
    """
    with open_reports(paths, schema="report") as connection:
        connection.execute("USE main")
        connection.execute(sql.REFERENCES)
        connection.execute(keep_last_lines("line", "reference"))
        for statement in sql.TABLES:
            connection.execute(statement)
        yield Inventory(connection)
