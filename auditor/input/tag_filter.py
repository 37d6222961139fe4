"""Filters for listed tags and repositories, and for the age of images.

Tags are filtered by their patterns first, then digest tags are left out, then the
newest of the rest are kept. A tag that the input names itself is never filtered.
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
from auditor.oci.reference import path_matches
from auditor.registry.listing.interface import ListedTag
from auditor.util.time_span import (
    is_older_than,
    moment_of,
    parse_image_time,
    parse_since,
)


class HasTagName(Protocol):
    """A listed tag, as far as its name is needed."""

    @property
    def name(self) -> str:
        """The tag."""


Entry = TypeVar("Entry", bound=HasTagName)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagFilter:
    """Filters by name. An empty `include` and a `latest` of `None` allow all tags.

    `exclude_repositories` are path patterns for the repositories of a catalog.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    omit_digest_tags: bool = False
    latest: int | None = None
    exclude_repositories: tuple[str, ...] = ()
    _included: re.Pattern[str] | None = field(init=False, compare=False, repr=False)
    _excluded: re.Pattern[str] | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_included", _compile(self.include))
        object.__setattr__(self, "_excluded", _compile(self.exclude))

    def allows(self, tag: str) -> bool:
        """Whether the filters allow a tag, except for `latest`."""
        return (
            (self._included is None or self._included.match(tag) is not None)
            and (self._excluded is None or self._excluded.match(tag) is None)
            and not (self.omit_digest_tags and is_digest_tag(tag))
        )

    def allows_repository(self, repository: str) -> bool:
        """Whether the filters allow a repository of a catalog."""
        return not any(
            path_matches(pattern, repository) for pattern in self.exclude_repositories
        )


class NewestTags(Generic[Entry]):
    """Keeps the `count` newest of the tags added, by `tag_order`.

    A tag that is added twice counts once: listings have duplicates.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._heap: list[tuple[TagOrder, int, Entry]] = []
        self._names: set[str] = set()
        self._added = 0

    def add(self, entries: Iterable[Entry]) -> None:
        """Add tags."""
        for entry in entries:
            if entry.name in self._names:
                continue
            self._added += 1
            ranked = (tag_order(entry.name), self._added, entry)
            if len(self._heap) < self._count:
                heapq.heappush(self._heap, ranked)
            elif ranked > self._heap[0]:
                _, _, oldest = heapq.heapreplace(self._heap, ranked)
                self._names.remove(oldest.name)
            else:
                continue
            self._names.add(entry.name)

    def newest_first(self) -> Iterator[Entry]:
        """The tags kept, newest first."""
        for _, _, entry in sorted(
            self._heap, key=lambda ranked: ranked[:2], reverse=True
        ):
            yield entry


def _compile(patterns: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(map(translate, patterns))
    return re.compile(joined) if joined else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The filters of a run. Without `since`, images of any age are audited."""

    tags: TagFilter = field(default_factory=TagFilter)
    since: datetime | None = None

    @classmethod
    def of(cls, settings: Settings, now: datetime) -> Selection:
        """The filters of these settings at the time `now`."""
        return cls(
            tags=TagFilter(
                include=settings.include,
                exclude=settings.exclude,
                omit_digest_tags=settings.omit_digest_tags,
                latest=settings.latest,
                exclude_repositories=settings.exclude_repositories,
            ),
            since=moment_of(parse_since(settings.since), now)
            if settings.since
            else None,
        )

    def newest_tags(self) -> NewestTags[ListedTag] | None:
        """A collector for the tags of one repository; `None` without `--latest`."""
        return None if self.tags.latest is None else NewestTags(self.tags.latest)

    def is_tag_too_old(self, tag: ListedTag) -> bool | None:
        """Whether a tag is too old; `None` if its listing does not say, so that the
        image decides."""
        if self.since is None:
            return False
        return is_older_than(self.since, created=tag.created, pushed=tag.pushed)

    def is_image_too_old(self, record: ImageRecord) -> bool:
        """Whether the newest platform of an image is too old.

        An image without a creation time is kept: none is left out on a guess.
        """
        times = [parse_image_time(platform.created) for platform in record.platforms]
        created = [time for time in times if time is not None]
        if self.since is None or not created:
            return False
        return max(created) < self.since
