"""Lists as text: a reference a line, with comments."""

from __future__ import annotations

import re

from auditor.input.items import Item, read_selector

_COMMENT = re.compile(r"\s#")


def read_text(line: str, place: str) -> tuple[Item]:
    """The reference on a line. A `#` after a blank begins a comment."""
    text = _COMMENT.split(line, maxsplit=1)[0] if "#" in line else line
    return (read_selector(text.strip(), line, place),)
