"""What of the listed tags is audited, and what of the images once they are known."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime

from auditor.config import Settings
from auditor.fast_dataclass import dataclass
from auditor.input.tag_filter import Newest, TagFilter
from auditor.model import ImageRecord
from auditor.registry.listing.paging import ListedTag
from auditor.util.time_span import is_too_old, parse_since, read_time


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
