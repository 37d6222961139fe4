"""Header fields as they came: looked for when they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence


class Fields:
    """Header fields (see `auditor.protocol.answer.Headers`).

    Only a few of an answer's fields are ever looked at, so they stay the bytes that
    came: a line break before each `Name: value`, and one at the end. Values are text
    as aiohttp has it: UTF-8, what is none escaped.
    """

    __slots__ = ("_as_sent", "_small")

    def __init__(self, block: bytes) -> None:
        self._as_sent = block
        self._small: bytes | None = None  # in small letters, made once

    def get(self, name: str, /) -> str | None:
        """The value of the first line of that name."""
        small = self._small
        if small is None:
            small = self._small = self._as_sent.lower()
        wanted = _key(name)
        at = small.find(wanted)
        if at < 0:
            return None
        return self._value(at + len(wanted))

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        """The values of every line of that name, in order."""
        small, wanted, found = self._as_sent.lower(), _key(name), []
        at = small.find(wanted)
        while at >= 0:
            at += len(wanted)
            found.append(self._value(at))
            at = small.find(wanted, at)
        return found or default

    def _value(self, start: int) -> str:
        value = self._as_sent[start : self._as_sent.index(b"\r\n", start)]
        return value.strip(b" \t").decode("utf-8", "surrogateescape")


def block_of(lines: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Names and values as `Fields` takes them."""
    return b"".join(b"\r\n%b:%b" % line for line in lines) + b"\r\n"


@functools.lru_cache(maxsize=64)  # the names that this program asks for
def _key(name: str) -> bytes:
    return f"\r\n{name.lower()}:".encode("ascii")
