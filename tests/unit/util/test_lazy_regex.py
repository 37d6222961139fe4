"""Lazily compiled patterns match like compiled ones."""

from __future__ import annotations

import re

import pytest

from auditor.util.lazy_regex import LazyPattern

SOURCE = r"(a+)([0-9]*)"


@pytest.mark.parametrize("text", ["", "a1", "aa", "b aa12 a", "A7"])
@pytest.mark.parametrize("flags", [0, re.IGNORECASE])
def test_a_lazy_pattern_matches_like_the_compiled_one(text: str, flags: int) -> None:
    lazy, compiled = LazyPattern(SOURCE, flags), re.compile(SOURCE, flags)

    def span_and_groups(found: re.Match[str] | None) -> object:
        return found and (found.span(), found.groups())

    for _ in range(2):
        assert span_and_groups(lazy.fullmatch(text)) == span_and_groups(
            compiled.fullmatch(text)
        )
        assert span_and_groups(lazy.match(text)) == span_and_groups(
            compiled.match(text)
        )
        assert span_and_groups(lazy.match(text, 2)) == span_and_groups(
            compiled.match(text, 2)
        )
        assert span_and_groups(lazy.match(text, 0, 1)) == span_and_groups(
            compiled.match(text, 0, 1)
        )
        assert span_and_groups(lazy.search(text)) == span_and_groups(
            compiled.search(text)
        )
        assert lazy.findall(text) == compiled.findall(text)
        assert lazy.split(text) == compiled.split(text)
        assert lazy.sub(r"\2", text) == compiled.sub(r"\2", text)
        assert lazy.sub(lambda m: m[0].upper(), text) == compiled.sub(
            lambda m: m[0].upper(), text
        )
