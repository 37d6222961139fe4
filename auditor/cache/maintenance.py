"""Size, pruning and verification of the digest cache (`auditor cache`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Any

from auditor.cache.database import CacheError, is_corrupt
from auditor.cache.row_encoding import decode_body, tag_checksum
from auditor.fast_dataclass import dataclass

# Rows removed in one transaction, some 200 KB: about a millisecond.
PRUNE_ROWS = 100
# Rows read at a time: a long read would keep SQLite from checkpointing what other
# processes write meanwhile.
VERIFY_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheInfo:
    """The content of the cache.

    - `contents`: number of manifests, configs and other content
    - `tags`: number of tags
    - `oldest_use`, `newest_use`: seconds since the epoch; None if it is empty
    - `registries`: numbers of contents and tags of each registry
    """

    path: str
    bytes_used: int
    contents: int
    tags: int
    oldest_use: int | None
    newest_use: int | None
    registries: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CacheVerification:
    """Numbers of the rows that were checked, and of those damaged and removed."""

    contents: int
    damaged_contents: int
    tags: int
    damaged_tags: int

    @property
    def damaged(self) -> int:
        """The number of damaged rows of all tables."""
        return self.damaged_contents + self.damaged_tags


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes that the tables take, without free pages."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def prune(
    connection: sqlite3.Connection, max_bytes: int, *, unused_since: int = 0
) -> int:
    """Remove contents not used since `unused_since` (epoch seconds), then the least
    recently used ones until the tables take at most `max_bytes`.

    Returns the number of contents removed.
    """
    removed = 0
    while count := _remove(connection, "WHERE used_at < ?", (unused_since,)):
        removed += count
    while used_bytes(connection) > max_bytes and (count := _remove(connection, "", ())):
        removed += count
    if removed or unused_since:
        # A tag whose content is gone has to be fetched anyway.
        connection.execute(
            "DELETE FROM tags WHERE digest NOT IN (SELECT digest FROM content)"
        )
    if used_bytes(connection) > max_bytes:
        connection.execute("DELETE FROM tags")
    # Each step returns one page; only `executescript` runs all steps.
    connection.executescript("PRAGMA incremental_vacuum")
    return removed


def info(connection: sqlite3.Connection, path: Path) -> CacheInfo:
    """Count what the cache contains."""
    contents, oldest, newest = connection.execute(
        "SELECT count(*), min(used_at), max(used_at) FROM content"
    ).fetchone()
    (tags,) = connection.execute("SELECT count(*) FROM tags").fetchone()
    by_registry = connection.execute(
        "SELECT repositories.registry, count(content), count(tag) FROM"
        " (SELECT registry AS id, content, NULL AS tag FROM confirmed"
        " UNION ALL SELECT repository, NULL, tag FROM tags)"
        " JOIN repositories USING (id) GROUP BY repositories.registry ORDER BY 1"
    )
    return CacheInfo(
        path=str(path),
        bytes_used=used_bytes(connection),
        contents=contents,
        tags=tags,
        oldest_use=oldest,
        newest_use=newest,
        registries={name: tuple(counts) for name, *counts in by_registry},
    )


def verify(connection: sqlite3.Connection) -> CacheVerification:
    """Read every row, and remove those that do not match their digest or checksum.

    Raises `CacheError` if the tables themselves cannot be read.
    """
    try:
        (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if result != "ok":
            raise CacheError(f"the file is damaged: {result}")
        contents, damaged_contents = _verify_contents(connection)
        tags, damaged_tags = _verify_tags(connection)
    except sqlite3.Error as error:
        if is_corrupt(error):
            raise CacheError(f"the file is damaged: {error}") from None
        raise
    return CacheVerification(contents, damaged_contents, tags, damaged_tags)


def _remove(
    connection: sqlite3.Connection, condition: str, values: tuple[int, ...]
) -> int:
    numbers = connection.execute(
        f"SELECT id FROM content {condition} ORDER BY used_at LIMIT {PRUNE_ROWS}",  # noqa: S608
        values,
    ).fetchall()
    if not numbers:
        return 0
    with connection:  # commits, or rolls back after an error
        connection.execute("BEGIN IMMEDIATE")
        _delete_contents(connection, numbers)
    return len(numbers)


def _delete_contents(connection: sqlite3.Connection, numbers: list[Any]) -> None:
    connection.executemany("DELETE FROM confirmed WHERE content = ?", numbers)
    connection.executemany("DELETE FROM content WHERE id = ?", numbers)


def _verify_contents(connection: sqlite3.Connection) -> tuple[int, int]:
    checked, damaged = 0, []
    sql = (
        "SELECT id, digest, sha256, deflated, body FROM content WHERE id > ?"
        " ORDER BY id LIMIT ?"
    )
    for number, key, sha256, deflated, body in _rows(connection, sql, (0,)):
        checked += 1
        if not isinstance(key, bytes) or (
            decode_body(deflated, body, key, sha256) is None
        ):
            damaged.append((number,))
    _delete_contents(connection, damaged)
    return checked, len(damaged)


def _verify_tags(connection: sqlite3.Connection) -> tuple[int, int]:
    checked, damaged = 0, []
    sql = (
        "SELECT tags.repository, tag, checksum, repositories.registry,"
        " repositories.repository, digest, header, content_type"
        " FROM tags LEFT JOIN repositories ON repositories.id = tags.repository"
        " WHERE (tags.repository, tag) > (?, ?) ORDER BY tags.repository, tag LIMIT ?"
    )
    rows = _rows(connection, sql, (0, ""))
    for number, tag, checksum, registry, repository, *values in rows:
        checked += 1
        is_good = False
        with suppress(TypeError):  # a value of another type
            is_good = checksum == tag_checksum((registry, repository, tag), *values)
        if not is_good:
            damaged.append((number, tag))
    connection.executemany("DELETE FROM tags WHERE repository = ? AND tag = ?", damaged)
    return checked, len(damaged)


def _rows(
    connection: sqlite3.Connection, sql: str, last: tuple[object, ...]
) -> Iterator[tuple[Any, ...]]:
    """The rows after the key `last`, in batches; the first columns are the key."""
    while rows := connection.execute(sql, (*last, VERIFY_ROWS)).fetchall():
        yield from rows
        last = rows[-1][: len(last)]
