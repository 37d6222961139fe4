"""The rows of a table that a page shows, and how many there are in all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

from auditor.fast_dataclass import dataclass

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows(Generic[Row]):
    """The first rows, in an order that puts what matters first."""

    rows: tuple[Row, ...]
    total: int

    @classmethod
    def of(
        cls,
        found: Sequence[Mapping[str, Any]],
        make: Callable[[Mapping[str, Any]], Row],
    ) -> Self:
        """What `make` makes of rows that each say the `total`."""
        total = found[0]["total"] if found else 0
        return cls(rows=tuple(map(make, found)), total=total)

    @property
    def left_out(self) -> int:
        """How many rows are not shown."""
        return self.total - len(self.rows)
