"""What is to be written, and how it gets into the tables: one transaction a batch."""

from __future__ import annotations

import sqlite3
from dataclasses import field

from auditor.fast_dataclass import dataclass
from auditor.store.coding import image_mark_of, key_of, mark_of, pack, said_to_row
from auditor.store.prune import prune, used_bytes

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
