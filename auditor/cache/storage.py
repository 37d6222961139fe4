"""The connections of one process: single reads, gathered writes, and what to do when
the file cannot be used any more: warn once, and go on with a private store."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from auditor.cache.database import (
    StoreError,
    is_corrupt,
    open_file,
    open_private,
    remove,
)
from auditor.cache.tables import MAX_PLACES, Batch, Place, Tables, find_place
from auditor.fast_dataclass import dataclass

# -- bloom_filter --
# Which digests may have been written: a Bloom filter, for a store that began empty.
#
# Most of what an audit asks a private store for is not there: the filter says so in a
# fifteenth of the time that SQLite takes.

# For a million digests and three bits each, one question in 200 is asked in vain
# (1 - e^(-3/16))^3. 2 MiB.
_BITS = 2**24
_MASK = _BITS - 1


class BloomFilter:
    """Keys that were added, and by accident some others.

    Keys are digests: their bytes are as good as random, and need no hashing.
    """

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = bytearray(_BITS // 8)

    def add(self, key: bytes) -> None:
        """Remember a key of at least nine bytes."""
        bits = self._bits
        number = int.from_bytes(key[:9], "big")
        for _ in range(3):
            place = number & _MASK
            bits[place >> 3] |= 1 << (place & 7)
            number >>= 24

    def __contains__(self, key: bytes) -> bool:
        bits = self._bits
        number = int.from_bytes(key[:9], "big")
        for _ in range(3):
            place = number & _MASK
            if not bits[place >> 3] & (1 << (place & 7)):
                return False
            number >>= 24
        return True


# -- writer --
# Who writes batches: a thread for a file, at once for a private database.
#
# A file may be written by several processes, which take turns, and a disk may be slow:
# neither holds up the event loop.

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


Key = TypeVar("Key")
Value = TypeVar("Value")

log = logging.getLogger("auditor.cache")

# A batch is written when it has so many rows or bytes, or is so old: few transactions,
# and a kill costs little.
BATCH_ROWS = 512
BATCH_BYTES = 1024 * 1024
BATCH_S = 2.0
# Batches that may wait for a slow disk; what comes while they do is not stored. A fast
# registry on a busy machine is some 30 ahead; with the usual manifests all of them
# take 30 MB, with the largest 64 MiB.
MAX_WAITING = 64
# How long the end of a run waits for the last batches: for a writer of another run,
# which takes milliseconds, not for one that was stopped in the middle of it.
CLOSE_S = 10.0


class Storage:
    """Rows in and out. `batch` is what is gathered, `fresh` what was gathered or given
    to the writer and cannot be read yet."""

    def __init__(
        self, path: Path | None, *, now: Callable[[], float], max_bytes: int
    ) -> None:
        """`path` null: a private store, gone at the end. `now` is epoch seconds."""
        self.path = path
        self.batch = Batch()
        self.fresh = Batch()
        self.not_stored = 0
        self._now = now
        self._max_bytes = max_bytes
        self._waiting = 0
        self._places: dict[Place, int] = {}
        self._reader: sqlite3.Connection | None = None
        self._writer: Writer | None = None
        self._written: BloomFilter | None = None  # a file may hold what others wrote
        self._open()

    def _open(self) -> None:
        if self.path is not None:
            try:
                opened = open_file(self.path)
            except StoreError as error:
                log.warning("the store cannot be used: %s; going on without", error)
                self.path = None
            else:
                if opened.said is not None:
                    log.warning("the store %s", opened.said)
                self._reader = opened.reader
                self._writer = ThreadWriter(opened.writer, self._max_bytes)
                return
        self._written = BloomFilter()
        try:
            self._reader = open_private()
        except sqlite3.Error as error:
            log.warning("nothing can be remembered in this run: %s", error)
            return
        self._writer = InlineWriter(self._reader, self._max_bytes)

    def close(self) -> None:
        """Write what is left, and close."""
        self.flush()
        # Twice where the last batch found that the file cannot be used.
        while self._writer is not None:
            writer = self._writer
            writer.close(CLOSE_S)
            self._collect()
            if self._writer is writer:
                break
        if self._waiting:
            log.warning(
                "another process holds the store %s; what came last is not in it",
                self.path,
            )
        if self._reader is not None:
            self._reader.close()
        self._reader = self._writer = None

    # -- reading ---------------------------------------------------------------

    def may_hold(self, key: bytes) -> bool:
        """Whether it is worth asking for the content of this key."""
        return self._written is None or key in self._written

    def one(self, sql: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        """The first row of a question, if there is one and it can be had."""
        if self._reader is None:
            return None
        try:
            row: tuple[Any, ...] | None = self._reader.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            if not is_busy(error):
                self._give_up(error)
            return None
        return row

    def place(self, registry: str, repository: str = "") -> int | None:
        """The number of a place, if it has one."""
        name = registry, repository
        number = self._places.get(name)
        if number is None and self._reader is not None:
            try:
                number = find_place(self._reader, name)
            except sqlite3.Error as error:
                if not is_busy(error):
                    self._give_up(error)
                return None
            if number is not None:
                if len(self._places) >= MAX_PLACES:
                    self._places.clear()
                self._places[name] = number
        return number

    # -- writing ---------------------------------------------------------------

    def will_hold(self, key: bytes) -> None:
        """Say that the content of this key is being written."""
        if self._written is not None:
            self._written.add(key)

    def has_room(self) -> bool:
        """Whether more can be gathered; what finds no room is counted."""
        if self._waiting >= MAX_WAITING:
            self._collect()
            if self._waiting >= MAX_WAITING:
                self.not_stored += 1
                return False
        return self._writer is not None

    def added(self) -> None:
        """A row was added to the batch: see whether it is to be written."""
        batch, now = self.batch, self._now()
        batch.rows += 1
        batch.began = batch.began or now
        if (
            batch.rows >= BATCH_ROWS
            or batch.size >= BATCH_BYTES
            or now - batch.began > BATCH_S
        ):
            self.flush()

    def flush(self) -> None:
        """Have written what was gathered."""
        if self._writer is not None and self.batch.rows:
            batch, self.batch = self.batch, Batch()
            self._waiting += 1
            self._writer.give(batch)
        self._collect()

    def _collect(self) -> None:
        """Forget of the fresh what can be read now."""
        for written in self._writer.done() if self._writer is not None else ():
            self._waiting -= 1
            if written.error is not None:
                self._give_up(written.error)
                return
            _forget(self.fresh.contents, written.batch.contents)
            _forget(self.fresh.held, written.batch.held)
            _forget(self.fresh.tags, written.batch.tags)

    def _give_up(self, error: Exception) -> None:
        """Go on with a private store, and with what was not written yet."""
        if self.path is None:
            log.warning("nothing more can be remembered in this run: %s", error)
        else:
            log.warning(
                "the store cannot be used: %s: %s; going on without", self.path, error
            )
        if self._writer is not None:
            self._writer.close(1.0)
        if self._reader is not None:
            self._reader.close()
        self._reader = self._writer = None
        self._places.clear()
        self._waiting = 0
        fresh, self.fresh, self.batch = self.fresh, Batch(), Batch()
        if self.path is None:
            return
        if is_corrupt(error):
            remove(self.path)  # so that the next run has a store again
        self.path = None
        self._open()
        for gathered in (self.batch, self.fresh):
            gathered.contents.update(fresh.contents)
            for key in fresh.contents:
                self.will_hold(key)
            gathered.held.update(fresh.held)
            gathered.tags.update(fresh.tags)
            gathered.hosts.update(fresh.hosts)
        self.batch.used.update(dict.fromkeys(fresh.contents, int(self._now())))
        self.added()


def _forget(fresh: dict[Key, Value], written: dict[Key, Value]) -> None:
    for name, value in written.items():
        if fresh.get(name) is value:
            del fresh[name]
