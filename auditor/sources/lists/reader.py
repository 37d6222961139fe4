"""A list of any format: which one it is shows in its first meaningful line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from auditor.errors import UsageError
from auditor.sources.lists.csv_rows import Rows
from auditor.sources.lists.items import Item, malformed
from auditor.sources.lists.json_lines import read_json
from auditor.sources.lists.lines import MAX_LINE_CHARS
from auditor.sources.lists.text import read_text

# The start of a JSON array; a bracketed IPv6 host begins otherwise.
_JSON_ARRAY = re.compile(r'\s*\[\s*($|["{\[])')

# What a line says, and its place, to the items that it gives.
Format = Callable[[str, str], Iterable[Item]]


def read_list(lines: Iterable[str], name: str) -> Iterator[Item]:
    """An item for every line that says something; JSON `tags` give one for each.

    `name` is the list's name in places (`name:12`). Blank lines and those that begin
    with `#` say nothing. No more than one line is held; a JSON array, which would
    have to be held whole, is a `UsageError`.
    """
    read: Format | None = None
    for number, line in enumerate(lines, 1):
        start = line.lstrip()
        if not start or start[0] == "#":
            continue
        place = f"{name}:{number}"
        if len(line) > MAX_LINE_CHARS:
            detail = f"the line is longer than {MAX_LINE_CHARS:,} characters"
            yield malformed(line, place, detail)
        elif read is not None:
            yield from read(line, place)
        elif rows := Rows.below(line):
            read = rows
        else:
            read = read_json if start[0] == "{" else _text_unless_array(start, place)
            yield from read(line, place)


def _text_unless_array(line: str, place: str) -> Format:
    if _JSON_ARRAY.match(line):
        raise UsageError(
            f"{place}: a JSON array; one object a line is wanted,"
            " as `jq -c '.[]'` makes of it"
        )
    return read_text
