"""Where in a document something stands."""

from __future__ import annotations

from auditor.input.yaml_tree import line_of
from auditor.util.text import safe_text


def place_of(name: str, *values: object) -> str:
    """`name:line` of the first value whose line is known, else `name:` and the last.

    JSON documents have no lines that are worth telling.
    """
    for value in values:
        if (line := line_of(value)) is not None:
            return f"{name}:{line}"
    return f"{name}:{safe_text(str(values[-1]), 80)}"
