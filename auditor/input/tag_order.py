"""The order of tags by version, newest last: what `--latest` means.

Tags follow no specification: `1.2.3`, `v1.2`, `1.10-alpine`, `2.0-rc1`, `2.0.0-beta.2`,
`20240131`, `latest`, `main`. What is made of them:

- Numbers with dots, with or without a `v`, are a version; `1.2` is `1.2.0`.
- Words that announce a release (`rc`, `beta`, ...) make a pre-release, which comes
  before its release (semver.org 2.0.0, section 11). Every other word names a variant,
  `-alpine` or `-jdk17`, of that release: it comes after the pre-releases and before
  the plain tag, which is what is meant by the newest.
- One number of six digits and more is a date or a build, not a version. It comes
  before every version, so that a night's build does not hide the releases.
- Anything else is no version and comes first of all, `latest` behind the others;
  parts that are numbers are compared as numbers, so `build-10` comes after `build-9`.
  Before all of these come tags that stand for a digest, such as cosign's.

The order is total, and equal only for equal tags.
"""

from __future__ import annotations

import re
from enum import IntEnum

from auditor.fast_dataclass import dataclass
from auditor.oci.attachments import is_digest_tag
from auditor.util.lazy_regex import Pattern

# In the order of their release. Single letters as in PEP 440: 2.0a1, 2.0b2.
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
_VERSION = Pattern(
    r"[vV]?(?P<numbers>[0-9]++(?:\.[0-9]++)*)(?!\.[0-9])"
    # Directly behind the numbers only a word that is known, with its number: the
    # short hash 7b2 is no version, and 8u292 is none that we could order.
    rf"(?P<rest>(?:(?i:{_WORDS})[0-9]+)?(?:[-_.].*)?)"
)
_ANNOUNCEMENT = Pattern(
    rf"[-_.]?(?P<word>{_WORDS})(?P<number>(?:[-_.]?[0-9]+)*)(?![a-z0-9])", re.IGNORECASE
)
_DIGITS = Pattern(r"([0-9]+)")
# A date of six digits is 240131. No project counts its releases that far.
LONG_NUMBER_DIGITS = 6

# Numbers before text, each compared with its like.
_Piece = tuple[int, int, str]


class TagClass(IntEnum):
    """What kind of tag it is, in the order of their worth."""

    DIGEST = 0
    NAME = 1
    LATEST = 2
    NUMBER = 3
    VERSION = 4


@dataclass(frozen=True, slots=True, order=True)
class TagOrder:
    """A tag's place. `numbers` are without zeros at their end.

    `stage` is the rank of a pre-release, a release's is the highest; `announced` its
    number. `variant` is the rest, and `plain` says that there is none.
    """

    tag_class: TagClass
    numbers: tuple[int, ...]
    stage: int
    announced: tuple[int, ...]
    plain: bool
    length: int
    variant: tuple[_Piece, ...]
    tag: str


def tag_order(tag: str) -> TagOrder:
    """The place of a tag: the greatest is the newest."""
    found = _VERSION.fullmatch(tag)
    numbers = found["numbers"] if found else ""
    if found is None or ("." not in numbers and _is_glued(found["rest"])):
        return TagOrder(
            tag_class=_class_of_name(tag),
            numbers=(),
            stage=_RELEASE,
            announced=(),
            plain=True,
            length=0,
            variant=natural(tag),
            tag=tag,
        )
    stage, announced, variant = _announcement(found["rest"])
    parts = numbers.split(".")
    is_long = len(parts) == 1 and len(numbers) >= LONG_NUMBER_DIGITS
    return TagOrder(
        tag_class=TagClass.NUMBER if is_long else TagClass.VERSION,
        numbers=_trimmed(tuple(map(int, parts))),
        stage=stage,
        announced=announced,
        plain=not variant,
        length=len(parts),
        variant=natural(variant),
        tag=tag,
    )


def _class_of_name(tag: str) -> TagClass:
    if is_digest_tag(tag):
        return TagClass.DIGEST
    return TagClass.LATEST if tag.lower() == "latest" else TagClass.NAME


def natural(text: str) -> tuple[_Piece, ...]:
    """A key that compares the numbers in a text as numbers."""
    return tuple(
        (0, int(piece), piece) if piece[0] in "0123456789" else (1, 0, piece)
        for piece in _DIGITS.split(text)
        if piece
    )


def _is_glued(rest: str) -> bool:
    """Whether a letter follows the numbers directly: 7a1 without a dot is a hash."""
    return rest[:1].isalpha()


def _announcement(rest: str) -> tuple[int, tuple[int, ...], str]:
    """The stage of a release, its number, and what is left: the variant."""
    found = _ANNOUNCEMENT.match(rest)
    if found is None:
        return _RELEASE, (), rest
    numbers = tuple(map(int, _DIGITS.findall(found["number"])))
    return _RANKS[found["word"].lower()], numbers, rest[found.end() :]


def _trimmed(numbers: tuple[int, ...]) -> tuple[int, ...]:
    while numbers and not numbers[-1]:
        numbers = numbers[:-1]
    return numbers
