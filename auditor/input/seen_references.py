"""Which names were seen, whole runs of them, in a bounded amount of memory.

The latest names are in a set, all before them in a table of SQLite that has no name
and is gone with the process. Both hold 16 bytes of BLAKE2b for each name: two names
that share them (one chance in 10^24 among ten million) would count as one.
"""

from __future__ import annotations

import logging
import sqlite3
from hashlib import blake2b
from types import TracebackType
from typing import Self

log = logging.getLogger("auditor.audit")

# Names in the set: some 130 bytes each, 8 MB.
MOST_AT_HAND = 2**16
# The upper levels of the tree of ten million names (50,000 pages of 4 KiB below 250).
# At a million names, 2 and 8 MiB are no quicker.
CACHE_KIB = 1024


class SeenReferences:
    """Names that were seen. Use it as a context manager."""

    def __init__(self, most_at_hand: int = MOST_AT_HAND) -> None:
        self._most_at_hand = most_at_hand
        self._at_hand: set[bytes] = set()
        self._table: sqlite3.Connection | None = None
        self._usable = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None

    def add(self, name: str) -> bool:
        """Whether a name is new; from now on it is known."""
        key = blake2b(name.encode(), digest_size=16).digest()
        if key in self._at_hand or (self._table is not None and self._is_told(key)):
            return False
        self._at_hand.add(key)
        if len(self._at_hand) >= self._most_at_hand and self._usable:
            self._put_away()
        return True

    def _is_told(self, key: bytes) -> bool:
        assert self._table is not None
        try:
            asked = self._table.execute("SELECT 1 FROM known WHERE name = ?", (key,))
            return asked.fetchone() is not None
        except sqlite3.Error as error:
            self._give_up(error)
            return False

    def _put_away(self) -> None:
        try:
            if self._table is None:
                self._table = _opened()
            self._table.execute("BEGIN")
            # In their order: neighbours stand on the same page.
            self._table.executemany(
                "INSERT INTO known VALUES (?)",
                ((key,) for key in sorted(self._at_hand)),
            )
            self._table.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)
        else:
            self._at_hand.clear()

    def _give_up(self, error: sqlite3.Error) -> None:
        """Go on without the table, which has no journal and so is not to be relied
        on after a failure: a name that is taken for known would lose its record."""
        log.warning(
            "no room for the list of what was asked for (%s): it takes more memory,"
            " and references that were named before may be audited twice",
            error,
        )
        self._usable = False
        if self._table is not None:
            self._table.close()
            self._table = None


def _opened() -> sqlite3.Connection:
    table = sqlite3.connect("", isolation_level=None)
    try:
        table.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        table.execute("PRAGMA journal_mode = OFF")
        table.execute("PRAGMA synchronous = OFF")
        table.execute("CREATE TABLE known (name BLOB PRIMARY KEY) WITHOUT ROWID")
    except sqlite3.Error:
        table.close()
        raise
    return table
