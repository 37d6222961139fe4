"""Filters listed tags and repositories by name, version and age.

Tags are filtered by their patterns first, then digest tags are left out, then the
newest of the rest are kept. A tag that the input names itself is never filtered.

`--latest` orders tags by version, newest last (`tag_order`). Tags follow no
specification: `1.2.3`, `v1.2`, `1.10-alpine`, `2.0-rc1`, `20240131`, `latest`, `main`.
The rules:

- Numbers with dots, with or without a `v`, are a version; `1.2` is `1.2.0`.
- Words such as `rc` and `beta` make a pre-release, which sorts before its release
  (semver.org 2.0.0, section 11). Every other word is a variant of that release
  (`-alpine`, `-jdk17`): it sorts after the pre-releases and before the plain tag.
- A single number of six or more digits is a date or a build number. It sorts before
  every version, so that a nightly build does not hide the releases.
- Any other tag sorts before those, `latest` as the last of them. Numbers in it are
  compared as numbers, so `build-10` sorts after `build-9`.
- Digest tags, such as cosign's, sort before all others.

The order is total, and equal only for equal tags.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from dataclasses import field
from datetime import UTC, datetime
from enum import IntEnum
from fnmatch import translate

from auditor.config import Settings
from auditor.fast_dataclass import dataclass
from auditor.model import ImageRecord
from auditor.oci.attachments import is_digest_tag
from auditor.oci.reference import path_matches
from auditor.registry.listing.interface import ListedTag
from auditor.util.lazy_regex import LazyPattern
from auditor.util.time_span import (
    is_older_than,
    moment_of,
    parse_image_time,
    parse_since,
)

# In the order in which they are released. Single letters as in PEP 440: 2.0a1, 2.0b2.
_PRE_RELEASES = (
    ("dev", "nightly", "snapshot", "canary", "edge"),
    ("alpha", "a"),
    ("beta", "b"),
    ("milestone", "m"),
    ("preview", "pre", "ea"),
    ("rc", "cr"),
)
_RANKS = {word: rank for rank, words in enumerate(_PRE_RELEASES) for word in words}
_RELEASE = len(_PRE_RELEASES)

_WORDS = "|".join(sorted(_RANKS, key=len, reverse=True))
_VERSION = LazyPattern(
    r"[vV]?(?P<numbers>[0-9]++(?:\.[0-9]++)*)(?!\.[0-9])"
    # Directly after the numbers only a pre-release word with its number: the short
    # hash 7b2 is not a version, and 8u292 cannot be ordered.
    rf"(?P<rest>(?:(?i:{_WORDS})[0-9]+)?(?:[-_.].*)?)"
)
_PRE_RELEASE_PART = LazyPattern(
    rf"[-_.]?(?P<word>{_WORDS})(?P<number>(?:[-_.]?[0-9]+)*)(?![a-z0-9])", re.IGNORECASE
)
_DIGITS = LazyPattern(r"([0-9]+)")
# The shortest date is 240131. No project has that many releases.
LONG_NUMBER_DIGITS = 6

# Numbers sort before text.
_Piece = tuple[int, int, str]


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


class TagClass(IntEnum):
    """The kinds of tags, in their order."""

    DIGEST = 0
    NAME = 1
    LATEST = 2
    NUMBER = 3
    VERSION = 4


@dataclass(frozen=True, slots=True, order=True)
class TagOrder:
    """The sort key of a tag. `numbers` has no trailing zeros.

    `stage` is the rank of a pre-release; that of a release is the highest.
    `stage_numbers` are the numbers after it (`rc.2`). `variant` is the rest; `is_plain`
    is whether it is empty.
    """

    tag_class: TagClass
    numbers: tuple[int, ...] = ()
    stage: int = _RELEASE
    stage_numbers: tuple[int, ...] = ()
    is_plain: bool = True
    length: int = 0
    variant: tuple[_Piece, ...] = ()
    tag: str = ""


def tag_order(tag: str) -> TagOrder:
    """The sort key of a tag; the greatest is the newest."""
    match = _VERSION.fullmatch(tag)
    numbers = match["numbers"] if match else ""
    if match is None or ("." not in numbers and match["rest"][:1].isalpha()):
        # A letter after a number without a dot (7a1) is a hash.
        if is_digest_tag(tag):
            tag_class = TagClass.DIGEST
        else:
            is_latest = tag.lower() == "latest"
            tag_class = TagClass.LATEST if is_latest else TagClass.NAME
        return TagOrder(tag_class, variant=natural_key(tag), tag=tag)
    stage, stage_numbers, variant = _split_pre_release(match["rest"])
    parts = [int(part) for part in numbers.split(".")]
    length = len(parts)
    is_long = length == 1 and len(numbers) >= LONG_NUMBER_DIGITS
    while parts and not parts[-1]:
        parts.pop()
    return TagOrder(
        tag_class=TagClass.NUMBER if is_long else TagClass.VERSION,
        numbers=tuple(parts),
        stage=stage,
        stage_numbers=stage_numbers,
        is_plain=not variant,
        length=length,
        variant=natural_key(variant),
        tag=tag,
    )


def natural_key(text: str) -> tuple[_Piece, ...]:
    """A sort key that compares the numbers in a text as numbers."""
    return tuple(
        (0, int(piece), piece) if piece[0] in "0123456789" else (1, 0, piece)
        for piece in _DIGITS.split(text)
        if piece
    )


def _split_pre_release(rest: str) -> tuple[int, tuple[int, ...], str]:
    """The stage, its numbers, and the rest, which is the variant."""
    match = _PRE_RELEASE_PART.match(rest)
    if match is None:
        return _RELEASE, (), rest
    numbers = tuple(map(int, _DIGITS.findall(match["number"])))
    return _RANKS[match["word"].lower()], numbers, rest[match.end() :]


def _compile(patterns: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(map(translate, patterns))
    return re.compile(joined) if joined else None
