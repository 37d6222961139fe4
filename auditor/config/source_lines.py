"""On which lines of a TOML file its keys stand: `tomllib` does not say.

The file is taken apart into statements, each of which `tomllib` reads by itself: so
what stands in a text or a list of several lines is never taken for a key.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping

# Where a line break may stand within a statement (TOML 1.0, "String", "Array"), and
# what may hide a bracket. No two ways lead through one, so that each is read once.
_TOKEN = re.compile(
    r'"""(?:[^"\\]++|\\[\s\S]|"(?!""))*"{3,5}'
    r"|'''(?:[^']++|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]++|\\.)*"'
    r"|'[^'\n]*+'"
    r"|\#[^\n]*+"
    r"|[\[{]|[\]}]|\n"
)
# No file of ours has keys that are deeper: `[[waivers]]` in a section would be three.
_MOST_PARTS = 8

Path = tuple[str | int, ...]


def source_lines(text: str) -> dict[Path, int]:
    """Line numbers, from 1, by the path of a section or key; the text is valid TOML.

    `("rules", "production", "max_size")`; `("waivers", 0, "reason")` where the section
    is one of several. What stands in several places is where it stands first.
    """
    lines: dict[Path, int] = {}
    counts: Counter[Path] = Counter()
    section: Path = ()
    for number, statement in _statements(text):
        table = tomllib.loads(statement)
        if statement.startswith("["):
            section = _section(table, counts, several=statement.startswith("[["))
            paths: Iterator[Path] = iter(
                section[:length] for length in range(1, len(section) + 1)
            )
        else:
            paths = _paths(table, section)
        for path in paths:
            lines.setdefault(path, number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each header and each pair of a key and its value, with its first line."""
    start = depth = 0
    number = next_number = 1
    for token in _TOKEN.finditer(text):
        found = token[0]
        next_number += found.count("\n")
        if found in "[{":
            depth += 1
        elif found in "]}":
            depth -= 1
        elif found == "\n" and not depth:
            if statement := text[start : token.start()].strip():
                yield number, statement
            start, number = token.end(), next_number
    if statement := text[start:].strip():
        yield number, statement


def _section(
    table: Mapping[str, object], counts: Counter[Path], *, several: bool
) -> Path:
    """The path of a header, which belongs to the last one of several above it."""
    path: Path = ()
    inner: object = table
    while isinstance(inner, dict) and inner and len(path) < _MOST_PARTS:
        name, inner = next(iter(inner.items()))
        path = (*path, name)
        if several and isinstance(inner, list):
            counts[path] += 1
        if counts[path]:
            path = (*path, counts[path] - 1)
    return path


def _paths(table: Mapping[str, object], section: Path) -> Iterator[Path]:
    """The paths of a key and of those in its inline table."""
    above: list[tuple[Path, Mapping[str, object]]] = [(section, table)]
    while above:
        path, inner = above.pop()
        for name, value in inner.items():
            here = (*path, name)
            yield here
            if isinstance(value, dict) and len(here) < _MOST_PARTS:
                above.append((here, value))
