"""When an answer came, although the event loop was busy with other things.

An event loop works in turns: it reads what has come, runs the tasks that waited for it,
and asks the system again. What comes while tasks run is read when they have all had
their turn. That delay is the client's, and no part of a round trip. asyncio and uvloop
do not tell how long it was, so it is estimated from the times of reads, resumed tasks
and writes: if the loop did something just before a read, the bytes came at some time
since the last turn's reads; on average, in the middle. Otherwise it was waiting, and
they came now.

How long the machine let the program wait for a processor is not known.
"""

from __future__ import annotations

# The loop waits if it did nothing of ours for so long before a read; a task can take
# much longer between the end of one request and the next.
IDLE_S, TASK_S = 0.0005, 0.005


class LoopTurns:
    """The turns of one event loop. All times are seconds of one monotonic clock."""

    __slots__ = ("_is_reading", "_last_at", "_since", "_turn_at")

    def __init__(self) -> None:
        self._is_reading = False
        # The last read, resumed task or write.
        self._last_at = 0.0
        # The reads of this turn: when they began, and since when bytes may have waited.
        self._turn_at = self._since = 0.0

    def ran(self, now: float) -> None:
        """A task was resumed, or wrote a request."""
        if now - self._last_at > TASK_S:
            self._turn_at = now  # the loop waited before that
        self._is_reading = False
        self._last_at = now

    def arrived(self, now: float, written_at: float) -> float:
        """When bytes that are read now came; the request was written at `written_at`.

        The result is between the two.
        """
        if now - self._last_at > IDLE_S:
            self._since = self._turn_at = now
        elif not self._is_reading:
            self._since, self._turn_at = self._turn_at, now
        self._is_reading = True
        self._last_at = now
        turn_at = self._turn_at
        since = max(written_at, self._since)
        return (since + turn_at) / 2 if since <= turn_at else now
