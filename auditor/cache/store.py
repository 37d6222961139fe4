"""The digest store: raw content by digest, and what tags named when last asked for.

Reads are single look-ups in the calling thread; what is written is gathered and goes
in batches. A content that is not what its digest says is as good as absent. Nothing
here raises for a store that cannot be used: that costs a warning and its memory.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from auditor.cache.storage import Storage
from auditor.cache.tables import (
    Content,
    Held,
    HostNotes,
    Image,
    SeenTag,
    digest_of,
    image_mark_of,
    key_of,
    mark_of,
    said_of_row,
    unpack,
    unpack_marked,
)
from auditor.config import Settings
from auditor.fast_dataclass import dataclass

log = logging.getLogger("auditor.cache")

# As the settings have it.
DEFAULT_MAX_BYTES = 1024**3
# How exact the time of the last use is: one write a day for what is used often.
USED_STEP_S = 24 * 3600
# A registry that refused HEAD may be another version next week.
NO_HEAD_S = 7 * 24 * 3600

_GET = (
    "SELECT content.packed, content.body, content.outer_digest, content.used,"
    " held.said, held.confirmed FROM content LEFT JOIN held"
    " ON held.content = content.id AND held.registry = ? WHERE content.digest = ?"
)
_GET_TAG = (
    "SELECT digest, header, said, seen, mark FROM tags WHERE place = ? AND tag = ?"
)
_GET_HELD = (
    "SELECT said, confirmed FROM held WHERE registry = ?"
    " AND content = (SELECT id FROM content WHERE digest = ?)"
)
_GET_IMAGE = (
    "SELECT variant, since, until, used, packed, body, mark FROM images"
    " WHERE digest = ? AND registry = ?"
)
_GET_HOST = "SELECT distrusted, no_head_until FROM hosts WHERE registry = ?"


@dataclass(frozen=True, slots=True)
class Stored:
    """Content that is what its digest says.

    `held` is what is known of it in the registry that was asked about: null if that
    registry never answered with it.
    """

    body: bytes
    held: Held | None


@dataclass(frozen=True, slots=True)
class StoredImage:
    """What an earlier run put together of an image. `is_due`: what it was made of has
    not been said to be used for a day."""

    body: bytes
    is_due: bool


class DigestStore:
    """The store of one process, for one thread. Use it as a context manager."""

    def __init__(
        self,
        path: Path | None,
        *,
        now: Callable[[], float],
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        """`path` null: a private store, gone at the end. `now` is epoch seconds."""
        self._now = now
        self._rows = Storage(path, now=now, max_bytes=max_bytes)
        self.damaged = 0

    @property
    def path(self) -> Path | None:
        """The file in use; null for a private store, also after giving a file up."""
        return self._rows.path

    @property
    def not_stored(self) -> int:
        """What was not remembered because the disk was too slow."""
        return self._rows.not_stored

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left, and close."""
        self._rows.close()

    # -- content ---------------------------------------------------------------

    def get(self, registry: str, digest: str) -> Stored | None:
        """The content of this digest, if it is there and undamaged."""
        key = key_of(digest)
        fresh = self._rows.fresh
        content = fresh.contents.get(key)
        held = fresh.held.get((registry, key))
        if content is not None and held is not None:
            return Stored(content.body, held)
        row = None
        if self._rows.may_hold(key):
            row = self._rows.one(_GET, (self._rows.place(registry), key))
        if row is None:
            return None if content is None else Stored(content.body, held)
        packed, stored, outer, used, said, confirmed = row
        if held is None and isinstance(confirmed, int):
            held = Held(said_of_row(said), confirmed)
        if content is not None:
            return Stored(content.body, held)
        body = unpack(packed, stored, key, outer)
        if body is None:
            self._drop(key)
            return None
        now = int(self._now())
        if not isinstance(used, int) or abs(now - used) > USED_STEP_S:
            self._rows.batch.used[key] = now
            self._rows.added()
        return Stored(body, held)

    def put(
        self,
        registry: str,
        digest: str,
        body: bytes,
        *,
        content_type: str | None,
        partly: bool = False,
    ) -> None:
        """Remember content that this registry answered with.

        `partly`: the digest is over a part of the bytes (signed schema 1).
        """
        if not self._rows.has_room():
            return
        key = key_of(digest)
        content = Content(body, hashlib.sha256(body).digest() if partly else None)
        now = int(self._now())
        batch, fresh = self._rows.batch, self._rows.fresh
        batch.contents[key] = fresh.contents[key] = content
        self._rows.will_hold(key)
        batch.used[key] = now
        batch.size += len(body)
        self._hold(registry, key, Held(content_type, now))

    def held(self, registry: str, digest: str) -> Held | None:
        """What is known of a content in this registry, without reading it."""
        key = key_of(digest)
        held = self._rows.fresh.held.get((registry, key))
        if held is None and self._rows.may_hold(key):
            row = self._rows.one(_GET_HELD, (self._rows.place(registry), key))
            if row is not None and isinstance(row[1], int):
                held = Held(said_of_row(row[0]), row[1])
        return held

    def use(self, digests: Iterable[str]) -> None:
        """Remember that contents were of use, though they were not read."""
        now = int(self._now())
        for digest in digests:
            self._rows.batch.used[key_of(digest)] = now
            self._rows.added()

    def confirm(self, registry: str, digest: str, content_type: str | None) -> None:
        """Remember that the registry has just said that it holds this content."""
        if self._rows.has_room():
            self._hold(registry, key_of(digest), Held(content_type, int(self._now())))

    def _hold(self, registry: str, key: bytes, held: Held) -> None:
        name = registry, key
        self._rows.batch.held[name] = self._rows.fresh.held[name] = held
        self._rows.added()

    def drop(self, digest: str) -> None:
        """Forget a content that turned out not to be what it should."""
        self._drop(key_of(digest))

    def _drop(self, key: bytes) -> None:
        self.damaged += 1
        log.info("a damaged content is removed from the store: %s", digest_of(key))
        self._rows.fresh.contents.pop(key, None)
        self._rows.batch.contents.pop(key, None)
        self._rows.batch.used.pop(key, None)
        self._rows.batch.damaged.add(key)
        self._rows.added()

    # -- images ----------------------------------------------------------------

    def image(
        self, registry: str, digest: str, *, variant: bytes
    ) -> StoredImage | None:
        """What was put together of this image by the same rules and for the same
        options, if all below it is still taken to be there."""
        if self.path is None:
            return None
        key = key_of(digest)
        row = self._rows.one(_GET_IMAGE, (key, self._rows.place(registry)))
        if row is None or row[0] != variant:
            return None
        _, since, until, used, packed, stored, mark = row
        try:
            span = since, until
            good = mark == image_mark_of(
                registry, key, variant=variant, span=span, body=stored
            )
            body = unpack_marked(packed, stored) if good else None
        except TypeError:
            body = None  # a row of other types than ours
        if body is None:
            self.drop_image(registry, digest)
            return None
        now = int(self._now())
        if not since <= now < until:
            return None
        is_due = not isinstance(used, int) or abs(now - used) > USED_STEP_S
        if is_due:
            self._rows.batch.used_images[registry, key] = now
            self._rows.added()
        return StoredImage(body, is_due)

    def put_image(
        self,
        registry: str,
        digest: str,
        body: bytes,
        *,
        variant: bytes,
        span: tuple[int, int],
    ) -> None:
        """Remember what was put together of an image. `span`: from when until when
        (epoch seconds) what is below it is taken to be there."""
        if self.path is None or not self._rows.has_room():
            return
        since, until = span
        self._rows.batch.images[registry, key_of(digest)] = Image(
            variant=variant, since=since, until=until, used=int(self._now()), body=body
        )
        self._rows.batch.size += len(body)
        self._rows.added()

    def drop_image(self, registry: str, digest: str) -> None:
        """Forget an image that is not what it should be."""
        self.damaged += 1
        log.info("a damaged image is removed from the store: %s", digest)
        name = registry, key_of(digest)
        self._rows.batch.images.pop(name, None)
        self._rows.batch.damaged_images.add(name)
        self._rows.added()

    # -- tags ------------------------------------------------------------------

    def tag(self, registry: str, repository: str, tag: str) -> SeenTag | None:
        """What this tag named when an earlier run asked for it."""
        if self.path is None:
            return None
        name = registry, repository, tag
        found = self._rows.fresh.tags.get(name)
        if found is not None:
            return found
        place = self._rows.place(registry, repository)
        row = None if place is None else self._rows.one(_GET_TAG, (place, tag))
        if row is None:
            return None
        key, header, said, seen, mark = row
        try:
            good = mark == mark_of(*name, key=key, header=header, said=said)
            found = SeenTag(
                digest=digest_of(key),
                header=header,
                content_type=said_of_row(said),
                seen=int(seen),
            )
        except (TypeError, KeyError, AttributeError, ValueError):
            good = False  # a row of other types than ours
        if not good or found is None:
            self.damaged += 1
            self._rows.batch.damaged_tags.add(name)
            self._rows.added()
            return None
        if abs(int(self._now()) - found.seen) > USED_STEP_S:
            self._put_tag(name, found)
        return found

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
        """Remember what this tag names."""
        seen = SeenTag(digest=digest, header=header, content_type=content_type)
        self._put_tag((registry, repository, tag), seen)

    def _put_tag(self, name: tuple[str, str, str], seen: SeenTag) -> None:
        if self.path is not None and self._rows.has_room():
            seen = replace(seen, seen=int(self._now()))
            self._rows.batch.tags[name] = self._rows.fresh.tags[name] = seen
            self._rows.added()

    # -- hosts -----------------------------------------------------------------

    def host(self, registry: str) -> HostNotes:
        """What was learned of this registry."""
        hosts = self._rows.fresh.hosts  # all that were asked about stay there
        notes = hosts.get(registry)
        if notes is None:
            place = self._rows.place(registry)
            row = None if place is None else self._rows.one(_GET_HOST, (place,))
            notes = HostNotes()
            if row is not None and isinstance(row[1], int):
                notes = HostNotes(distrusted=bool(row[0]), no_head_until=row[1])
            hosts[registry] = notes
        return notes

    def head_pays(self, registry: str) -> bool:
        """Whether a HEAD may say what a GET would."""
        notes, now = self.host(registry), self._now()
        # A date far ahead is of a clock that went wrong.
        silent = now < notes.no_head_until <= now + NO_HEAD_S
        return not notes.distrusted and not silent

    def distrust(self, registry: str) -> None:
        """Remember that a digest header of this registry did not name the content."""
        notes = self.host(registry)
        if not notes.distrusted:
            self._note(registry, replace(notes, distrusted=True))

    def no_head(self, registry: str) -> None:
        """Remember that HEAD did not work where GET did."""
        until = int(self._now()) + NO_HEAD_S
        self._note(registry, replace(self.host(registry), no_head_until=until))

    def _note(self, registry: str, notes: HostNotes) -> None:
        self._rows.batch.hosts[registry] = self._rows.fresh.hosts[registry] = notes
        self._rows.added()


# -- open --
# The store of a run, from its settings.

log = logging.getLogger("auditor.cache")

FILE_NAME = "digests.sqlite"


def store_path(settings: Settings) -> Path | None:
    """Where the store is; null for a private one."""
    if settings.no_store:
        return None
    if settings.store is not None:
        return Path(settings.store)
    # Only who has not said where the store is needs to know where caches are.
    import platformdirs  # noqa: PLC0415

    folder = platformdirs.user_cache_path("auditor", appauthor=False)
    if not folder.is_absolute():  # of a user without a home directory: ~/.cache
        log.warning("there is no cache directory for the store; going on without")
        return None
    return folder / FILE_NAME


@asynccontextmanager
async def open_store(
    settings: Settings, *, now: Callable[[], float]
) -> AsyncIterator[DigestStore]:
    """The store that the settings name; `now` is epoch seconds."""
    path = store_path(settings)
    with DigestStore(path, now=now, max_bytes=settings.store_max_size) as store:
        yield store
