"""A cache with a bounded number of values and of bytes, the least recently used ones
of which are evicted."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Lru(Generic[Key, Value]):
    """Values by key, at most `max_size` of them and `max_bytes` in all.

    `bytes` is the sum of the sizes that `put` was given. A value that is larger than
    all others together may be is not kept.
    """

    __slots__ = ("_max_bytes", "_max_size", "_values", "bytes")

    def __init__(self, max_size: int, max_bytes: float = math.inf) -> None:
        self._max_size = max_size
        self._max_bytes = max_bytes
        self._values: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        """The value of a key; marks the key as most recently used."""
        entry = self._values.get(key)
        if entry is None:
            return None
        self._values.move_to_end(key)
        return entry[0]

    def put(self, key: Key, value: Value, size: int = 0) -> None:
        """Add or replace a value of `size` bytes, and evict the oldest if need be."""
        if key in self._values:
            self.drop(key)
        self._values[key] = value, size
        self.bytes += size
        while len(self._values) > self._max_size or self.bytes > self._max_bytes:
            _, (_, evicted) = self._values.popitem(last=False)
            self.bytes -= evicted

    def drop(self, key: Key) -> None:
        """Remove a value, if it is there."""
        entry = self._values.pop(key, None)
        if entry is not None:
            self.bytes -= entry[1]
