"""Who writes batches: a thread for a file, at once for a private database.

A file may be written by several processes, which take turns, and a disk may be slow:
neither holds up the event loop.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections import deque
from typing import Protocol

from auditor.cache.tables import Batch, Tables
from auditor.fast_dataclass import dataclass

# After three times `BUSY_S` a batch is given up: content that is not stored is fetched
# again some day, and that is all.
BUSY_TRIES = 3


@dataclass(frozen=True, slots=True)
class Written:
    """A batch that is done with. `error`: nothing more can be written, and why."""

    batch: Batch
    error: Exception | None = None


class Writer(Protocol):
    """Takes batches and says which are done with."""

    def give(self, batch: Batch) -> None:
        """Have a batch written."""

    def done(self) -> list[Written]:
        """What was finished since this was last asked."""

    def close(self, wait_s: float | None = None) -> None:
        """Write what was given, at most for so long, and close the connection."""


class InlineWriter:
    """Writes at once, and so without deflating. The connection stays its owner's."""

    def __init__(self, connection: sqlite3.Connection, max_bytes: int) -> None:
        self._tables = Tables(connection, max_bytes, deflate=False)
        self._done: list[Written] = []

    def give(self, batch: Batch) -> None:
        """Write a batch."""
        self._done.append(_written(self._tables, batch))

    def done(self) -> list[Written]:
        """What was finished since this was last asked."""
        done, self._done = self._done, []
        return done

    def close(self, wait_s: float | None = None) -> None:
        """Nothing is left to do."""


class ThreadWriter:
    """Writes in a thread of its own, with a connection of its own."""

    def __init__(self, connection: sqlite3.Connection, max_bytes: int) -> None:
        self._connection = connection
        self._tables = Tables(connection, max_bytes)
        self._todo: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._done: deque[Written] = deque()
        self._thread = threading.Thread(
            target=self._run, name="auditor-store", daemon=True
        )
        self._thread.start()

    def give(self, batch: Batch) -> None:
        """Have a batch written."""
        self._todo.put(batch)

    def done(self) -> list[Written]:
        """What was finished since this was last asked."""
        found = []
        while self._done:
            found.append(self._done.popleft())
        return found

    def close(self, wait_s: float | None = None) -> None:
        """Write what was given, at most for so long, and close the connection."""
        self._todo.put(None)
        self._thread.join(wait_s)

    def _run(self) -> None:
        try:
            while (batch := self._todo.get()) is not None:
                self._done.append(_written(self._tables, batch))
        finally:
            self._connection.close()


def _written(tables: Tables, batch: Batch) -> Written:
    for _ in range(BUSY_TRIES):
        try:
            tables.write(batch)
        except sqlite3.Error as error:
            if not is_busy(error):
                return Written(batch, error)
        else:
            break
    return Written(batch)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether it only says that somebody else is at it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
