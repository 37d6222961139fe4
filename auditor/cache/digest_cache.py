"""The digest cache: manifests and configs by digest, and the last digest of each tag.

A damaged content counts as absent. No method raises if the file cannot be used: one
warning is logged, and the run continues with a temporary cache.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from auditor.cache.batch import CachedTag, Confirmation, ContentEntry, HostNotes
from auditor.cache.database import FILE_NAME
from auditor.cache.row_encoding import (
    decode_body,
    decode_content_type,
    decode_digest,
    encode_digest,
    tag_checksum,
)
from auditor.cache.storage import CacheStorage
from auditor.config import Settings
from auditor.fast_dataclass import dataclass

log = logging.getLogger("auditor.cache")

# The same as the default of `Settings.cache_max_size`.
DEFAULT_MAX_BYTES = 1024**3
# Times of use are exact to a day: at most one write a day for each entry.
USED_STEP_S = 24 * 3600
# A registry that refused HEAD is asked again after a week: it may have been updated.
NO_HEAD_S = 7 * 24 * 3600
# Registries are moved and get other machines: how many requests at once a host stood is
# of no use after two weeks without an audit.
LIMIT_S = 14 * 24 * 3600

_GET_CONTENT = (
    "SELECT content.deflated, content.body, content.sha256, content.used_at,"
    " confirmed.content_type, confirmed.confirmed_at FROM content LEFT JOIN confirmed"
    " ON confirmed.content = content.id AND confirmed.registry = ?"
    " WHERE content.digest = ?"
)
_GET_TAG = (
    "SELECT digest, header, content_type, seen_at, checksum FROM tags"
    " WHERE repository = ? AND tag = ?"
)
_GET_LIMIT = "SELECT at_once, seen_at FROM limits WHERE origin = ?"
_GET_HOST = "SELECT distrusted, no_head_until FROM hosts WHERE registry = ?"


@dataclass(frozen=True, slots=True)
class CachedContent:
    """A verified content.

    `confirmation` is `None` if only other registries returned it.
    """

    body: bytes
    confirmation: Confirmation | None


class DigestCache:
    """The cache of one process, for one thread. Use it as a context manager."""

    def __init__(
        self,
        path: Path | None,
        *,
        now: Callable[[], float],
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        """Without `path` the cache is temporary. `now` returns epoch seconds."""
        self._now = now
        self._storage = CacheStorage(path, now=now, max_bytes=max_bytes)
        self.damaged = 0

    @property
    def path(self) -> Path | None:
        """The file in use; `None` if the cache is temporary or the file failed."""
        return self._storage.path

    @property
    def not_stored(self) -> int:
        """The number of entries dropped because the disk was too slow."""
        return self._storage.not_stored

    def close(self) -> None:
        """Write pending entries and close the file."""
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def get(self, registry: str, digest: str) -> CachedContent | None:
        """The content of this digest; `None` if it is absent or damaged."""
        storage, key = self._storage, encode_digest(digest)
        entry = storage.pending.contents.get(key)
        confirmation = storage.pending.confirmed.get((registry, key))
        if entry is not None and confirmation is not None:
            return CachedContent(entry.body, confirmation)
        row = storage.read_row(_GET_CONTENT, (storage.repository_number(registry), key))
        if row is None:
            return None if entry is None else CachedContent(entry.body, confirmation)
        deflated, stored, sha256, used_at, content_type, confirmed_at = row
        if confirmation is None and isinstance(confirmed_at, int):
            confirmation = Confirmation(decode_content_type(content_type), confirmed_at)
        if entry is not None:
            return CachedContent(entry.body, confirmation)
        body = decode_body(deflated, stored, key, sha256)
        if body is None:
            self.discard(digest)
            return None
        now = int(self._now())
        if not isinstance(used_at, int) or abs(now - used_at) > USED_STEP_S:
            storage.batch.used_at[key] = now
            storage.row_added()
        return CachedContent(body, confirmation)

    def put(
        self,
        registry: str,
        digest: str,
        body: bytes,
        *,
        content_type: str | None,
        is_partial_digest: bool = False,
    ) -> None:
        """Store a content that this registry returned.

        `is_partial_digest`: the digest covers a part of the bytes (signed schema 1).
        """
        if not self._storage.has_room():
            return
        key = encode_digest(digest)
        sha256 = hashlib.sha256(body).digest() if is_partial_digest else None
        entry, now = ContentEntry(body, sha256), int(self._now())
        batch, pending = self._storage.batch, self._storage.pending
        batch.contents[key] = pending.contents[key] = entry
        batch.used_at[key] = now
        batch.size += len(body)
        self._confirm(registry, key, Confirmation(content_type, now))

    def confirm(self, registry: str, digest: str, content_type: str | None) -> None:
        """Record that the registry has just confirmed that it has this content."""
        if self._storage.has_room():
            confirmation = Confirmation(content_type, int(self._now()))
            self._confirm(registry, encode_digest(digest), confirmation)

    def expire(self, registry: str, digest: str, content_type: str | None) -> None:
        """Record that the registry no longer has this content: ask it before use."""
        if self._storage.has_room():
            self._confirm(
                registry, encode_digest(digest), Confirmation(content_type, 0)
            )

    def _confirm(self, registry: str, key: bytes, confirmation: Confirmation) -> None:
        batch, pending = self._storage.batch, self._storage.pending
        batch.confirmed[registry, key] = pending.confirmed[registry, key] = confirmation
        self._storage.row_added()

    def discard(self, digest: str) -> None:
        """Remove a content that cannot be parsed, and count it as damaged."""
        key = encode_digest(digest)
        self.damaged += 1
        log.info("removed a damaged content from the cache: %s", digest)
        batch, pending = self._storage.batch, self._storage.pending
        pending.contents.pop(key, None)
        batch.contents.pop(key, None)
        batch.used_at.pop(key, None)
        batch.damaged_contents.add(key)
        self._storage.row_added()

    def tag(self, registry: str, repository: str, tag: str) -> CachedTag | None:
        """The digest and headers of this tag, as an earlier run received them."""
        storage, name = self._storage, (registry, repository, tag)
        if storage.path is None:
            return None
        if (cached := storage.pending.tags.get(name)) is not None:
            return cached
        number = storage.repository_number(registry, repository)
        row = None if number is None else storage.read_row(_GET_TAG, (number, tag))
        if row is None:
            return None
        key, header, content_type, seen_at, checksum = row
        try:
            if checksum == tag_checksum(name, key, header, content_type):
                cached = CachedTag(
                    digest=decode_digest(key),
                    header=header,
                    content_type=decode_content_type(content_type),
                    seen_at=int(seen_at),
                )
        except (TypeError, KeyError, AttributeError, ValueError):
            cached = None  # values of other types than ours
        if cached is None:
            self.damaged += 1
            storage.batch.damaged_tags.add(name)
            storage.row_added()
        elif abs(int(self._now()) - cached.seen_at) > USED_STEP_S:
            self._put_tag(name, cached)
        return cached

    def put_tag(
        self,
        registry: str,
        repository: str,
        tag: str,
        *,
        digest: str,
        header: str | None,
        content_type: str | None,
    ) -> None:
        """Store the digest and headers of this tag."""
        cached = CachedTag(digest=digest, header=header, content_type=content_type)
        self._put_tag((registry, repository, tag), cached)

    def _put_tag(self, name: tuple[str, str, str], cached: CachedTag) -> None:
        storage = self._storage
        if storage.path is not None and storage.has_room():
            cached = replace(cached, seen_at=int(self._now()))
            storage.batch.tags[name] = storage.pending.tags[name] = cached
            storage.row_added()

    def host_notes(self, registry: str) -> HostNotes:
        """The notes on this registry from earlier requests."""
        hosts = self._storage.pending.hosts  # also keeps what was read
        notes = hosts.get(registry)
        if notes is None:
            number = self._storage.repository_number(registry)
            row = self._storage.read_row(_GET_HOST, (number,))
            notes = HostNotes()
            if row is not None and isinstance(row[1], int):
                notes = HostNotes(distrusted=bool(row[0]), no_head_until=row[1])
            hosts[registry] = notes
        return notes

    def head_is_reliable(self, registry: str) -> bool:
        """Whether a HEAD request can replace a GET at this registry."""
        notes, now = self.host_notes(registry), self._now()
        # A time further ahead than we ever set was written with a wrong clock.
        is_disabled = now < notes.no_head_until <= now + NO_HEAD_S
        return not notes.distrusted and not is_disabled

    def distrust_digest_headers(self, registry: str) -> None:
        """Record that a digest header of this registry did not match its content."""
        notes = self.host_notes(registry)
        if not notes.distrusted:
            self._put_host(registry, replace(notes, distrusted=True))

    def disable_head(self, registry: str) -> None:
        """Record that HEAD failed where GET worked; it is tried again in a week."""
        notes, until = self.host_notes(registry), int(self._now()) + NO_HEAD_S
        self._put_host(registry, replace(notes, no_head_until=until))

    def host_limit(self, origin: str) -> int | None:
        """The concurrent requests that a host stood in an earlier run, None if unknown.

        `origin` is the beginning of its URLs.
        """
        row = self._storage.read_row(_GET_LIMIT, (origin,))
        if row is None or not all(isinstance(value, int) for value in row):
            return None
        at_once, seen_at = row
        age_s = self._now() - seen_at
        return int(at_once) if at_once > 0 and 0 <= age_s <= LIMIT_S else None

    def put_host_limit(self, origin: str, at_once: int) -> None:
        """Store the concurrent requests that a host stood."""
        self._storage.batch.limits[origin] = (at_once, int(self._now()))
        self._storage.row_added()

    def _put_host(self, registry: str, notes: HostNotes) -> None:
        batch, pending = self._storage.batch, self._storage.pending
        batch.hosts[registry] = pending.hosts[registry] = notes
        self._storage.row_added()


def cache_path(settings: Settings) -> Path | None:
    """The cache file of these settings; `None` for a temporary cache."""
    if settings.no_cache:
        return None
    if settings.cache is not None:
        return Path(settings.cache)
    import platformdirs  # noqa: PLC0415  (only if the settings name no file)

    folder = platformdirs.user_cache_path("auditor", appauthor=False)
    if not folder.is_absolute():  # "~/.cache" for a user without a home directory
        log.warning(
            "no cache directory: the user has no home directory; continuing without"
            " the digest cache (set --cache)"
        )
        return None
    return folder / FILE_NAME


@asynccontextmanager
async def open_cache(
    settings: Settings, *, now: Callable[[], float]
) -> AsyncIterator[DigestCache]:
    """The digest cache of these settings; `now` returns epoch seconds."""
    max_bytes = settings.cache_max_size
    with DigestCache(cache_path(settings), now=now, max_bytes=max_bytes) as cache:
        yield cache
