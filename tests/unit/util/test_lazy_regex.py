"""`auditor.pattern`: the same answers as the expression itself gives."""

from __future__ import annotations

import re

import pytest

from auditor.util.lazy_regex import LazyPattern

SOURCE = r"(a+)([0-9]*)"


@pytest.mark.parametrize("text", ["", "a1", "aa", "b aa12 a", "A7"])
@pytest.mark.parametrize("flags", [0, re.IGNORECASE])
def test_a_lazy_pattern_matches_like_the_compiled_one(text: str, flags: int) -> None:
    lazy, compiled = LazyPattern(SOURCE, flags), re.compile(SOURCE, flags)

    def seen(found: re.Match[str] | None) -> object:
        return found and (found.span(), found.groups())

    for _ in range(2):
        assert seen(lazy.fullmatch(text)) == seen(compiled.fullmatch(text))
        assert seen(lazy.match(text)) == seen(compiled.match(text))
        assert seen(lazy.match(text, 2)) == seen(compiled.match(text, 2))
        assert seen(lazy.match(text, 0, 1)) == seen(compiled.match(text, 0, 1))
        assert seen(lazy.search(text)) == seen(compiled.search(text))
        assert lazy.findall(text) == compiled.findall(text)
        assert lazy.split(text) == compiled.split(text)
        assert lazy.sub(r"\2", text) == compiled.sub(r"\2", text)
        assert lazy.sub(lambda m: m[0].upper(), text) == compiled.sub(
            lambda m: m[0].upper(), text
        )
