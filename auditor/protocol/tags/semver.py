"""Semantic versions and the constraints that choose among them.

Versions: semver.org 2.0.0, read as container tags are written: a leading `v` and
missing numbers are let through. Constraints: those of github.com/Masterminds/semver
v3, which skopeo's `images-by-semver` and Helm speak:

    >= 1.2, < 2 || 3.x        ~1.2.3        ^0.4        1.2 - 1.4        !=1.3.x

A comma or a blank is "and". A version with a pre-release part satisfies only a
constraint that has one, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import Pattern
from auditor.util.text import safe_text

_PRE = r"(?:-(?P<pre>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
_META = r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_VERSION = Pattern(
    rf"v?(?P<major>[0-9]+)(?:\.(?P<minor>[0-9]+))?(?:\.(?P<patch>[0-9]+))?{_PRE}{_META}"
)
_PLACE = r"[0-9]+|[xX*]"
_LIMIT = Pattern(
    r"\s*(?P<operator>=|!=|>=|=>|<=|=<|>|<|~>|~|\^|)\s*"
    rf"v?(?P<major>{_PLACE})(?:\.(?P<minor>{_PLACE}))?(?:\.(?P<patch>{_PLACE}))?"
    rf"{_PRE}{_META}(?=[\s,]|$)\s*,?"
)
_RANGE = Pattern(r"(?P<least>\S+)\s+-\s+(?P<most>\S+)")
# Longer than any constraint that a person writes.
MAX_CONSTRAINT_CHARS = 1000

# Section 11: numbers before words, fewer identifiers before more.
_Identifier: TypeAlias = tuple[int, int, str]


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version; the order is that of section 11, build metadata set aside."""

    major: int
    minor: int
    patch: int
    is_release: bool = True
    pre: tuple[_Identifier, ...] = ()

    @property
    def numbers(self) -> tuple[int, int, int]:
        """Without the pre-release part."""
        return (self.major, self.minor, self.patch)


def parse_version(tag: str) -> Version | None:
    """The version that a tag is, or null."""
    found = _VERSION.fullmatch(tag)
    if found is None:
        return None
    identifiers = (found["pre"] or "").split(".")
    if any(_is_padded(one) for one in identifiers):
        return None  # section 9
    return Version(
        int(found["major"]),
        int(found["minor"] or 0),
        int(found["patch"] or 0),
        found["pre"] is None,
        tuple(map(_identifier, identifiers)) if found["pre"] else (),
    )


def _is_padded(identifier: str) -> bool:
    return len(identifier) > 1 and identifier[0] == "0" and identifier.isdecimal()


def _identifier(text: str) -> _Identifier:
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    """One comparison. `given` is how many of the three numbers were written."""

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
        """Whether the version has the numbers that were written."""
        return version.numbers[: self.given] == self.written


def _equal(version: Version, limit: _Limit) -> bool:
    return limit.is_within(version) if limit.given < 3 else version == limit.version


def _greater(version: Version, limit: _Limit) -> bool:
    if limit.given == 3:
        return version > limit.version
    return version.numbers[: limit.given] > limit.written


def _at_most(version: Version, limit: _Limit) -> bool:
    if limit.given == 3:
        return version <= limit.version
    return version.numbers[: limit.given] <= limit.written


def _tilde(version: Version, limit: _Limit) -> bool:
    """As `=` for what is not written; of three numbers, the last may grow."""
    if limit.given == 3 and not any(limit.version.numbers):
        return version >= limit.version  # Masterminds: ~0.0.0 is no limit
    within = version.numbers[: min(limit.given, 2)] == limit.written[:2]
    return within and version >= limit.version


def _caret(version: Version, limit: _Limit) -> bool:
    """What was written stays up to its first number that is not zero."""
    zeros = 0
    while zeros < limit.given - 1 and limit.version.numbers[zeros] == 0:
        zeros += 1
    kept = min(zeros + 1, limit.given)
    same = version.numbers[:kept] == limit.version.numbers[:kept]
    return same and version >= limit.version


_OPERATORS: Mapping[str, Callable[[Version, _Limit], bool]] = {
    "": _equal,
    "=": _equal,
    "!=": lambda version, limit: not _equal(version, limit),
    ">": _greater,
    ">=": lambda version, limit: version >= limit.version,
    "=>": lambda version, limit: version >= limit.version,
    "<": lambda version, limit: version < limit.version,
    "<=": _at_most,
    "=<": _at_most,
    "~": _tilde,
    "~>": _tilde,
    "^": _caret,
}


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a version has to satisfy: all limits of one of the alternatives."""

    alternatives: tuple[tuple[_Limit, ...], ...]

    def allows(self, version: Version) -> bool:
        """Whether the version satisfies it."""
        return any(
            all(limit.allows(version) for limit in limits)
            for limits in self.alternatives
        )


def parse_constraint(text: str) -> Constraint:
    """A constraint, or `ProtocolError(INVALID_REFERENCE)` that shows where it ends."""
    if len(text) > MAX_CONSTRAINT_CHARS:
        raise _invalid(text, f"it is longer than {MAX_CONSTRAINT_CHARS} characters")
    return Constraint(tuple(_limits(part, text) for part in text.split("||")))


def _limits(part: str, text: str) -> tuple[_Limit, ...]:
    part = _RANGE.sub(r">=\g<least> <=\g<most>", part).strip()
    limits = []
    place = 0
    while place < len(part):
        found = _LIMIT.match(part, place)
        if found is None:
            raise _invalid(text, f'"{safe_text(part[place:], 40)}" is no comparison')
        limits.append(_limit(found))
        place = found.end()
    if not limits or part.endswith(","):
        raise _invalid(text, "a comparison such as >= 1.2 is missing")
    return tuple(limits)


def _limit(found: re.Match[str]) -> _Limit:
    given = 0
    numbers = [0, 0, 0]
    for part in ("major", "minor", "patch"):
        if found[part] is None or not found[part].isdecimal():
            break
        numbers[given] = int(found[part])
        given += 1
    identifiers = (found["pre"] or "").split(".")
    version = Version(
        numbers[0],
        numbers[1],
        numbers[2],
        found["pre"] is None,
        tuple(map(_identifier, identifiers)) if found["pre"] else (),
    )
    return _Limit(operator=found["operator"], version=version, given=given)


def _invalid(text: str, why: str) -> ProtocolError:
    return ProtocolError(
        f'"{safe_text(text, 80)}" is not a version constraint: {why}',
        FailureKind.INVALID_REFERENCE,
    )
