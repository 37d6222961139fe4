"""Numbers of things in sentences: `1 page`, `2 pages`."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """So many of something; `many` is its plural, if that does not end in another s."""
    return f"{count} {noun(count, one, many)}"


def noun(count: int, one: str, many: str | None = None) -> str:
    """What stands behind a number, where that is written in its own way."""
    return one if count == 1 else many or f"{one}s"
