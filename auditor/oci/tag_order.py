"""The order of tags: by version, newest last.

Tags follow no specification: `1.2.3`, `v1.2`, `1.10-alpine`, `2.0-rc1`, `20240131`,
`latest`, `main`. The rules:

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

`NewerTags` finds which newer tag of a repository has what an older one lacks. Tags are
compared within their variant: `1.4-alpine3.19` with `1.5-alpine3.20`, but not with
`1.5`. A pre-release is offered to pre-releases only. Of tags that are neither a
version, a date nor a build number (`latest`, `main`, a commit) only times say which is
newer: that of the push, or of the creation.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from enum import IntEnum
from operator import itemgetter
from typing import Any

from auditor.fast_dataclass import dataclass
from auditor.oci.attachments import is_digest_tag
from auditor.util.lazy_regex import LazyPattern

# In the order in which they are released. Single letters as in PEP 440: 2.0a1, 2.0b2.
_PRERELEASES = (
    ("dev", "nightly", "snapshot", "canary", "edge"),
    ("alpha", "a"),
    ("beta", "b"),
    ("milestone", "m"),
    ("preview", "pre", "ea"),
    ("rc", "cr"),
)
_RANKS = {word: rank for rank, words in enumerate(_PRERELEASES) for word in words}
RELEASE = len(_PRERELEASES)

_WORDS = "|".join(sorted(_RANKS, key=len, reverse=True))
_VERSION = LazyPattern(
    r"[vV]?(?P<numbers>[0-9]++(?:\.[0-9]++)*)(?!\.[0-9])"
    # Directly after the numbers only a pre-release word with its number: the short
    # hash 7b2 is not a version, and 8u292 cannot be ordered.
    rf"(?P<rest>(?:(?i:{_WORDS})[0-9]+)?(?:[-_.].*)?)"
)
_PRERELEASE_PART = LazyPattern(
    rf"[-_.]?(?P<word>{_WORDS})(?P<number>(?:[-_.]?[0-9]+)*)(?![a-z0-9])", re.IGNORECASE
)
_DIGITS = LazyPattern(r"([0-9]+)")
# The shortest date is 240131. No project has that many releases.
LONG_NUMBER_DIGITS = 6

# Numbers sort before text.
_Piece = tuple[int, int, str]


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
    stage: int = RELEASE
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
    match = _PRERELEASE_PART.match(rest)
    if match is None:
        return RELEASE, (), rest
    numbers = tuple(map(int, _DIGITS.findall(match["number"])))
    return _RANKS[match["word"].lower()], numbers, rest[match.end() :]


# -- newer tags ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TagContent:
    """What a tag has, such as its platforms, and its time in any unit or None."""

    tag: str
    has: Collection[str]
    time: int | None = None


# Tags that can be compared with each other, and whether they are pre-releases.
_Group = tuple[Hashable, bool]
_Place = tuple[Any, ...]


class NewerTags:
    """The tags of one repository, each asked for what newer ones have."""

    def __init__(self, tags: Iterable[TagContent]) -> None:
        self._places: dict[tuple[_Group, str], list[tuple[_Place, str]]]
        self._places = defaultdict(list)
        for content in tags:
            found = _order(content.tag, content.time)
            if found is not None:
                group, place = found
                for name in content.has:
                    self._places[group, name].append((place, content.tag))
        for places in self._places.values():
            places.sort()

    def find(self, content: TagContent, names: Iterable[str]) -> str | None:
        """The next newer tag that has one of `names`; None if there is none."""
        found = _order(content.tag, content.time)
        if found is None:
            return None
        (kind, is_pre_release), place = found
        newer: list[tuple[_Place, str]] = []
        for name in names:
            for is_pre in (False, True) if is_pre_release else (False,):
                places = self._places.get(((kind, is_pre), name), [])
                index = bisect_right(places, place, key=itemgetter(0))
                newer += places[index : index + 1]
        return min(newer)[1] if newer else None


def _order(tag: str, time: int | None) -> tuple[_Group, _Place] | None:
    """What a tag can be compared with, and its place among these."""
    order = tag_order(tag)
    if order.tag_class is TagClass.DIGEST:
        return None
    if order.tag_class in {TagClass.NAME, TagClass.LATEST}:
        return None if time is None else (("time", False), (time,))
    # `-alpine3.19` is the variant `-alpine.`, in its version 3.19.
    variant = tuple(text for is_text, _, text in order.variant if is_text)
    numbers = tuple(number for is_text, number, _ in order.variant if not is_text)
    place = (order.numbers, order.stage, order.stage_numbers, numbers)
    return ((order.tag_class, variant), order.stage != RELEASE), place


def newer_text(missing: Sequence[str], newer: str | None) -> str:
    """`1.4.2 has linux/arm64`, or that no newer tag has one of these."""
    if newer is None:
        return f"no newer tag in the report has {' or '.join(missing)}"
    return f"{newer} has {' and '.join(missing)}"
