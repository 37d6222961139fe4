"""Tables, code and help texts in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def inline_code(text: str) -> str:
    """Text as code, nothing for an empty one."""
    return f"`{text}`" if text else ""


def prose(text: str) -> str:
    """Help text as Markdown; what click must not wrap is a block."""
    parts = []
    for paragraph in re.sub(
        r"[ ]+$", "", text.replace("\r", ""), flags=re.MULTILINE
    ).split("\n\n"):
        if paragraph.startswith("\b"):
            parts.append(
                "```text\n" + paragraph.removeprefix("\b").strip("\n") + "\n```\n"
            )
        elif paragraph.strip():
            parts.append(" ".join(paragraph.split()).replace("<", "&lt;") + "\n")
    return "\n".join(parts)
