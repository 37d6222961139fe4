"""Keeping the store to a size: what was not used for the longest time goes first."""

from __future__ import annotations

import sqlite3

# Rows that go in one transaction, some 200 KB: about a millisecond.
STEP_ROWS = 100


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes that the tables take, without pages that are free again."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def prune(
    connection: sqlite3.Connection, max_bytes: int, *, unused_since: int = 0
) -> int:
    """Remove contents not used since (epoch seconds), then the least recently used
    ones until the tables take at most `max_bytes`. How many contents went."""
    gone = 0
    while step := _remove(connection, "WHERE used < ?", (unused_since,)):
        gone += step
    while used_bytes(connection) > max_bytes and (step := _remove(connection, "", ())):
        gone += step
    if gone or unused_since:
        # A tag whose content is gone has to be fetched anyway.
        for table in ("tags", "images"):
            connection.execute(
                f"DELETE FROM {table} WHERE digest NOT IN (SELECT digest FROM content)"  # noqa: S608
            )
    if used_bytes(connection) > max_bytes:
        connection.execute("DELETE FROM tags")
        connection.execute("DELETE FROM images")
    # Gives a page back with every step, and only a script is stepped to its end.
    connection.executescript("PRAGMA incremental_vacuum")
    return gone


def _remove(
    connection: sqlite3.Connection, condition: str, values: tuple[int, ...]
) -> int:
    rows = connection.execute(
        f"SELECT id, digest FROM content {condition} ORDER BY used LIMIT {STEP_ROWS}",  # noqa: S608
        values,
    ).fetchall()
    numbers = [(number,) for number, _ in rows]
    if not rows:
        return 0
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(
            "DELETE FROM images WHERE digest = ?", [(digest,) for _, digest in rows]
        )
        connection.executemany("DELETE FROM held WHERE content = ?", numbers)
        connection.executemany("DELETE FROM content WHERE id = ?", numbers)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return len(rows)
