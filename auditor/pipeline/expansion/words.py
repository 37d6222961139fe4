"""What is said of a list out of which nothing comes."""

from __future__ import annotations


def none_matches(count: int, one: str, many: str, *, of: str, pattern: str) -> str:
    """That none of so many entries of a list is what was asked for."""
    if count == 1:
        return f"the one {one} of {of} does not match {pattern}"
    return f"none of the {count} {many} of {of} matches {pattern}"
