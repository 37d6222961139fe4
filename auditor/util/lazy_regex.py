"""Regular expressions that are compiled when they are first used.

A command needs few of the package's expressions; compiling all of them would be a
tenth of its start.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

_METHODS = ("findall", "finditer", "fullmatch", "match", "search", "split", "sub")

if TYPE_CHECKING:
    LazyPattern = re.compile
else:

    class LazyPattern:
        """A `re.Pattern[str]` that is compiled when a method is first used."""

        __slots__ = ("_arguments", *_METHODS)

        def __init__(self, source: str, flags: int = 0) -> None:
            self._arguments = source, flags

        def __getattr__(self, name: str) -> object:
            if name not in _METHODS:
                raise AttributeError(name)
            pattern = re.compile(*self._arguments)
            for method in _METHODS:
                setattr(self, method, getattr(pattern, method))
            return getattr(pattern, name)
