"""Regular expressions that are compiled when they are first used.

A run needs few of them: what takes pasted tokens, error pages and version numbers
apart would else be a tenth of the time in which a command starts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any


class LazyPattern:
    """As `re.compile` gives it, for text, with the methods that are needed here."""

    __slots__ = ("_compiled", "_flags", "_source")

    def __init__(self, source: str, flags: int = 0) -> None:
        self._source = source
        self._flags = flags
        self._compiled: re.Pattern[str] | None = None

    def _ready(self) -> re.Pattern[str]:
        if self._compiled is None:
            self._compiled = re.compile(self._source, self._flags)
        return self._compiled

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """`re.Pattern.fullmatch`"""
        return self._ready().fullmatch(text)

    def match(
        self, text: str, start: int = 0, end: int = sys.maxsize
    ) -> re.Match[str] | None:
        """`re.Pattern.match`"""
        return self._ready().match(text, start, end)

    def search(self, text: str) -> re.Match[str] | None:
        """`re.Pattern.search`"""
        return self._ready().search(text)

    def findall(self, text: str) -> list[Any]:
        """`re.Pattern.findall`: texts, or tuples of them where it has groups."""
        return self._ready().findall(text)

    def split(self, text: str) -> list[str]:
        """`re.Pattern.split`, for an expression whose groups always take part."""
        return self._ready().split(text)

    def sub(self, put: str | Callable[[re.Match[str]], str], text: str) -> str:
        """`re.Pattern.sub`"""
        return self._ready().sub(put, text)
