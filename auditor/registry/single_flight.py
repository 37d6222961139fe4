"""One flight for everybody who asks for the same thing at the same time.

A flight ends in a value that all who wait for it get. When its leader is cancelled,
one of those who wait takes over, so cancellation costs at most one more flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Flight(Generic[Value]):
    __slots__ = ("values", "waiting")

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []
        self.values: list[Value] = []  # empty after landing: the leader was lost


class SingleFlight(Generic[Key, Value]):
    """Flights under way, by key. Nothing is remembered after the landing."""

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Value]] = {}
        self.shared = 0

    def under_way(self, key: Key) -> bool:
        """Whether somebody is fetching it right now."""
        return key in self._flights

    async def run(self, key: Key, fetch: Callable[[], Awaitable[Value]]) -> Value:
        """What `fetch` gives, called by one of all that ask at the same time."""
        while (flight := self._flights.get(key)) is not None:
            landed = asyncio.get_running_loop().create_future()
            flight.waiting.append(landed)
            await landed
            if flight.values:
                self.shared += 1
                return flight.values[0]
        flight = self._flights[key] = _Flight()
        try:
            value = await fetch()
            flight.values.append(value)
            return value
        finally:
            del self._flights[key]
            for landed in flight.waiting:
                if not landed.done():  # or who waited was cancelled
                    landed.set_result(None)
