r"""skopeo's sync YAML as a list (skopeo-sync(1), "YAML file content").

registry.example.com:
  images:
    busybox: []                         # all tags
    redis: ["1.0", "sha256:0000..."]
  images-by-tag-regex:
    nginx: ^1\.13\.[12]-alpine-perl$
  images-by-semver:
    alpine: ">= 3.12.0"

How skopeo logs in and checks certificates is said in the same file; that is not
followed, and a warning says where auditor is told it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any, TypeAlias, TypeGuard

from auditor.errors import FailureKind, ProtocolError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.items import (
    FieldError,
    Item,
    Listed,
    check_registry,
    malformed,
    read_selector,
)
from auditor.input.yaml_tree import place_of
from auditor.oci.reference import TagPattern, parse_selector
from auditor.util.lazy_regex import Pattern
from auditor.util.text import safe_text

# -- semver --
# Semantic versions and the constraints that choose among them.
#
# Versions: semver.org 2.0.0, read as container tags are written: a leading `v` and
# missing numbers are let through. Constraints: those of github.com/Masterminds/semver
# v3, which skopeo's `images-by-semver` and Helm speak:
#
#     >= 1.2, < 2 || 3.x        ~1.2.3        ^0.4        1.2 - 1.4        !=1.3.x
#
# A comma or a blank is "and". A version with a pre-release part satisfies only a
# constraint that has one, too.

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


# -- rules --
# Tags that are chosen by something else than a pattern of the shell.

# re2's own default is 8 MiB; no tag is longer than 128 characters.
_REGEX_MEMORY_BYTES = 1024 * 1024
# Longer than any regular expression that a person writes.
MAX_REGEX_CHARS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRule(TagPattern):
    """The tags that are versions and satisfy a constraint, which is `pattern`."""

    constraint: Constraint = field(repr=False)

    def matches(self, tag: str) -> bool:
        """Whether the tag is such a version."""
        version = parse_version(tag)
        return version is not None and self.constraint.allows(version)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegexRule(TagPattern):
    """The tags in which a regular expression, which is `pattern`, is found."""

    expression: Any = field(repr=False, compare=False)

    def matches(self, tag: str) -> bool:
        """Whether it is found anywhere in the tag: `^` and `$` tie it down."""
        return self.expression.search(tag) is not None


def version_rule(name: TagPattern, constraint: str) -> VersionRule:
    """The tags of that repository which a constraint allows.

    Raises `ProtocolError` for what is no constraint.
    """
    return VersionRule(
        registry=name.registry,
        repository=name.repository,
        pattern=constraint,
        constraint=parse_constraint(constraint),
    )


def regex_rule(name: TagPattern, text: str) -> RegexRule:
    """The tags of that repository in which a regular expression is found.

    The language is that of RE2, as in Go (github.com/google/re2/wiki/Syntax): it
    takes linear time, whatever tags a registry makes up. Raises `ProtocolError` for
    what is none, `ModuleNotFoundError` without the extra `regex`.
    """
    import re2  # noqa: PLC0415  (only who has such a list needs it)

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY_BYTES
    try:
        if len(text) > MAX_REGEX_CHARS:
            raise _rules_invalid(
                text, f"it is longer than {MAX_REGEX_CHARS} characters"
            )
        expression = re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0]
        if isinstance(reason, bytes):
            reason = reason.decode(errors="replace")
        raise _rules_invalid(text, safe_text(str(reason), 80)) from None
    return RegexRule(
        registry=name.registry,
        repository=name.repository,
        pattern=text,
        expression=expression,
    )


def _rules_invalid(text: str, why: str) -> ProtocolError:
    return ProtocolError(
        f'"{safe_text(text, 80)}" is not a regular expression: {why}',
        FailureKind.INVALID_REFERENCE,
    )


log = logging.getLogger("auditor.input")

_IMAGES = "images"
_RULES: dict[str, Callable[[TagPattern, str], TagPattern]] = {
    "images-by-tag-regex": regex_rule,
    "images-by-semver": version_rule,
}
# Keys that are not followed, and what says the same to auditor.
_ELSEWHERE = {
    "credentials": "username and password_env, or a login of docker or podman",
    "tls-verify": "ca_file for a private CA, or plain_http for plain HTTP",
    "cert-dir": "ca_file",
}
_KEYS = frozenset({_IMAGES, *_RULES, *_ELSEWHERE})
_ALL_TAGS = "*"
_DIGEST = "sha256:"


def is_skopeo(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether it says of registries what skopeo's sync is told of them."""
    if not isinstance(document, dict):
        return False
    return any(
        isinstance(value, dict) and not _KEYS.isdisjoint(value)
        for value in document.values()
    )


def read_skopeo(document: dict[str, Any], name: str) -> Iterator[Item]:
    """The references, tag patterns and rules of every registry, in the file's order.

    What is not as skopeo has it is an item that says so. Raises `UsageError` for a
    regular expression without the library that reads them.
    """
    for registry, content in document.items():
        here = place_of(name, registry)
        try:
            check_registry(registry.partition("/")[0])
        except FieldError as error:
            yield malformed(registry, here, str(error))
            continue
        if not isinstance(content, dict):
            yield malformed(registry, here, "nothing is said of the registry")
            continue
        yield from _registry(registry, content, name)


def _registry(registry: str, content: dict[str, Any], name: str) -> Iterator[Item]:
    for key, value in content.items():
        here = place_of(name, key, f"{registry}/{key}")
        if key in _ELSEWHERE:
            if key != "tls-verify" or value != "true":
                _warn(here, registry, key)
        elif key not in _KEYS:
            yield malformed(key, here, f"{safe_text(key, 40)} is no key of skopeo sync")
        elif value is not None and not isinstance(value, dict):
            yield malformed(key, here, "no mapping from repositories to what is wanted")
        else:
            for repository, wanted in (value or {}).items():
                image = f"{registry}/{repository}"
                place = place_of(name, repository, image)
                if "@" in image or ":" in image.rpartition("/")[2]:
                    detail = "a repository is wanted here, without a tag"
                    yield malformed(image, place, detail)
                elif key == _IMAGES:
                    yield from _tags(image, wanted, place, name)
                else:
                    yield _rule(key, image, wanted, place)


def _warn(place: str, registry: str, key: str) -> None:
    log.warning(
        "%s: `%s` of %s is for skopeo only; here the configuration says it: %s",
        place,
        key,
        safe_text(registry, 80),
        _ELSEWHERE[key],
    )


def _tags(image: str, wanted: object, place: str, name: str) -> Iterator[Item]:
    if wanted is None or wanted == []:
        yield read_selector(f"{image}:{_ALL_TAGS}", image, place)
    elif isinstance(wanted, list):
        for tag in wanted:
            if isinstance(tag, str):
                text = f"{image}{'@' if tag.startswith(_DIGEST) else ':'}{tag}"
                yield read_selector(text, text, place_of(name, tag, image))
            else:
                yield malformed(image, place, "one of the tags is not a text")
    else:
        yield malformed(image, place, "the tags are not a list")


def _rule(key: str, image: str, wanted: object, place: str) -> Item:
    if not isinstance(wanted, str):
        return malformed(image, place, f"{key} wants a text")
    try:
        name = parse_selector(f"{image}:{_ALL_TAGS}")
        assert isinstance(name, TagPattern)
        return Listed(selector=_RULES[key](name, wanted), place=place)
    except ProtocolError as error:
        return malformed(image, place, error.detail)
    except ModuleNotFoundError:
        raise UsageError(
            f"{place}: {key} needs google-re2, which is not installed:"
            " pip install 'manifest-auditor[regex]'"
        ) from None
