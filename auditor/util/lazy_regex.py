"""Regular expressions that are compiled when they are first used.

A command needs few of the package's expressions; compiling all of them would be a
tenth of its start.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any


class LazyPattern:
    """A `re.Pattern[str]` with the methods that this package uses."""

    __slots__ = ("_compiled", "_flags", "_source")

    def __init__(self, source: str, flags: int = 0) -> None:
        self._source = source
        self._flags = flags
        self._compiled: re.Pattern[str] | None = None

    def _pattern(self) -> re.Pattern[str]:
        if self._compiled is None:
            self._compiled = re.compile(self._source, self._flags)
        return self._compiled

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """`re.Pattern.fullmatch`"""
        return self._pattern().fullmatch(text)

    def match(
        self, text: str, start: int = 0, end: int = sys.maxsize
    ) -> re.Match[str] | None:
        """`re.Pattern.match`"""
        return self._pattern().match(text, start, end)

    def search(self, text: str) -> re.Match[str] | None:
        """`re.Pattern.search`"""
        return self._pattern().search(text)

    def findall(self, text: str) -> list[Any]:
        """`re.Pattern.findall`: strings, or tuples of them if there are groups."""
        return self._pattern().findall(text)

    def split(self, text: str) -> list[str]:
        """`re.Pattern.split`, for expressions whose groups always match."""
        return self._pattern().split(text)

    def sub(self, replacement: str | Callable[[re.Match[str]], str], text: str) -> str:
        """`re.Pattern.sub`"""
        return self._pattern().sub(replacement, text)
