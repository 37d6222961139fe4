"""A list of any format: which one it is shows in its first meaningful line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat

from auditor.errors import UsageError
from auditor.input.items import Item, malformed
from auditor.sources.lists.csv_rows import Rows
from auditor.sources.lists.documents import document_format
from auditor.sources.lists.json_lines import read_json
from auditor.sources.lists.lines import MAX_LINE_CHARS
from auditor.sources.lists.text import read_text

# The start of a JSON array; a bracketed IPv6 host begins otherwise.
_JSON_ARRAY = re.compile(r'\s*\[\s*($|["{\[])')

# Comments before a document that are kept for its reader: in a Dockerfile they say how
# it is to be read (Dockerfile reference, "Parser directives").
MAX_OPENING_LINES = 100

# What a line says, and its place, to the items that it gives.
Format = Callable[[str, str], Iterable[Item]]


def read_list(lines: Iterable[str], name: str) -> Iterator[Item]:
    """An item for every line that says something; JSON `tags` give one for each.

    `name` is the list's name in places (`name:12`). Blank lines and those that begin
    with `#` say nothing. No more than one line is held, but of documents that mean
    something only as a whole (`documents.py`); a JSON array is a `UsageError`.
    """
    read: Format | None = None
    opening: list[str] = []
    lines = iter(lines)
    for number, line in enumerate(lines, 1):
        start = line.lstrip()
        if not says_something(line):
            if number <= MAX_OPENING_LINES:
                opening.append(line)
            continue
        place = f"{name}:{number}"
        if len(line) > MAX_LINE_CHARS:
            detail = f"the line is longer than {MAX_LINE_CHARS:,} characters"
            yield malformed(line, place, detail)
        elif read is not None:
            yield from read(line, place)
        elif rows := Rows.below(line):
            read = rows
        elif document := document_format(line):
            blank = repeat("", number - 1 - len(opening))
            whole = chain(opening, blank, (line,), lines)
            yield from document(whole, name)
            return
        else:
            read = read_json if start[0] == "{" else _text_unless_array(start, place)
            yield from read(line, place)


def is_document(lines: Iterable[str]) -> bool:
    """Whether a list is one whole document, in which a line is not a reference."""
    first = next(filter(says_something, lines), "")
    return document_format(first) is not None


def says_something(line: str) -> bool:
    """Whether a line is neither blank nor a comment."""
    start = line.lstrip()
    return bool(start) and start[0] != "#"


def _text_unless_array(line: str, place: str) -> Format:
    if _JSON_ARRAY.match(line):
        raise UsageError(
            f"{place}: a JSON array; one object a line is wanted,"
            " as `jq -c '.[]'` makes of it"
        )
    return read_text
