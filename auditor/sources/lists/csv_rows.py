"""Lists as CSV (RFC 4180) with a header: a row a line.

A field with a line break in it is refused where it begins: a quote that nobody
closes must not swallow the rest of a list.
"""

from __future__ import annotations

import csv
from typing import Self

from auditor.input.items import Item, malformed
from auditor.sources.lists.fields import COLUMNS, read_fields

DELIMITERS = (",", ";", "\t")


class Rows:
    """Reads the rows below a header, whose column names are lower case."""

    def __init__(self, delimiter: str, columns: tuple[str, ...]) -> None:
        self._delimiter = delimiter
        self._width = len(columns)
        self._wanted = [
            (columns.index(column), column) for column in COLUMNS if column in columns
        ]

    @classmethod
    def below(cls, line: str) -> Self | None:
        """The reader of what stands below this line; None if it is no header.

        A header has a column `reference` or `repository`.
        """
        for delimiter in DELIMITERS:
            try:
                cells = _split(line, delimiter)
            except csv.Error:
                continue
            columns = tuple(cell.strip().lower() for cell in cells)
            if "reference" in columns or "repository" in columns:
                return cls(delimiter, columns)
        return None

    def __call__(self, line: str, place: str) -> tuple[Item]:
        """The reference of a row. Fields of other columns mean nothing."""
        try:
            cells = _split(line.rstrip("\r\n"), self._delimiter)
        except csv.Error:
            detail = "the quotes on this line do not match"
            return (malformed(line, place, detail),)
        if len(cells) != self._width:
            detail = f"{len(cells)} fields where the header has {self._width}"
            return (malformed(line, place, detail),)
        fields = {column: cells[index].strip() for index, column in self._wanted}
        return (read_fields(fields, line, place),)


def _split(line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    return next(csv.reader((line,), delimiter=delimiter, strict=True))
