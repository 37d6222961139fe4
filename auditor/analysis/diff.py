"""What changed between two reports: DuckDB joins them, Python sees the differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from auditor.analysis import diff_sql as sql
from auditor.analysis.change import (
    Change,
    Difference,
    Facet,
    Grown,
    Growth,
    Side,
    State,
    Totals,
)
from auditor.analysis.expressions import keep_last_lines
from auditor.analysis.reports import add_reports, open_reports
from auditor.errors import UsageError
from auditor.util.text import safe_text

if TYPE_CHECKING:
    import duckdb

# Rows that Python holds at once: some megabytes.
BATCH_ROWS = 2000


class Comparison:
    """Two reports that were compared; ask it as often as you like."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.totals = _totals(connection)

    def differences(
        self, only: Change | Facet | None = None, *, limit: int = 0
    ) -> Iterator[Difference]:
        """Those of a class or facet, or all, by class and then by reference.

        A `limit` of 0 means all of them.
        """
        query = sql.differences(only, limit)
        # A cursor of its own: several iterations may go on at once.
        rows = self._connection.cursor().execute(query)
        while batch := rows.fetchmany(BATCH_ROWS):
            yield from map(_difference, batch)


@contextmanager
def compare(
    old: Sequence[str],
    new: Sequence[str],
    *,
    ignore_registry: bool = False,
    growth: Growth | None = None,
) -> Iterator[Comparison]:
    """Compare two reports, each a file, several or globs.

    Where a report has several lines of a reference, its last one counts. With
    `ignore_registry` a reference is named without its registry; `UsageError` where a
    report holds one name from two registries.
    """
    with open_reports(old, schema="old_report") as connection:
        add_reports(connection, new, schema="new_report")
        connection.execute("USE main")
        for side in ("old", "new"):
            connection.execute(sql.load(side, ignore_registry=ignore_registry))
            if ignore_registry:
                _check_one_registry(connection, side)
            connection.execute(keep_last_lines(side, "key"))
            connection.execute(sql.failed_listings(side))
        for side, other in (("old", "new"), ("new", "old")):
            connection.execute(
                sql.hidden_by_listing(side, other, ignore_registry=ignore_registry)
            )
        connection.execute(sql.listed_again(ignore_registry=ignore_registry))
        connection.execute(sql.CLASSIFIED)
        connection.execute(sql.growth(growth or Growth(percent=10.0)))
        connection.execute(sql.DIFFERENCES)
        yield Comparison(connection)


def _check_one_registry(connection: duckdb.DuckDBPyConnection, side: str) -> None:
    found = connection.execute(sql.two_registries(side)).fetchone()
    if found is not None:
        name, one, other = (safe_text(part, 500) for part in found)
        raise UsageError(
            f"--ignore-registry: the {side} report holds {name} from {one} and from"
            f" {other}; compare reports of one registry each"
        )


def _totals(connection: duckdb.DuckDBPyConnection) -> Totals:
    counts = dict(connection.execute(sql.CLASS_COUNTS).fetchall())
    facets = connection.execute(sql.FACET_COUNTS).fetchone()
    assert facets is not None
    return Totals(
        old=_side(connection, "old"),
        new=_side(connection, "new"),
        changes={change: counts.get(change.value, 0) for change in Change},
        facets=dict(zip(Facet, facets, strict=True)),
    )


def _side(connection: duckdb.DuckDBPyConnection, side: str) -> Side:
    found = connection.execute(sql.side_totals(side)).fetchone()
    assert found is not None
    images, failures, first, last = found
    return Side(images=images, failures=failures, audited_from=first, audited_to=last)


def _difference(row: tuple[Any, ...]) -> Difference:
    change, reference, registry, repository, tag, old, new, *lists, grown = row
    gained, lost, attached, unattached = map(tuple, lists)
    return Difference(
        change=Change(change),
        reference=reference,
        registry=registry,
        repository=repository,
        tag=tag,
        old=State(**old) if old else None,
        new=State(**new) if new else None,
        architectures_gained=gained,
        architectures_lost=lost,
        attachments_gained=attached,
        attachments_lost=unattached,
        grown=tuple(Grown(**one) for one in grown),
    )
