"""What is to be written, and how it gets into the tables: one transaction a batch."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Callable
from dataclasses import field
from functools import cache

from auditor.fast_dataclass import dataclass
from auditor.oci.descriptor import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1,
    SIGNED_SCHEMA1,
)

# -- coding --
# How what the store remembers stands in its rows.

# A digest's algorithm is known by its length (image-spec descriptor.md).
_ALGORITHMS = {32: "sha256", 48: "sha384", 64: "sha512"}
# Content-Types that stand as a number; the order is part of the store's format.
_SAID = (
    OCI_INDEX,
    OCI_MANIFEST,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    SIGNED_SCHEMA1,
    SCHEMA1,
    "application/octet-stream",
)
_NUMBER = {said: number for number, said in enumerate(_SAID)}
# Below this a deflated body is hardly smaller than its zlib header and dictionary.
_LEAST_PACKED_BYTES = 256
# More than any manifest or config is read to by default (4 MiB), with room for who
# raises that; a larger body stands as it is. Of a row that somebody changed, no more
# is inflated: a megabyte of deflated zeros means a gigabyte.
MAX_PACKED_BODY_BYTES = 16 * 1024 * 1024


def key_of(digest: str) -> bytes:
    """The bytes that a digest's hexadecimal digits stand for."""
    return bytes.fromhex(digest.partition(":")[2])


def digest_of(key: bytes) -> str:
    """The digest again."""
    return f"{_ALGORITHMS[len(key)]}:{key.hex()}"


def said_to_row(content_type: str | None) -> int | str | None:
    """A Content-Type as a row holds it."""
    return None if content_type is None else _NUMBER.get(content_type, content_type)


def said_of_row(said: object) -> str | None:
    """The Content-Type that a row holds; a number nobody knows is none."""
    if isinstance(said, int):
        return _SAID[said] if 0 <= said < len(_SAID) else None
    return said if isinstance(said, str) else None


@cache
def _deflate() -> Callable[[bytes, int], bytes]:
    """ISA-L's where it is installed: 6 us for a manifest instead of 14, and what it
    makes is inflated by any zlib."""
    try:
        # Only who writes a file needs it.
        from isal import isal_zlib  # noqa: PLC0415
    except ImportError:
        return zlib.compress
    return isal_zlib.compress


def pack(body: bytes) -> tuple[int, bytes]:
    """The body as it is stored, and whether that is deflated (1) or as it is (0).

    Level 1: manifests are repetitive, and higher levels save a tenth at twice the time.
    """
    if _LEAST_PACKED_BYTES <= len(body) <= MAX_PACKED_BODY_BYTES:
        packed = _deflate()(body, 1)
        if len(packed) < len(body):
            return 1, packed
    return 0, body


def unpack(packed: object, stored: object, key: bytes, outer: object) -> bytes | None:
    """The body, if it is what its digest says; null where the row is damaged."""
    if not isinstance(stored, bytes):
        return None
    body = _inflated(stored) if packed else stored
    if body is None:
        return None
    if outer is not None:
        return body if hashlib.sha256(body).digest() == outer else None
    algorithm = _ALGORITHMS.get(len(key))
    if algorithm is None or hashlib.new(algorithm, body).digest() != key:
        return None
    return body


def unpack_marked(packed: object, stored: bytes) -> bytes | None:
    """The body of a row whose mark is right; null where it cannot be inflated."""
    return _inflated(stored) if packed else stored


def _inflated(stored: bytes) -> bytes | None:
    inflate = zlib.decompressobj()
    try:
        body = inflate.decompress(stored, MAX_PACKED_BODY_BYTES + 1)
    except zlib.error:
        return None
    return body if inflate.eof and len(body) <= MAX_PACKED_BODY_BYTES else None


def mark_of(
    registry: str,
    repository: str,
    tag: str,
    *,
    key: bytes,
    header: str | None,
    said: int | str | None,
) -> int:
    """A check over a tag's row: nothing else tells that one of its bytes changed."""
    text = "\0".join((registry, repository, tag, repr(header), repr(said)))
    return zlib.crc32(key, zlib.crc32(text.encode()))


def image_mark_of(
    registry: str, key: bytes, *, variant: bytes, span: tuple[int, int], body: bytes
) -> int:
    """The same of the row of an image; `body` as it is stored."""
    text = f"{registry}\0{span[0]}\0{span[1]}\0".encode()
    return zlib.crc32(body, zlib.crc32(variant, zlib.crc32(key, zlib.crc32(text))))


# -- prune --
# Keeping the store to a size: what was not used for the longest time goes first.

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


Place = tuple[str, str]  # registry, repository ('': the registry itself)

# Numbers of places kept at hand, some 150 bytes each.
MAX_PLACES = 10_000
# A pruned store has room for a tenth more, so that it is not pruned with every batch.
PRUNED_SHARE = 0.9

_PUT_CONTENT = (
    "INSERT INTO content (digest, outer_digest, packed, body, used)"
    " VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET"
    " outer_digest = excluded.outer_digest, packed = excluded.packed,"
    " body = excluded.body, used = excluded.used"
)
_PUT_HELD = (
    "INSERT INTO held (content, registry, said, confirmed)"
    " SELECT id, ?, ?, ? FROM content WHERE digest = ?"
    " ON CONFLICT (content, registry) DO UPDATE SET"
    " said = excluded.said, confirmed = excluded.confirmed"
)
_PUT_TAG = (
    "INSERT OR REPLACE INTO tags (place, tag, digest, header, said, seen, mark)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_PUT_IMAGE = (
    "INSERT OR REPLACE INTO images"
    " (digest, registry, variant, since, until, used, packed, body, mark)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_PUT_HOST = (
    "INSERT OR REPLACE INTO hosts (registry, distrusted, no_head_until)"
    " VALUES (?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Content:
    """Raw bytes. `outer`: their sha256, where the digest is over a part of them."""

    body: bytes
    outer: bytes | None


@dataclass(frozen=True, slots=True)
class Held:
    """That a registry answered with content: what type it said it is, and when."""

    content_type: str | None
    confirmed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTag:
    """What a tag named when it was last asked for. `header`: Docker-Content-Digest as
    it stood in the answer, `content_type` the essence of that field."""

    digest: str
    header: str | None
    content_type: str | None
    seen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNotes:
    """What was learned of a registry.

    `distrusted`: a digest header of it did not name the content. `no_head_until`:
    until then (epoch seconds) it is not asked HEAD, which did not work.
    """

    distrusted: bool = False
    no_head_until: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What was put together of an image. `variant` says by which rules and for which
    options; from `since` until `until` (epoch seconds) what it was made of is taken to
    be in the registry."""

    variant: bytes
    since: int
    until: int
    used: int
    body: bytes


@dataclass(slots=True)
class Batch:
    """Changes that are written together. `rows` and `size` (bytes) say how many."""

    contents: dict[bytes, Content] = field(default_factory=dict)
    held: dict[tuple[str, bytes], Held] = field(default_factory=dict)
    tags: dict[tuple[str, str, str], SeenTag] = field(default_factory=dict)
    hosts: dict[str, HostNotes] = field(default_factory=dict)
    images: dict[tuple[str, bytes], Image] = field(default_factory=dict)
    used: dict[bytes, int] = field(default_factory=dict)
    used_images: dict[tuple[str, bytes], int] = field(default_factory=dict)
    damaged: set[bytes] = field(default_factory=set)
    damaged_tags: set[tuple[str, str, str]] = field(default_factory=set)
    damaged_images: set[tuple[str, bytes]] = field(default_factory=set)
    rows: int = 0
    size: int = 0
    began: float = 0.0


class Tables:
    """The tables, for writing. `max_bytes` bounds them."""

    def __init__(
        self, connection: sqlite3.Connection, max_bytes: int, *, deflate: bool = True
    ) -> None:
        self._pack = pack if deflate else _as_it_is
        self._connection = connection
        self._max_bytes = max_bytes
        self._places: dict[Place, int] = {}

    def write(self, batch: Batch) -> None:
        """Write a batch, whole or not at all; then keep to the size."""
        # Deflated before the transaction begins: others wait for its end.
        contents = [
            (key, one.outer, *self._pack(one.body), batch.used.get(key, 0))
            for key, one in batch.contents.items()
        ]
        images = [
            (name, one, *self._pack(one.body)) for name, one in batch.images.items()
        ]
        run = self._connection.executemany
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            run("DELETE FROM held WHERE content IN"
                " (SELECT id FROM content WHERE digest = ?)",
                [(key,) for key in batch.damaged])  # fmt: skip
            run("DELETE FROM content WHERE digest = ?",
                [(key,) for key in batch.damaged])  # fmt: skip
            run("DELETE FROM tags WHERE place = ? AND tag = ?", [
                (self._place((registry, repository)), tag)
                for registry, repository, tag in batch.damaged_tags
            ])  # fmt: skip
            run(_PUT_CONTENT, contents)
            run("UPDATE content SET used = ? WHERE digest = ?", [
                (used, key)
                for key, used in batch.used.items()
                if key not in batch.contents
            ])  # fmt: skip
            run(_PUT_HELD, [
                (self._place((registry, "")), said_to_row(one.content_type),
                 one.confirmed, key)
                for (registry, key), one in batch.held.items()
            ])  # fmt: skip
            run(_PUT_TAG, [self._tag_row(*name, one)
                           for name, one in batch.tags.items()])  # fmt: skip
            run("DELETE FROM images WHERE digest = ? AND registry = ?", [
                (key, self._place((registry, "")))
                for registry, key in batch.damaged_images
            ])  # fmt: skip
            run(_PUT_IMAGE, [self._image_row(*one) for one in images])
            run("UPDATE images SET used = ? WHERE digest = ? AND registry = ?", [
                (used, key, self._place((registry, "")))
                for (registry, key), used in batch.used_images.items()
            ])  # fmt: skip
            run(_PUT_HOST, [
                (self._place((registry, "")), int(one.distrusted), one.no_head_until)
                for registry, one in batch.hosts.items()
            ])  # fmt: skip
            self._connection.execute("COMMIT")
        except BaseException:
            self._places.clear()  # those that were new are not there any more
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        if used_bytes(self._connection) > self._max_bytes:
            prune(self._connection, int(self._max_bytes * PRUNED_SHARE))

    def _tag_row(
        self, registry: str, repository: str, tag: str, one: SeenTag
    ) -> tuple[object, ...]:
        key = key_of(one.digest)
        said = said_to_row(one.content_type)
        mark = mark_of(registry, repository, tag, key=key, header=one.header, said=said)
        place = self._place((registry, repository))
        return place, tag, key, one.header, said, one.seen, mark

    def _image_row(
        self, name: tuple[str, bytes], one: Image, packed: int, body: bytes
    ) -> tuple[object, ...]:
        registry, key = name
        span = one.since, one.until
        mark = image_mark_of(registry, key, variant=one.variant, span=span, body=body)
        place = self._place((registry, ""))
        return key, place, one.variant, *span, one.used, packed, body, mark

    def _place(self, place: Place) -> int:
        number = self._places.get(place)
        if number is None:
            self._connection.execute(
                "INSERT OR IGNORE INTO places (registry, repository) VALUES (?, ?)",
                place,
            )
            number = find_place(self._connection, place)
            assert number is not None
            if len(self._places) >= MAX_PLACES:
                self._places.clear()
            self._places[place] = number
        return number


def _as_it_is(body: bytes) -> tuple[int, bytes]:
    return 0, body


def find_place(connection: sqlite3.Connection, place: Place) -> int | None:
    """The number of a place, if it has one."""
    row = connection.execute(
        "SELECT id FROM places WHERE registry = ? AND repository = ?", place
    ).fetchone()
    return None if row is None else int(row[0])
