"""So many requests a second and no more, where the user says so."""

from __future__ import annotations

from auditor.util.clock import Clock


class Pace:
    """Turns, evenly spaced. What was not used is not saved up: there are no bursts.

    The spacing is that of the turns. Who had its turn may still wait for a slot, so
    after a pause as many requests go out together as there are slots.
    """

    __slots__ = ("_clock", "_gap_s", "_next")

    def __init__(self, *, per_second: float, clock: Clock) -> None:
        self._gap_s = 1 / per_second
        self._clock = clock
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = self._clock.monotonic()
        at = max(self._next, now)
        self._next = at + self._gap_s
        if at > now:
            await self._clock.sleep(at - now)
