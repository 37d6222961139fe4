"""The rows of a table that a page shows, and how many there are in all."""

from __future__ import annotations

from typing import Generic, TypeVar

from auditor.values import dataclass

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows(Generic[Row]):
    """The first rows, in an order that puts what matters first."""

    rows: tuple[Row, ...]
    total: int

    @property
    def left_out(self) -> int:
        """How many rows are not shown."""
        return self.total - len(self.rows)
