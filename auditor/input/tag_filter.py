"""Which of a repository's listed tags are audited: pure functions of their names.

The order of the rules is fixed: patterns, digest tags, then of what is left the
newest. What a reference names outright is never filtered.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import field
from datetime import datetime
from fnmatch import translate
from typing import Generic, Protocol, TypeVar

from auditor.config import Settings
from auditor.fast_dataclass import dataclass
from auditor.input.tag_order import TagOrder, tag_order
from auditor.model import ImageRecord
from auditor.oci.attachments import is_digest_tag
from auditor.oci.reference_grammar import path_matches
from auditor.registry.listing.paging import ListedTag
from auditor.util.time_span import is_too_old, parse_since, read_time


class Named(Protocol):
    """What has a tag as its name."""

    @property
    def name(self) -> str:
        """The tag."""


Entry = TypeVar("Entry", bound=Named)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagFilter:
    """Rules for listed tags. `include` empty: all; `latest` null: all of them.

    `exclude_repositories` are path patterns for what a catalog names.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    omit_digest_tags: bool = False
    latest: int | None = None
    exclude_repositories: tuple[str, ...] = ()
    _included: re.Pattern[str] | None = field(init=False, compare=False, repr=False)
    _excluded: re.Pattern[str] | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_included", _any_of(self.include))
        object.__setattr__(self, "_excluded", _any_of(self.exclude))

    def wants(self, tag: str) -> bool:
        """Whether a tag's name is not filtered out; `latest` is not asked."""
        return (
            (self._included is None or self._included.match(tag) is not None)
            and (self._excluded is None or self._excluded.match(tag) is None)
            and not (self.omit_digest_tags and is_digest_tag(tag))
        )

    def wants_repository(self, repository: str) -> bool:
        """Whether a repository that a catalog names is not filtered out."""
        return not any(
            path_matches(pattern, repository) for pattern in self.exclude_repositories
        )


class Newest(Generic[Entry]):
    """The `count` newest of what is put in, by `tag_order`: it holds no more.

    What is put in twice counts once: lists have duplicates.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._heap: list[tuple[TagOrder, int, Entry]] = []
        self._held: set[str] = set()
        self._put = 0

    def put(self, entries: Iterable[Entry]) -> None:
        """Take some more in."""
        for entry in entries:
            if entry.name in self._held:
                continue
            self._put += 1
            place = (tag_order(entry.name), self._put, entry)
            if len(self._heap) < self._count:
                heapq.heappush(self._heap, place)
            elif place > self._heap[0]:
                _, _, oldest = heapq.heapreplace(self._heap, place)
                self._held.remove(oldest.name)
            else:
                continue
            self._held.add(entry.name)

    def newest_first(self) -> Iterator[Entry]:
        """What is left of all that was put in."""
        for _, _, entry in sorted(
            self._heap, key=lambda place: place[:2], reverse=True
        ):
            yield entry


def _any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(map(translate, patterns))
    return re.compile(joined) if joined else None


# -- selection --
# What of the listed tags is audited, and what of the images once they are known.


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The rules of a run. `since` null: images of any age."""

    tags: TagFilter = field(default_factory=TagFilter)
    since: datetime | None = None

    @classmethod
    def of(cls, settings: Settings, now: datetime) -> Selection:
        """What the settings say at the time `now`."""
        return cls(
            tags=TagFilter(
                include=settings.include,
                exclude=settings.exclude,
                omit_digest_tags=settings.omit_digest_tags,
                latest=settings.latest,
                exclude_repositories=settings.exclude_repositories,
            ),
            since=parse_since(settings.since).before(now) if settings.since else None,
        )

    def newest(self) -> Newest[ListedTag] | None:
        """Where the tags of one list gather, if only the newest are wanted."""
        return None if self.tags.latest is None else Newest(self.tags.latest)

    def is_too_old(self, tag: ListedTag) -> bool | None:
        """Whether a listing tells that a tag is too old; null: the image decides."""
        if self.since is None:
            return False
        return is_too_old(self.since, created=tag.created, pushed=tag.pushed)

    def drops(self, record: ImageRecord) -> bool:
        """Whether an image turns out to be too old. Its newest platform counts.

        One that does not say when it was made is kept: nothing disappears on a guess.
        """
        times = [read_time(platform.created) for platform in record.platforms]
        known = [time for time in times if time is not None]
        if self.since is None or not known:
            return False
        return max(known) < self.since
