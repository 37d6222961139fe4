"""Everything a run is asked to audit: arguments first, then the lists, in order."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.config import Settings
from auditor.sources.lists import Item, read_list_file
from auditor.sources.lists.items import read_selector


def items_of(settings: Settings) -> Iterator[Item]:
    """The items of the settings' references and lists, read as they are needed.

    Raises `UsageError` when a list cannot be read.
    """
    for number, text in enumerate(settings.references, 1):
        yield read_selector(text, text, f"reference {number}")
    for path in settings.lists:
        yield from read_list_file(path)
