"""On which lines of a TOML file its keys stand: `tomllib` does not say.

For annotations and mistakes, so a near miss does no harm: a key that this reader does
not see is taken to stand where its section does.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter

# TOML 1.0, "Table" and "Array of Tables"; a comment may follow.
_HEADER = re.compile(r"\s*(\[\[?[^#]+?\]\]?)\s*(?:#.*)?")
# TOML 1.0, "Keys": bare, or quoted.
_KEY = re.compile(r"""\s*([A-Za-z0-9_-]+|"[^"\\]+"|'[^']+')\s*=""")

Place = tuple[str | int, ...]


def source_lines(text: str) -> dict[Place, int]:
    """Line numbers, from 1, by the path of a section or key.

    `("rules", "production", "max_size")`; `("waivers", 0, "reason")` where the section
    is one of several.
    """
    lines: dict[Place, int] = {}
    counts: Counter[Place] = Counter()
    section: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        if (header := _HEADER.fullmatch(line)) and (path := _path(header[1])):
            section = path
            if header[1].startswith("[["):
                section = (*path, counts[path])
                counts[path] += 1
            lines.setdefault(section, number)
        elif key := _KEY.match(line):
            lines.setdefault((*section, key[1].strip("\"'")), number)
    return lines


def _path(header: str) -> Place:
    """The names in a section's header; none where it is no header after all."""
    try:
        table: object = tomllib.loads(header)
    except tomllib.TOMLDecodeError:
        return ()
    names: list[str] = []
    while isinstance(table, dict | list) and table:
        if isinstance(table, list):
            table = table[0]
        else:
            name, table = next(iter(table.items()))
            names.append(name)
    return tuple(names)
