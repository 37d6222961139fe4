"""Filters listed tags and repositories by name, version and age.

Tags are filtered by their patterns first, then digest tags are left out, then the
newest of the rest are kept, by `auditor.oci.tag_order`. A tag that the input names
itself is never filtered.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from dataclasses import field
from datetime import UTC, datetime
from fnmatch import translate

from auditor.config import Settings
from auditor.fast_dataclass import dataclass
from auditor.model import ImageRecord
from auditor.oci.attachments import is_digest_tag
from auditor.oci.reference import path_matches
from auditor.oci.tag_order import TagOrder, tag_order
from auditor.registry.listing.interface import ListedTag
from auditor.util.time_span import (
    is_older_than,
    moment_of,
    parse_image_time,
    parse_since,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The filters of a run. The defaults allow everything.

    `include` and `exclude` are patterns for tags, `exclude_repositories` are path
    patterns for the repositories of a catalog. `untagged`: manifests without a tag are
    wanted, too.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    omit_digest_tags: bool = False
    latest: int | None = None
    exclude_repositories: tuple[str, ...] = ()
    since: datetime | None = None
    untagged: bool = False
    _included: re.Pattern[str] | None = field(init=False, compare=False, repr=False)
    _excluded: re.Pattern[str] | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_included", _compile(self.include))
        object.__setattr__(self, "_excluded", _compile(self.exclude))

    @classmethod
    def of(cls, settings: Settings, now: float) -> Selection:
        """The filters of these settings at the time `now` (epoch seconds)."""
        since, at = settings.since, datetime.fromtimestamp(now, UTC)
        return cls(
            include=settings.include,
            exclude=settings.exclude,
            omit_digest_tags=settings.omit_digest_tags,
            latest=settings.latest,
            exclude_repositories=settings.exclude_repositories,
            since=moment_of(parse_since(since), at) if since else None,
            untagged=settings.untagged,
        )

    def allows_tag(self, tag: str) -> bool:
        """Whether the filters by name allow a tag."""
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

    def is_tag_too_old(self, tag: ListedTag) -> bool | None:
        """Whether a tag is too old; `None` if its listing does not contain a time."""
        if self.since is None:
            return False
        return is_older_than(self.since, created=tag.created, pushed=tag.pushed)

    def is_image_too_old(self, record: ImageRecord) -> bool | None:
        """Whether the newest platform of an image is too old; `None` if unknown.

        A platform without a date has that of the annotation (image-spec,
        annotations.md). Without one it may be newer than those with a date: then the
        time of the push counts, if the listing had it.
        """
        if self.since is None:
            return False
        annotated = record.annotations.get("org.opencontainers.image.created")
        times = [
            parse_image_time(platform.created or annotated)
            for platform in record.platforms
            # A manifest that the registry has lost has no age.
            if platform.layers is not None or platform.config_digest is not None
        ]
        if any(time is not None and time >= self.since for time in times):
            return False
        if times and None not in times:
            return True
        pushed = parse_image_time(record.pushed_at)
        return None if pushed is None else pushed < self.since


class NewestTags:
    """Keeps the `count` newest of the tags added, by `tag_order`.

    A tag that is added twice counts once: listings have duplicates.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._heap: list[tuple[TagOrder, int, ListedTag]] = []
        self._names: set[str] = set()
        self._added = 0

    def add(self, tags: Iterable[ListedTag]) -> None:
        """Add tags."""
        for tag in tags:
            if tag.name in self._names:
                continue
            self._added += 1
            ranked = (tag_order(tag.name), self._added, tag)
            if len(self._heap) < self._count:
                heapq.heappush(self._heap, ranked)
            elif ranked > self._heap[0]:
                _, _, oldest = heapq.heapreplace(self._heap, ranked)
                self._names.remove(oldest.name)
            else:
                continue
            self._names.add(tag.name)

    def newest_first(self) -> list[ListedTag]:
        """The tags kept, newest first."""
        ranked = sorted(self._heap, key=lambda entry: entry[:2], reverse=True)
        return [tag for _, _, tag in ranked]


def _compile(patterns: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(map(translate, patterns))
    return re.compile(joined) if joined else None
