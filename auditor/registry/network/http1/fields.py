"""Header fields as they came: decoded when they are looked at."""

from __future__ import annotations

import functools
from collections.abc import Sequence


class Fields:
    """Header fields (see `auditor.protocol.answer.Headers`).

    Only a few of an answer's fields are ever looked at, so names and values stay
    bytes until then. Values are text as aiohttp has it: UTF-8, what is none escaped.
    """

    __slots__ = ("_lines",)

    def __init__(self, lines: Sequence[tuple[bytes, bytes]]) -> None:
        self._lines = lines

    def get(self, name: str, /) -> str | None:
        """The value of the first line of that name."""
        wanted = _key(name)
        for line, value in self._lines:
            if line == wanted:
                return _text(value)
        return None

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        """The values of every line of that name, in order."""
        wanted = _key(name)
        found = [_text(value) for line, value in self._lines if line == wanted]
        return found or default


@functools.lru_cache(maxsize=64)  # the names that this program asks for
def _key(name: str) -> bytes:
    return name.lower().encode("ascii")


def _text(value: bytes) -> str:
    return value.strip(b" \t").decode("utf-8", "surrogateescape")
