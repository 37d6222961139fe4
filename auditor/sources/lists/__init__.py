"""Lists of references: text, JSON lines and CSV, read as a stream."""

from __future__ import annotations

from auditor.sources.lists.files import open_list, read_list_file
from auditor.sources.lists.items import Item, Listed, Malformed
from auditor.sources.lists.lines import read_lines
from auditor.sources.lists.reader import read_list

__all__ = [
    "Item",
    "Listed",
    "Malformed",
    "open_list",
    "read_lines",
    "read_list",
    "read_list_file",
]
