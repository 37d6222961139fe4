"""The entries of the digest cache; a batch of them is written in one transaction.

All times are epoch seconds.

Batches for a file are written in a thread, so that locks of other processes and a slow
disk do not block the event loop.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import field

from auditor.cache.database import is_busy
from auditor.cache.maintenance import prune, used_bytes
from auditor.cache.row_encoding import (
    encode_body,
    encode_content_type,
    encode_digest,
    tag_checksum,
)
from auditor.fast_dataclass import dataclass

RepositoryName = tuple[str, str]  # registry, repository ('': the registry itself)

# Numbers of repositories kept in memory, some 150 bytes each.
MAX_REPOSITORIES = 10_000
# A cache that is too large is pruned to this share of its limit, so that it is not
# pruned with every batch.
PRUNED_SHARE = 0.9
# Attempts to write a batch while other processes hold the lock, each of `BUSY_S`.
BUSY_ATTEMPTS = 3

GET_REPOSITORY = "SELECT id FROM repositories WHERE registry = ? AND repository = ?"

_PUT_CONTENT = (
    "INSERT INTO content (digest, sha256, deflated, body, used_at)"
    " VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET"
    " sha256 = excluded.sha256, deflated = excluded.deflated,"
    " body = excluded.body, used_at = excluded.used_at"
)
_PUT_CONFIRMED = (
    "INSERT OR REPLACE INTO confirmed (content, registry, content_type, confirmed_at)"
    " SELECT id, ?, ?, ? FROM content WHERE digest = ?"
)
_PUT_TAG = "INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?, ?, ?, ?)"
_PUT_LIMIT = "INSERT OR REPLACE INTO limits VALUES (?, ?, ?)"
_PUT_HOST = "INSERT OR REPLACE INTO hosts VALUES (?, ?, ?)"


@dataclass(frozen=True, slots=True)
class ContentEntry:
    """Raw bytes; `sha256` is their hash if the digest covers only a part of them."""

    body: bytes
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The media type and time with which a registry last returned a content."""

    content_type: str | None
    confirmed_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedTag:
    """The digest of a tag at the last request. `header` is Docker-Content-Digest as the
    registry sent it, `content_type` the media type without parameters."""

    digest: str
    header: str | None
    content_type: str | None
    seen_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNotes:
    """Notes on a registry from earlier requests.

    `distrusted`: a digest header did not match its content. The other field is the time
    until which HEAD is not tried again.
    """

    distrusted: bool = False
    no_head_until: int = 0


@dataclass(slots=True)
class CacheBatch:
    """Entries and removals that are written together.

    Contents are keyed by the bytes of their digest. `rows`, `size` (bytes) and `began`
    (a time) decide when the batch is written.
    """

    contents: dict[bytes, ContentEntry] = field(default_factory=dict)
    confirmed: dict[tuple[str, bytes], Confirmation] = field(default_factory=dict)
    tags: dict[tuple[str, str, str], CachedTag] = field(default_factory=dict)
    hosts: dict[str, HostNotes] = field(default_factory=dict)
    # By origin: the concurrent requests that it stood, and when.
    limits: dict[str, tuple[int, int]] = field(default_factory=dict)
    used_at: dict[bytes, int] = field(default_factory=dict)
    damaged_contents: set[bytes] = field(default_factory=set)
    damaged_tags: set[tuple[str, str, str]] = field(default_factory=set)
    rows: int = 0
    size: int = 0
    began: float = 0.0


class BatchWriter:
    """Writes batches in their order, and prunes the cache when it is too large.

    With `in_thread` they are written in a thread, which owns and closes the connection;
    without, at once and not deflated, for a temporary database.
    """

    def __init__(
        self, connection: sqlite3.Connection, max_bytes: int, *, in_thread: bool
    ) -> None:
        self._connection = connection
        self._max_bytes = max_bytes
        self._encode_body = encode_body if in_thread else lambda body: (0, body)
        self._repositories: dict[RepositoryName, int] = {}
        self._submitted: queue.SimpleQueue[CacheBatch | None] = queue.SimpleQueue()
        self._finished: deque[tuple[CacheBatch, Exception | None]] = deque()
        self._thread: threading.Thread | None = None
        if in_thread:
            self._thread = threading.Thread(
                target=self._run, name="auditor-cache", daemon=True
            )
            self._thread.start()

    def submit(self, batch: CacheBatch) -> None:
        """Write a batch, now or later."""
        if self._thread is None:
            self._finished.append((batch, self._write(batch)))
        else:
            self._submitted.put(batch)

    def finished(self) -> Iterator[tuple[CacheBatch, Exception | None]]:
        """The batches finished since the last call; after an error nothing more can be
        written."""
        while self._finished:
            yield self._finished.popleft()

    def close(self, wait_s: float) -> None:
        """Wait up to `wait_s` until everything is written and the file is closed."""
        if self._thread is not None:
            self._submitted.put(None)
            self._thread.join(wait_s)

    def _run(self) -> None:
        try:
            while (batch := self._submitted.get()) is not None:
                self._finished.append((batch, self._write(batch)))
        finally:
            self._connection.close()

    def _write(self, batch: CacheBatch) -> Exception | None:
        """Write a batch, or drop it if the file stays locked.

        A later run fetches the contents of a dropped batch again.
        """
        for _ in range(BUSY_ATTEMPTS):
            try:
                self._write_rows(batch)
            except sqlite3.Error as error:
                self._repositories.clear()  # new numbers are rolled back
                if not is_busy(error):
                    return error
            else:
                break
        return None

    def _write_rows(self, batch: CacheBatch) -> None:
        """Write a batch completely or not at all; then prune if needed."""
        # Deflated before the transaction begins: other processes wait for its end.
        contents = [
            (key, entry.sha256, *self._encode_body(entry.body),
             batch.used_at.get(key, 0))
            for key, entry in batch.contents.items()
        ]  # fmt: skip
        write_rows = self._connection.executemany
        with self._connection:  # commits, or rolls back after an error
            self._connection.execute("BEGIN IMMEDIATE")
            damaged = [(key,) for key in batch.damaged_contents]
            write_rows(
                "DELETE FROM confirmed WHERE content IN"
                " (SELECT id FROM content WHERE digest = ?)",
                damaged,
            )
            write_rows("DELETE FROM content WHERE digest = ?", damaged)
            write_rows("DELETE FROM tags WHERE repository = ? AND tag = ?", [
                (self._number((registry, repository)), tag)
                for registry, repository, tag in batch.damaged_tags
            ])  # fmt: skip
            write_rows(_PUT_CONTENT, contents)
            write_rows("UPDATE content SET used_at = ? WHERE digest = ?", [
                (used_at, key)
                for key, used_at in batch.used_at.items()
                if key not in batch.contents
            ])  # fmt: skip
            write_rows(_PUT_CONFIRMED, [
                (self._number((registry, "")),
                 encode_content_type(confirmation.content_type),
                 confirmation.confirmed_at, key)
                for (registry, key), confirmation in batch.confirmed.items()
            ])  # fmt: skip
            write_rows(
                _PUT_TAG,
                [self._tag_row(*name, tag) for name, tag in batch.tags.items()],
            )
            write_rows(
                _PUT_LIMIT,
                [(origin, *limit) for origin, limit in batch.limits.items()],
            )
            write_rows(_PUT_HOST, [
                (self._number((registry, "")), int(notes.distrusted),
                 notes.no_head_until)
                for registry, notes in batch.hosts.items()
            ])  # fmt: skip
        if used_bytes(self._connection) > self._max_bytes:
            prune(self._connection, int(self._max_bytes * PRUNED_SHARE))

    def _tag_row(
        self, registry: str, repository: str, tag: str, cached: CachedTag
    ) -> tuple[object, ...]:
        key = encode_digest(cached.digest)
        content_type = encode_content_type(cached.content_type)
        stored = key, cached.header, content_type
        checksum = tag_checksum((registry, repository, tag), *stored)
        number = self._number((registry, repository))
        return number, tag, *stored, cached.seen_at, checksum

    def _number(self, name: RepositoryName) -> int:
        number = self._repositories.get(name)
        if number is None:
            self._connection.execute(
                "INSERT OR IGNORE INTO repositories (registry, repository)"
                " VALUES (?, ?)",
                name,
            )
            (number,) = self._connection.execute(GET_REPOSITORY, name).fetchone()
            assert isinstance(number, int)
            if len(self._repositories) >= MAX_REPOSITORIES:
                self._repositories.clear()
            self._repositories[name] = number
        return number
