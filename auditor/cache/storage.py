"""The connections of one process to the cache: single reads and batched writes.

Reads run in the calling thread. Writes are gathered into batches for `BatchWriter`. If
the file fails during a run, one warning is logged and the run continues with a
temporary database.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from auditor.cache.batch import (
    GET_REPOSITORY,
    MAX_REPOSITORIES,
    BatchWriter,
    CacheBatch,
    RepositoryName,
)
from auditor.cache.database import (
    CacheError,
    is_busy,
    is_corrupt,
    open_database,
    open_temporary_database,
    remove_database,
)

log = logging.getLogger("auditor.cache")

# A batch is written when it has this many rows or bytes, or is this old: few
# transactions, and a kill loses little.
BATCH_ROWS = 512
BATCH_BYTES = 1024 * 1024
BATCH_S = 2.0
# Batches that may wait for a slow disk; entries that arrive while the queue is full are
# not stored. A fast registry on a busy machine is some 30 batches ahead. 64 batches
# take 30 MB with usual manifests; a batch of one large manifest has 4 MiB.
MAX_WAITING_BATCHES = 64
MAX_WAITING_BYTES = 32 * 1024 * 1024
# How long the end of a run waits for the last batches: enough for another process that
# is writing, not for one that was stopped in a transaction.
CLOSE_S = 10.0

Key = TypeVar("Key")
Value = TypeVar("Value")


class CacheStorage:
    """Reads rows and gathers writes.

    `batch` holds the gathered entries; `pending` also those that the writer has not yet
    written to the database.
    """

    def __init__(
        self, path: Path | None, *, now: Callable[[], float], max_bytes: int
    ) -> None:
        """Without `path` the database is temporary. `now` returns epoch seconds."""
        self.path = path
        self.batch = CacheBatch()
        self.pending = CacheBatch()
        self.not_stored = 0
        self._now = now
        self._max_bytes = max_bytes
        self._waiting = self._waiting_bytes = 0
        self._repositories: dict[RepositoryName, int] = {}
        self._reader: sqlite3.Connection | None = None
        self._writer: BatchWriter | None = None
        self._open()

    def _open(self) -> None:
        if self.path is not None:
            try:
                self._reader, writer = open_database(self.path)
            except CacheError as error:
                log.warning(
                    "cannot use the digest cache: %s; continuing without it", error
                )
                self.path = None
            else:
                self._writer = BatchWriter(writer, self._max_bytes, in_thread=True)
                return
        try:
            self._reader = open_temporary_database()
        except sqlite3.Error as error:
            log.warning("cannot cache anything in this run: %s", error)
            return
        self._writer = BatchWriter(self._reader, self._max_bytes, in_thread=False)

    def close(self) -> None:
        """Write the last batch and close the connections."""
        self.flush()
        # Closed twice if the last batch shows that the file cannot be used.
        while self._writer is not None:
            writer = self._writer
            writer.close(CLOSE_S)
            self._collect_written()
            if self._writer is writer:
                break
        if self._waiting:
            log.warning(
                "the digest cache %s is locked by another process; the last entries of"
                " this run are not in it",
                self.path,
            )
        if self._reader is not None:
            self._reader.close()
        self._reader = self._writer = None

    def read_row(self, sql: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        """The first row of a query; `None` if there is no row or the cache fails."""
        if self._reader is None:
            return None
        try:
            row: tuple[Any, ...] | None = self._reader.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            if not is_busy(error):
                self._give_up(error)
            return None
        return row

    def repository_number(self, registry: str, repository: str = "") -> int | None:
        """The row number of a repository; `None` if nothing is cached for it."""
        name = registry, repository
        number = self._repositories.get(name)
        if number is None and (row := self.read_row(GET_REPOSITORY, name)) is not None:
            number = int(row[0])
            if len(self._repositories) >= MAX_REPOSITORIES:
                self._repositories.clear()
            self._repositories[name] = number
        return number

    def has_room(self) -> bool:
        """Whether another entry can be gathered; refused entries are counted."""
        if self._is_full():
            self._collect_written()
            if self._is_full():
                self.not_stored += 1
                return False
        return self._writer is not None

    def _is_full(self) -> bool:
        return (
            self._waiting >= MAX_WAITING_BATCHES
            or self._waiting_bytes >= MAX_WAITING_BYTES
        )

    def row_added(self) -> None:
        """Count a row that was added to `batch`, and write the batch if it is due."""
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
        """Hand the batch to the writer."""
        if self._writer is not None and self.batch.rows:
            batch, self.batch = self.batch, CacheBatch()
            self._waiting += 1
            self._waiting_bytes += batch.size
            self._writer.submit(batch)
        self._collect_written()

    def _collect_written(self) -> None:
        """Remove from `pending` what the database now returns."""
        for batch, error in self._writer.finished() if self._writer is not None else ():
            self._waiting -= 1
            self._waiting_bytes -= batch.size
            if error is not None:
                self._give_up(error)
                return
            _remove_written(self.pending.contents, batch.contents)
            _remove_written(self.pending.confirmed, batch.confirmed)
            _remove_written(self.pending.tags, batch.tags)

    def _give_up(self, error: Exception) -> None:
        """Continue with a temporary database and what was not written yet."""
        if self.path is None:
            log.warning("cannot cache anything more in this run: %s", error)
        else:
            log.warning(
                "cannot use the digest cache: %s: %s; continuing without it",
                self.path,
                error,
            )
        if self._writer is not None:
            self._writer.close(1.0)
        if self._reader is not None:
            self._reader.close()
        self._reader = self._writer = None
        self._repositories.clear()
        self._waiting = self._waiting_bytes = 0
        if self.path is None:
            self.pending, self.batch = CacheBatch(), CacheBatch()
            return
        if is_corrupt(error):
            remove_database(self.path)  # the next run creates a new one
        self.path = None
        self._open()
        self.batch = CacheBatch(
            contents=dict(self.pending.contents),
            confirmed=dict(self.pending.confirmed),
            tags=dict(self.pending.tags),
            hosts=dict(self.pending.hosts),
            used_at=dict.fromkeys(self.pending.contents, int(self._now())),
        )
        self.row_added()


def _remove_written(pending: dict[Key, Value], written: dict[Key, Value]) -> None:
    for name, value in written.items():
        if pending.get(name) is value:
            del pending[name]
