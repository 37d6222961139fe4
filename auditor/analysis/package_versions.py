"""The order of package versions, which each ecosystem defines in its own way.

    compare_versions("deb", "1.0~rc1", "1.0")    -1
    VersionRange.parse("<3.0.8").contains("rpm", "1:3.0.7-27.el9")    True

A version becomes a key that Python compares. The rules:

- deb: Debian policy 5.6.12, deb-version(7)
- rpm: rpm-version(7), `rpmvercmp` with tilde and caret
- apk: apk-package(5), of Gentoo's versions (PMS, chapter 3)
- pypi: PEP 440
- npm, golang, cargo, nuget and others: semver.org 2.0.0; parts may be missing (`1.2`),
  and a fourth one may be there (NuGet)
- maven: POM reference, "Version Order Specification"
- gem: Gem::Version
- others: numbers with dots, with one letter (OpenSSL 1.1.1k) or a pre-release (semver)

A version that its ecosystem's rules do not cover has no key: its order is unknown, and
is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from string import digits
from typing import Any, Self

from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text

# Nested tuples of numbers and texts; only keys of one ecosystem can be compared.
Key = tuple[Any, ...]

# A longer one is not a version; Python reads numbers of up to 4,300 digits.
MAX_VERSION_CHARS = 500


def compare_versions(kind: str | None, left: str, right: str) -> int | None:
    """-1, 0 or 1 for a version before, equal to or after another; None if unknown."""
    first, second = version_key(kind, left), version_key(kind, right)
    if first is None or second is None:
        return None
    return (first > second) - (first < second)


def version_key(kind: str | None, version: str) -> Key | None:
    """The key of a version of a package type (that of package URLs), or None."""
    text = version.strip()
    if len(text) > MAX_VERSION_CHARS:
        return None
    return _KEYS.get(kind or "", _generic)(text)


# -- ranges ------------------------------------------------------------------------

_OPERATORS: Mapping[str, frozenset[int]] = {
    "<": frozenset({-1}),
    "<=": frozenset({-1, 0}),
    ">": frozenset({1}),
    ">=": frozenset({0, 1}),
    "=": frozenset({0}),
    "==": frozenset({0}),
    "!=": frozenset({-1, 1}),
}
_BOUND = re.compile(r"(<=|>=|==|!=|<|>|=)?[ \t]*([0-9A-Za-z][^\s<>=!,]*)")
_EPOCH = re.compile(r"[0-9]+:")
_MAX_BOUNDS = 20


@dataclass(frozen=True, slots=True)
class VersionRange:
    """Bounds that all apply: `>=3.0,<3.0.8`."""

    bounds: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a range; a version alone is that version.

        Raises `ValueError` with a sentence.
        """
        bounds = []
        for part in text.split(","):
            match = _BOUND.fullmatch(part.strip())
            if match is None or len(match[2]) > MAX_VERSION_CHARS:
                raise ValueError(
                    f"{safe_text(text, 60)}: not a range of versions; write"
                    " '<3.0.8', '>=3.0,<3.0.8' or '3.0.7'"
                )
            bounds.append((match[1] or "=", match[2]))
        if len(bounds) > _MAX_BOUNDS:
            raise ValueError(f"has more than {_MAX_BOUNDS} bounds")
        return cls(tuple(bounds))

    def __str__(self) -> str:
        return ",".join(operator + version for operator, version in self.bounds)

    def contains(self, kind: str | None, version: str | None) -> bool | None:
        """Whether a version is in the range; None if the order is not known.

        A bound without epoch or revision says nothing about them: `<3.0.8` contains
        `1:3.0.7-27.el9`, and `3.0.7` is `3.0.7-1`.
        """
        if version is None or version_key(kind, version) is None:
            return None
        answers = {self._is_within(kind, version.strip(), one) for one in self.bounds}
        if False in answers:
            return False
        return None if None in answers else True

    @staticmethod
    def _is_within(
        kind: str | None, version: str, bound: tuple[str, str]
    ) -> bool | None:
        operator, limit = bound
        order = compare_versions(kind, _as_exact_as(kind, version, limit), limit)
        return None if order is None else order in _OPERATORS[operator]


def _as_exact_as(kind: str | None, version: str, limit: str) -> str:
    """A version of a distribution without the epoch or revision that a bound lacks."""
    if kind not in {"apk", "deb", "rpm"}:
        return version
    epoch = _EPOCH.match(version)
    if epoch is not None and not _EPOCH.match(limit):
        version = version[epoch.end() :]
    if kind == "apk":
        return version if _REVISION.search(limit) else _REVISION.sub("", version)
    return version if "-" in limit else version.rpartition("-")[0] or version


_REVISION = re.compile(r"-r[0-9]+$")

# -- Debian ------------------------------------------------------------------------

_DEB = re.compile(r"(?:([0-9]+):)?([0-9A-Za-z.+~-]+)")
_DEB_PART = re.compile(r"([^0-9]*)([0-9]*)")


def _deb(text: str) -> Key | None:
    match = _DEB.fullmatch(text)
    if match is None:
        return None
    upstream, dash, revision = match[2].rpartition("-")
    if not dash:
        upstream, revision = match[2], ""
    return int(match[1] or 0), _deb_part(upstream), _deb_part(revision)


def _deb_part(text: str) -> Key:
    """The texts and numbers by turns; the end sorts before letters and after `~`."""
    parts: list[Any] = []
    for match in _DEB_PART.finditer(text):
        if match[0] or not parts:
            order = (*map(_deb_order, match[1]), 0)
            parts += [order, int(match[2] or 0)]
    return (*parts, (0,))


def _deb_order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


# -- RPM ---------------------------------------------------------------------------

_RPM = re.compile(r"(?:([0-9]+):)?([0-9A-Za-z._+~^]+)(?:-([0-9A-Za-z._+~^]+))?")
_RPM_TOKEN = re.compile(r"[0-9]+|[A-Za-z]+|~|\^")


def _rpm(text: str) -> Key | None:
    match = _RPM.fullmatch(text)
    if match is None:
        return None
    return int(match[1] or 0), _rpm_part(match[2]), _rpm_part(match[3] or "")


def _rpm_part(text: str) -> Key:
    """`~` sorts before the end, `^` after it, then letters, then numbers."""
    tokens: list[tuple[int, Any]] = []
    for token in _RPM_TOKEN.findall(text):
        if token == "~":
            tokens.append((-1, 0))
        elif token == "^":
            tokens.append((1, 0))
        elif token.isdigit():
            tokens.append((3, int(token)))
        else:
            tokens.append((2, token))
    return (*tokens, (0, 0))


# -- Alpine ------------------------------------------------------------------------

_APK = re.compile(
    r"([0-9]+)((?:\.[0-9]+)*)([a-z]?)((?:_[a-z]+[0-9]*)*)(?:~[0-9a-f]+)?(-r[0-9]+)?"
)
_APK_SUFFIX = re.compile(r"_([a-z]+)([0-9]*)")
_BEFORE = ("alpha", "beta", "pre", "rc")
_AFTER = ("cvs", "svn", "git", "hg", "p")


def _apk(text: str) -> Key | None:
    match = _APK.fullmatch(text)
    if match is None:
        return None
    tokens: list[tuple[Any, ...]] = [(6, 1, int(match[1]), "")]
    for part in match[2].split(".")[1:]:
        # With a leading zero, the digits of a fraction: 1.05 is before 1.1.
        is_fraction = part.startswith("0")
        tokens.append((6, 0, 0, part) if is_fraction else (6, 1, int(part), ""))
    if match[3]:
        tokens.append((4, ord(match[3])))
    for name, number in _APK_SUFFIX.findall(match[4]):
        value = int(number) if number else -1
        if name in _BEFORE:
            tokens.append((-1, _BEFORE.index(name), value))
        elif name in _AFTER:
            tokens.append((3, _AFTER.index(name), value))
        else:
            return None
    if match[5]:
        tokens.append((1, int(match[5][2:])))
    return (*tokens, (0,))


# -- Python ------------------------------------------------------------------------

# PEP 440, appendix B, with the alternative spellings of "Normalization".
_PEP440 = re.compile(
    r"v?(?:([0-9]+)!)?([0-9]+(?:\.[0-9]+)*)"
    r"(?:[-_.]?(alpha|beta|preview|pre|a|b|c|rc)[-_.]?([0-9]*))?"
    r"((?:-[0-9]+)|(?:[-_.]?(?:post|rev|r)[-_.]?[0-9]*))?"
    r"([-_.]?dev[-_.]?[0-9]*)?"
    r"(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?",
    re.IGNORECASE,
)
_PRE_RELEASES = {"a": 0, "alpha": 0, "b": 1, "beta": 1}
_LOWEST, _HIGHEST = (-1,), (9,)


def _pep440(text: str) -> Key | None:
    match = _PEP440.fullmatch(text)
    if match is None:
        return None
    epoch, release, pre_name, pre_number, post, dev, local = match.groups()
    pre: Key
    if pre_name is not None:
        pre = (_PRE_RELEASES.get(pre_name.lower(), 2), int(pre_number or 0))
    else:  # a development release sorts before pre-releases, what is none after them
        pre = _LOWEST if dev is not None and post is None else _HIGHEST
    return (
        int(epoch or 0),
        _without_zeros([int(part) for part in release.split(".")]),
        pre,
        _LOWEST if post is None else (_last_number(post),),
        _HIGHEST if dev is None else (0, _last_number(dev)),
        _local(local),
    )


def _last_number(text: str) -> int:
    return int(text[len(text.rstrip(digits)) :] or 0)


def _local(text: str | None) -> Key:
    parts = re.split("[-_.]", text.lower()) if text else []
    return tuple(
        (1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts
    )


def _without_zeros(numbers: list[int]) -> Key:
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


# -- Semantic Versioning -------------------------------------------------------------

_SEMVER = re.compile(
    r"v?([0-9]+(?:\.[0-9]+){0,3})"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.+-]+)?"
)


def _semver(text: str) -> Key | None:
    match = _SEMVER.fullmatch(text)
    if match is None:
        return None
    numbers = _without_zeros([int(part) for part in match[1].split(".")])
    if match[2] is None:
        return numbers, (1,)
    names = match[2].split(".")
    return numbers, (0, *((0, int(n), "") if n.isdigit() else (1, 0, n) for n in names))


# The releases of Go itself, of which the standard library has the version: go1.21rc2.
_GO = re.compile(r"go([0-9]+(?:\.[0-9]+){0,2})(?:(beta|rc)([0-9]+))?(?: .*|-.*)?")


def _golang(text: str) -> Key | None:
    match = _GO.fullmatch(text)
    if match is None:
        return _semver(text)
    before = f"-{match[2]}.{match[3]}" if match[2] else ""
    return _semver(match[1] + before)


def _nuget(text: str) -> Key | None:
    return _semver(text.lower())  # pre-releases are compared without regard to case


# -- Maven -------------------------------------------------------------------------

_MAVEN_TOKEN = re.compile(r"([.-]?)([0-9]+|[^0-9.-]+|)")
_QUALIFIERS = ("alpha", "beta", "milestone", "rc", "snapshot", "", "sp")
_ALIASES = {"cr": "rc", "final": "", "ga": "", "release": ""}
_SHORT = {"a": "alpha", "b": "beta", "m": "milestone"}
_MAVEN = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]*")


def _maven(text: str) -> Key | None:
    if _MAVEN.fullmatch(text) is None:
        return None
    tokens = _maven_tokens(text.lower())
    # Nulls at the end count for nothing, nor do those before a hyphen or a qualifier
    # (ComparableVersion, `normalize`).
    kept: list[tuple[str, str]] = []
    for separator, value in tokens:
        if separator == "-" or not value.isdigit():
            _trim(kept)
        kept.append((separator, value))
    _trim(kept)
    return (*(_maven_key(*token) for token in kept), _MAVEN_END)


def _trim(tokens: list[tuple[str, str]]) -> None:
    while len(tokens) > 1 and tokens[-1][1] in {"", "0"}:
        tokens.pop()


def _maven_tokens(text: str) -> list[tuple[str, str]]:
    """The separators and values; a change between digits and letters is a hyphen."""
    found: list[tuple[str, str]] = []
    matches = [match for match in _MAVEN_TOKEN.finditer(text) if match[0]]
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        separator = match[1] or ("-" if found else ".")
        value = match[2] or "0"
        if value.isdigit():
            value = value.lstrip("0") or "0"
        elif following is not None and not following[1]:
            value = _SHORT.get(value, value)
        found.append((separator, _ALIASES.get(value, value)))
    return found


# ".qualifier" = "-qualifier" < the end < "-number" < ".number".
_MAVEN_END: Key = (0, _QUALIFIERS.index(""), 0, "")


def _maven_key(separator: str, value: str) -> Key:
    if value.isdigit():
        return (1 if separator == "-" else 2, 0, int(value), "")
    if value in _QUALIFIERS:
        return (0, _QUALIFIERS.index(value), 0, "")
    return (0, len(_QUALIFIERS), 0, value)


# -- Ruby --------------------------------------------------------------------------

_GEM = re.compile(r"[0-9]+(?:\.[0-9A-Za-z]+)*(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?")
_GEM_ZERO = (1, 0, "")
_GEM_TOKEN = re.compile(r"[0-9]+|[A-Za-z]+")


def _gem(text: str) -> Key | None:
    """Letters make a pre-release; a number sorts after letters."""
    if _GEM.fullmatch(text) is None:
        return None
    numbers: list[Any] = []
    rest: list[Any] = []
    for token in _GEM_TOKEN.findall(text.replace("-", ".pre.")):
        key = (1, int(token), "") if token.isdigit() else (0, 0, token)
        (rest if rest or not token.isdigit() else numbers).append(key)
    for part in (numbers, rest):
        while part and part[-1] == _GEM_ZERO:
            part.pop()
    if any(one == _GEM_ZERO and after[0] == 0 for one, after in pairwise(rest)):
        return None  # 1.a.0.b would need padding with zeros, which no key can have
    return (*numbers, *rest, _GEM_ZERO)


# -- others ------------------------------------------------------------------------

_LETTERED = re.compile(r"v?([0-9]+(?:\.[0-9]+)*)([a-z]?)")


def _generic(text: str) -> Key | None:
    match = _LETTERED.fullmatch(text)
    if match is not None:
        numbers = _without_zeros([int(part) for part in match[1].split(".")])
        return numbers, (1, match[2])
    found = _semver(text)
    return found if found is None or found[1] != (1,) else (found[0], (1, ""))


def _unknown(_: str) -> None:
    return None


_KEYS: Mapping[str, Callable[[str], Key | None]] = {
    "apk": _apk,
    "deb": _deb,
    "rpm": _rpm,
    "pypi": _pep440,
    "maven": _maven,
    "gem": _gem,
    "golang": _golang,
    "nuget": _nuget,
    **dict.fromkeys(
        ("cargo", "composer", "hex", "npm", "pub", "swift", "github"), _semver
    ),
    # Arch's vercmp differs from RPM's in letters at the end.
    "alpm": _unknown,
}
