"""Looking into a store, and finding what is damaged in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Any

from auditor.cache.database import StoreError, is_corrupt
from auditor.cache.tables import (
    image_mark_of,
    mark_of,
    unpack,
    unpack_marked,
    used_bytes,
)
from auditor.fast_dataclass import dataclass

# Rows that are read at a time: a long look would keep SQLite from tidying up what
# other processes write meanwhile.
ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a store holds. Sizes are bytes, times epoch seconds (null: nothing is
    there); `registries` is how many contents and tags of each are known."""

    path: str
    bytes_used: int
    contents: int
    tags: int
    images: int
    oldest_use: int | None
    newest_use: int | None
    registries: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at, and how much of it was damaged (and is removed)."""

    contents: int
    damaged_contents: int
    tags: int
    damaged_tags: int
    images: int
    damaged_images: int

    @property
    def damaged(self) -> int:
        """All that was damaged."""
        return self.damaged_contents + self.damaged_tags + self.damaged_images


def info(connection: sqlite3.Connection, path: Path) -> Info:
    """What the store holds."""
    contents, oldest, newest = connection.execute(
        "SELECT count(*), min(used), max(used) FROM content"
    ).fetchone()
    (tags,) = connection.execute("SELECT count(*) FROM tags").fetchone()
    (images,) = connection.execute("SELECT count(*) FROM images").fetchone()
    held: dict[str, int] = dict(
        connection.execute(
            "SELECT places.registry, count(*) FROM held"
            " JOIN places ON places.id = held.registry GROUP BY places.registry"
        ).fetchall()
    )
    tagged: dict[str, int] = dict(
        connection.execute(
            "SELECT places.registry, count(*) FROM tags"
            " JOIN places ON places.id = tags.place GROUP BY places.registry"
        ).fetchall()
    )
    return Info(
        path=str(path),
        bytes_used=used_bytes(connection),
        contents=contents,
        tags=tags,
        images=images,
        oldest_use=oldest,
        newest_use=newest,
        registries={
            name: (held.get(name, 0), tagged.get(name, 0))
            for name in sorted(held.keys() | tagged.keys())
        },
    )


def verify(connection: sqlite3.Connection) -> Verified:
    """Read everything, and remove what is not what it should be.

    Raises `StoreError` where the tables themselves cannot be read.
    """
    try:
        (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise StoreError(f"the file is damaged: {answer}")
        contents, damaged = _contents(connection)
        tags, damaged_tags = _tags(connection)
        images, damaged_images = _images(connection)
    except sqlite3.Error as error:
        if is_corrupt(error):
            raise StoreError(f"the file is damaged: {error}") from None
        raise
    return Verified(contents, damaged, tags, damaged_tags, images, damaged_images)


def _contents(connection: sqlite3.Connection) -> tuple[int, int]:
    seen, damaged = 0, []
    for number, digest, outer, packed, body in _rows(
        connection,
        "SELECT id, digest, outer_digest, packed, body FROM content WHERE id > ?"
        " ORDER BY id LIMIT ?",
    ):
        seen += 1
        if not isinstance(digest, bytes) or unpack(packed, body, digest, outer) is None:
            damaged.append((number,))
    for table, column in (("held", "content"), ("content", "id")):
        connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", damaged)  # noqa: S608
    return seen, len(damaged)


def _rows(connection: sqlite3.Connection, sql: str) -> Iterator[tuple[object, ...]]:
    """Rows in the order of their number, which stands first."""
    last: object = 0
    while rows := connection.execute(sql, (last, ROWS_AT_ONCE)).fetchall():
        yield from rows
        last = rows[-1][0]


def _tags(connection: sqlite3.Connection) -> tuple[int, int]:
    seen, damaged = 0, []
    after: tuple[object, ...] = (0, "")
    while rows := connection.execute(
        "SELECT place, tag, digest, header, said, mark, registry, repository"
        " FROM tags LEFT JOIN places ON places.id = place"
        " WHERE (place, tag) > (?, ?) ORDER BY place, tag LIMIT ?",
        (*after, ROWS_AT_ONCE),
    ).fetchall():
        for place, tag, key, header, said, mark, registry, repository in rows:
            seen += 1
            try:
                good = mark == mark_of(
                    registry, repository, tag, key=key, header=header, said=said
                )
            except TypeError:
                good = False
            if not good:
                damaged.append((place, tag))
        after = rows[-1][:2]
    connection.executemany("DELETE FROM tags WHERE place = ? AND tag = ?", damaged)
    return seen, len(damaged)


def _images(connection: sqlite3.Connection) -> tuple[int, int]:
    seen, damaged = 0, []
    for row in _rows(
        connection,
        "SELECT images.id, places.registry, digest, variant, since, until, packed,"
        " body, mark FROM images LEFT JOIN places ON places.id = images.registry"
        " WHERE images.id > ? ORDER BY images.id LIMIT ?",
    ):
        seen += 1
        if not _is_image(*row[1:]):
            damaged.append((row[0],))
    connection.executemany("DELETE FROM images WHERE id = ?", damaged)
    return seen, len(damaged)


def _is_image(*row: Any) -> bool:
    registry, key, variant, since, until, packed, body, mark = row
    try:
        good = mark == image_mark_of(
            registry, key, variant=variant, span=(since, until), body=body
        )
        return good and unpack_marked(packed, body) is not None
    except TypeError:
        return False  # a row of other types than ours
