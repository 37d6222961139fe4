"""Deduplication: the references seen so far, in bounded memory.

The latest references are in a set, earlier ones in a temporary SQLite table, which is
deleted with the process. Both hold 16 bytes of BLAKE2b for each reference; two
references with the same 16 bytes (a chance of 1 in 10^24 for ten million) count as one.
"""

from __future__ import annotations

import logging
import sqlite3
from hashlib import blake2b
from typing import Self

log = logging.getLogger("auditor.audit")

# References in the set: some 130 bytes each, 8 MB.
MAX_IN_MEMORY = 2**16
# SQLite's page cache: the upper levels of the tree of ten million references (50,000
# pages of 4 KiB below 250). With a million, 2 and 8 MiB are no faster.
PAGE_CACHE_KIB = 1024


class SeenReferences:
    """The references seen so far. Use it as a context manager."""

    def __init__(self, max_in_memory: int = MAX_IN_MEMORY) -> None:
        self._max_in_memory = max_in_memory
        self._latest: set[bytes] = set()
        self._table: sqlite3.Connection | None = None
        self._table_works = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None

    def add(self, reference: str) -> bool:
        """Add a reference; returns whether it is new."""
        key = blake2b(reference.encode(), digest_size=16).digest()
        if key in self._latest or (self._table is not None and self._is_in_table(key)):
            return False
        self._latest.add(key)
        if len(self._latest) >= self._max_in_memory and self._table_works:
            self._move_to_table()
        return True

    def _is_in_table(self, key: bytes) -> bool:
        assert self._table is not None
        try:
            rows = self._table.execute("SELECT 1 FROM seen WHERE key = ?", (key,))
            return rows.fetchone() is not None
        except sqlite3.Error as error:
            self._give_up(error)
            return False

    def _move_to_table(self) -> None:
        try:
            if self._table is None:
                self._table = _create_table()
            self._table.execute("BEGIN")
            # Sorted, so that neighbours are on the same page.
            self._table.executemany(
                "INSERT INTO seen VALUES (?)", ((key,) for key in sorted(self._latest))
            )
            self._table.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)
        else:
            self._latest.clear()

    def _give_up(self, error: sqlite3.Error) -> None:
        """Continue without the table. It has no journal, so it is not used after an
        error: a reference that it wrongly reports as seen would get no record."""
        log.warning(
            "no temporary space for deduplication (%s): continuing with more memory;"
            " references seen before may be audited twice",
            error,
        )
        self._table_works = False
        self.__exit__()


def _create_table() -> sqlite3.Connection:
    table = sqlite3.connect("", isolation_level=None)
    try:
        table.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
        table.execute("PRAGMA journal_mode = OFF")
        table.execute("PRAGMA synchronous = OFF")
        table.execute("CREATE TABLE seen (key BLOB PRIMARY KEY) WITHOUT ROWID")
    except sqlite3.Error:
        table.close()
        raise
    return table
