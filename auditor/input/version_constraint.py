"""Semantic versions and constraints on them, for `images-by-semver` of skopeo.

Versions: semver.org 2.0.0, as container tags write them: a leading `v` and missing
numbers are accepted. Constraints: those of github.com/Masterminds/semver v3, which
skopeo and Helm use:

    >= 1.2, < 2 || 3.x        ~1.2.3        ^0.4        1.2 - 1.4        !=1.3.x

A comma or a blank means "and". A version with a pre-release part satisfies only a
constraint that has one, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_text

_PRE_RELEASE = r"(?:-(?P<pre_release>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
_BUILD = r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_VERSION = LazyPattern(
    rf"v?(?P<major>[0-9]+)(?:\.(?P<minor>[0-9]+))?(?:\.(?P<patch>[0-9]+))?{_PRE_RELEASE}{_BUILD}"
)
_NUMBER = r"[0-9]+|[xX*]"
_COMPARISON = LazyPattern(
    r"\s*(?P<operator>=|!=|>=|=>|<=|=<|>|<|~>|~|\^|)\s*"
    rf"v?(?P<major>{_NUMBER})(?:\.(?P<minor>{_NUMBER}))?(?:\.(?P<patch>{_NUMBER}))?"
    rf"{_PRE_RELEASE}{_BUILD}(?=[\s,]|$)\s*,?"
)
_LEADING_ZERO = LazyPattern(r"(?:^|\.)0[0-9]+(?:\.|$)")
_PARTS = ("major", "minor", "patch")
_RANGE = LazyPattern(r"(?P<low>\S+)\s+-\s+(?P<high>\S+)")
# Far longer than a constraint that a person writes.
MAX_CONSTRAINT_CHARS = 1000

# Section 11: numbers sort before words, fewer identifiers before more.
_Identifier: TypeAlias = tuple[int, int, str]


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version, ordered as section 11 defines; build metadata is ignored."""

    major: int
    minor: int
    patch: int
    is_release: bool = True
    pre_release: tuple[_Identifier, ...] = ()

    @property
    def numbers(self) -> tuple[int, int, int]:
        """Major, minor and patch."""
        return (self.major, self.minor, self.patch)


def parse_version(tag: str) -> Version | None:
    """The version of a tag; `None` if the tag is not a version."""
    match = _VERSION.fullmatch(tag)
    if match is None:
        return None
    pre_release = match["pre_release"]
    if pre_release and _LEADING_ZERO.search(pre_release):
        return None  # section 9
    numbers = [int(match[part] or 0) for part in _PARTS]
    return _version(numbers, pre_release)


def _version(numbers: list[int], pre_release: str | None) -> Version:
    major, minor, patch = numbers
    if pre_release is None:
        return Version(major, minor, patch)
    identifiers = tuple(map(_identifier, pre_release.split(".")))
    return Version(major, minor, patch, is_release=False, pre_release=identifiers)


def _identifier(text: str) -> _Identifier:
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """One comparison. `given` is how many of the three numbers are written."""

    operator: str
    version: Version
    given: int

    def allows(self, version: Version) -> bool:
        if not version.is_release and self.version.is_release:
            return False
        return _OPERATORS[self.operator](version, self)

    @property
    def written(self) -> tuple[int, ...]:
        return self.version.numbers[: self.given]

    def is_within(self, version: Version) -> bool:
        """Whether the version has the written numbers."""
        return version.numbers[: self.given] == self.written


def _equal(version: Version, bound: _Comparison) -> bool:
    return bound.is_within(version) if bound.given < 3 else version == bound.version


def _greater(version: Version, bound: _Comparison) -> bool:
    if bound.given == 3:
        return version > bound.version
    return version.numbers[: bound.given] > bound.written


def _at_most(version: Version, bound: _Comparison) -> bool:
    if bound.given == 3:
        return version <= bound.version
    return version.numbers[: bound.given] <= bound.written


def _tilde(version: Version, bound: _Comparison) -> bool:
    """The written major and minor numbers, and at least this version."""
    if bound.given == 3 and not any(bound.version.numbers):
        return version >= bound.version  # Masterminds: ~0.0.0 allows all
    within = version.numbers[: min(bound.given, 2)] == bound.written[:2]
    return within and version >= bound.version


def _caret(version: Version, bound: _Comparison) -> bool:
    """The same numbers up to the first that is not zero, and at least this version."""
    zeros = 0
    while zeros < bound.given - 1 and bound.version.numbers[zeros] == 0:
        zeros += 1
    fixed = min(zeros + 1, bound.given)
    is_same = version.numbers[:fixed] == bound.version.numbers[:fixed]
    return is_same and version >= bound.version


_OPERATORS: Mapping[str, Callable[[Version, _Comparison], bool]] = {
    "": _equal,
    "=": _equal,
    "!=": lambda version, bound: not _equal(version, bound),
    ">": _greater,
    ">=": lambda version, bound: version >= bound.version,
    "=>": lambda version, bound: version >= bound.version,
    "<": lambda version, bound: version < bound.version,
    "<=": _at_most,
    "=<": _at_most,
    "~": _tilde,
    "~>": _tilde,
    "^": _caret,
}


@dataclass(frozen=True, slots=True)
class Constraint:
    """A version satisfies it if all comparisons of one alternative hold."""

    alternatives: tuple[tuple[_Comparison, ...], ...]

    def allows(self, version: Version) -> bool:
        """Whether the version satisfies it."""
        return any(
            all(comparison.allows(version) for comparison in comparisons)
            for comparisons in self.alternatives
        )


def parse_constraint(text: str) -> Constraint:
    """Parse a constraint; raises `ProtocolError(INVALID_REFERENCE)`."""
    if len(text) > MAX_CONSTRAINT_CHARS:
        raise _invalid(text, f"longer than {MAX_CONSTRAINT_CHARS} characters")
    return Constraint(tuple(_comparisons(part, text) for part in text.split("||")))


def _comparisons(part: str, text: str) -> tuple[_Comparison, ...]:
    part = _RANGE.sub(r">=\g<low> <=\g<high>", part).strip()
    comparisons = []
    position = 0
    while position < len(part):
        match = _COMPARISON.match(part, position)
        if match is None:
            raise _invalid(
                text, f'"{safe_text(part[position:], 40)}" is not a comparison'
            )
        comparisons.append(_comparison(match))
        position = match.end()
    if not comparisons or part.endswith(","):
        raise _invalid(text, "a comparison such as >= 1.2 is missing")
    return tuple(comparisons)


def _comparison(match: re.Match[str]) -> _Comparison:
    given = 0
    numbers = [0, 0, 0]
    for part in _PARTS:
        if match[part] is None or not match[part].isdecimal():
            break
        numbers[given] = int(match[part])
        given += 1
    version = _version(numbers, match["pre_release"])
    return _Comparison(operator=match["operator"], version=version, given=given)


def _invalid(text: str, why: str) -> ProtocolError:
    return ProtocolError(
        f'"{safe_text(text, 80)}" is not a version constraint: {why}',
        FailureKind.INVALID_REFERENCE,
    )
