"""Everything a run is asked to audit: arguments first, then the lists, in order."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from auditor.config import Settings
from auditor.input.items import read_selector
from auditor.input.lists import is_document
from auditor.sources.lists import Item, open_list, read_lines, read_list_file
from auditor.sources.lists.files import STANDARD_INPUT

_PATTERN = "*"
_PIECE_BYTES = 1024 * 1024


def items_of(
    settings: Settings, *, names: Mapping[str, str] | None = None
) -> Iterator[Item]:
    """The items of the settings' references and lists, read as they are needed.

    `names` are those of lists that are copies: what places are said to be in. Raises
    `UsageError` when a list cannot be read.
    """
    for number, text in enumerate(settings.references, 1):
        yield read_selector(text, text, f"reference {number}")
    for path in settings.lists:
        yield from read_list_file(path, name=(names or {}).get(path))


def check_lists(settings: Settings) -> None:
    """Open every list once: a name that is wrong is told before any work is done.

    Raises `UsageError`.
    """
    for path in settings.lists:
        if path != STANDARD_INPUT and _is_regular(path):
            with open_list(path):
                pass


def count_lines(settings: Settings) -> int | None:
    """How many references the settings may mean, or None where that is not known:
    a list that is no file, a tag pattern, a document with more than a line each."""
    if any(_PATTERN in text for text in settings.references):
        return None
    count = len(settings.references)
    for path in settings.lists:
        if path == STANDARD_INPUT or not _is_regular(path):
            return None
        with open_list(path) as stream:
            if is_document(read_lines(stream, path)):
                return None
            stream.seek(0)
            while piece := stream.read(_PIECE_BYTES):
                if _PATTERN.encode() in piece:
                    return None
                count += piece.count(b"\n")
    return count


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return True  # opening it says what is wrong
