"""Lists of references: text, JSON lines and CSV, read as a stream."""

from __future__ import annotations

from auditor.input.items import Item, Listed, Malformed
from auditor.input.lists import read_list
from auditor.sources.lists.files import open_list, read_list_file
from auditor.sources.lists.lines import read_lines

__all__ = [
    "Item",
    "Listed",
    "Malformed",
    "open_list",
    "read_lines",
    "read_list",
    "read_list_file",
]
