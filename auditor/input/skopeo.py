r"""skopeo sync YAML as a list (skopeo-sync(1), "YAML file content").

registry.example.com:
  images:
    busybox: []                         # all tags
    redis: ["1.0", "sha256:0000..."]
  images-by-tag-regex:
    nginx: ^1\.13\.[12]-alpine-perl$
  images-by-semver:
    alpine: ">= 3.12.0"

The same file has skopeo's login and TLS settings. They are not used; a warning names
the settings of auditor for them.

Versions: semver.org 2.0.0, as container tags write them: a leading `v` and missing
numbers are accepted. Constraints: those of github.com/Masterminds/semver v3, which
skopeo and Helm use:

    >= 1.2, < 2 || 3.x        ~1.2.3        ^0.4        1.2 - 1.4        !=1.3.x

A comma or a blank means "and". A version with a pre-release part satisfies only a
constraint that has one, too.
"""

from __future__ import annotations

import itertools
import logging
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any, TypeGuard

from auditor.errors import FailureKind, ProtocolError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.document_parser import place_of
from auditor.input.input_items import (
    FieldError,
    InputItem,
    InputSelector,
    check_registry,
    malformed_line,
    parse_item,
)
from auditor.oci.reference import TagPattern, parse_selector
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import how_to_install, safe_text

log = logging.getLogger("auditor.input")

# RE2's own default is 8 MiB; a tag has at most 128 characters.
_REGEX_MEMORY_BYTES = 1024 * 1024
# Far longer than a regular expression that a person writes.
MAX_REGEX_CHARS = 4096
_REGEX = "regular expression"
# Far longer than a constraint that a person writes.
MAX_CONSTRAINT_CHARS = 1000
_PRE_RELEASE = r"(?:-(?P<pre_release>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
_BUILD = r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_VERSION = LazyPattern(
    r"v?(?P<major>[0-9]+)(?:\.(?P<minor>[0-9]+))?(?:\.(?P<patch>[0-9]+))?"
    rf"{_PRE_RELEASE}{_BUILD}"
)
_NUMBER = r"[0-9]+|[xX*]"
_COMPARISON = LazyPattern(
    r"\s*+(?P<operator>=|!=|>=|=>|<=|=<|>|<|~>|~|\^|)\s*+"
    rf"v?(?P<major>{_NUMBER})(?:\.(?P<minor>{_NUMBER}))?(?:\.(?P<patch>{_NUMBER}))?"
    rf"{_PRE_RELEASE}{_BUILD}(?=[\s,]|$)\s*,?"
)
_LEADING_ZERO = LazyPattern(r"(?:^|\.)0[0-9]+(?:\.|$)")
_PARTS = ("major", "minor", "patch")
_RANGE = LazyPattern(r"(?<!\S)(?P<low>\S++)\s++-\s++(?P<high>\S++)")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version, ordered as section 11 defines; build metadata is ignored.

    `numbers` are major, minor and patch. In `pre_release`, numbers sort before words,
    and fewer identifiers before more.
    """

    numbers: tuple[int, int, int]
    is_release: bool
    pre_release: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One comparison. `given` is the number of its version numbers, 0 to 3."""

    operator: str
    version: Version
    given: int

    def allows(self, version: Version) -> bool:
        bound, given = self.version, self.given
        if not version.is_release and bound.is_release:
            return False
        match self.operator:
            case ">=" | "=>":
                return version >= bound
            case "<":
                return version < bound
            case "~" | "~>":
                if given == 3 and not any(bound.numbers):
                    return version >= bound  # Masterminds: ~0.0.0 allows all
                fixed = min(given, 2)
            case "^":
                # The numbers up to the first that is not zero.
                fixed = min(given, 1)
                while 0 < fixed < given and not bound.numbers[fixed - 1]:
                    fixed += 1
            case operator:
                if given == 3:
                    return _OPERATORS[operator](version, bound)
                return _OPERATORS[operator](
                    version.numbers[:given], bound.numbers[:given]
                )
        is_same = version.numbers[:fixed] == bound.numbers[:fixed]
        return is_same and version >= bound


# Compare only the numbers that are written, if not all of them are.
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<=": operator.le,
    "=<": operator.le,
}


@dataclass(frozen=True, slots=True)
class Constraint:
    """A version constraint: alternatives, each with comparisons that must be true."""

    alternatives: tuple[tuple[_Comparison, ...], ...]

    def allows(self, version: Version) -> bool:
        """Whether the version satisfies the constraint."""
        return any(
            all(comparison.allows(version) for comparison in comparisons)
            for comparisons in self.alternatives
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTagPattern(TagPattern):
    """The tags that a rule allows; `pattern` is the text of the rule."""

    rule: Callable[[str], bool] = field(repr=False, compare=False)

    def matches(self, tag: str) -> bool:
        """Whether the rule allows the tag."""
        return self.rule(tag)


def _version_rule(text: str) -> Callable[[str], bool]:
    constraint = parse_constraint(text)

    def allows(tag: str) -> bool:
        version = parse_version(tag)
        return version is not None and constraint.allows(version)

    return allows


def _regex_rule(text: str) -> Callable[[str], bool]:
    """Whether a regular expression is found anywhere in a tag.

    The syntax is RE2's, as in Go (github.com/google/re2/wiki/Syntax); it takes linear
    time for any tag. Raises `ModuleNotFoundError` without the extra `regex`.
    """
    import re2  # noqa: PLC0415  (only such a list needs it)

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY_BYTES
    if len(text) > MAX_REGEX_CHARS:
        raise _invalid(text, f"longer than {MAX_REGEX_CHARS} characters", _REGEX)
    try:
        expression = re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0]
        if isinstance(reason, bytes):
            reason = reason.decode(errors="replace")
        raise _invalid(text, safe_text(str(reason), 80), _REGEX) from None
    return lambda tag: expression.search(tag) is not None


_IMAGES = "images"
_RULES = {"images-by-tag-regex": _regex_rule, "images-by-semver": _version_rule}
# Keys that are not used, and the settings of auditor for them.
_SETTINGS = {
    "credentials": "username and password_env, or a docker or podman login",
    "tls-verify": "ca_file for a private CA, or plain_http for plain HTTP",
    "cert-dir": "ca_file",
}
_KEYS = frozenset({_IMAGES, *_RULES, *_SETTINGS})
_ALL_TAGS = "*"


def is_skopeo(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether this document has the keys of skopeo sync for a registry."""
    return isinstance(document, dict) and any(
        isinstance(value, dict) and not _KEYS.isdisjoint(value)
        for value in document.values()
    )


def read_skopeo(document: dict[str, Any], name: str) -> Iterator[InputItem]:
    """The references and tag patterns of each registry, in the order of the file.

    Entries that do not conform to skopeo's format are malformed items. Raises
    `UsageError` for a regular expression if google-re2 is not installed.
    """
    for registry, content in document.items():
        place = place_of(name, registry)
        try:
            check_registry(registry.partition("/")[0])
        except FieldError as error:
            yield malformed_line(registry, place, str(error))
            continue
        if not isinstance(content, dict):
            yield malformed_line(registry, place, "the registry is not a mapping")
            continue
        yield from _read_registry(registry, content, name)


def _read_registry(
    registry: str, content: dict[str, Any], name: str
) -> Iterator[InputItem]:
    for key, value in content.items():
        key_place = place_of(name, key, f"{registry}/{key}")
        if key in _SETTINGS:
            if key != "tls-verify" or value != "true":
                log.warning(
                    "%s: `%s` of %s is not used by auditor; set %s in the"
                    " configuration",
                    key_place,
                    key,
                    safe_text(registry, 80),
                    _SETTINGS[key],
                )
        elif key not in _KEYS:
            detail = f"{safe_text(key, 40)} is not a key of skopeo sync"
            yield malformed_line(key, key_place, detail)
        elif value is not None and not isinstance(value, dict):
            detail = f"{key} must be a mapping of repositories"
            yield malformed_line(key, key_place, detail)
        else:
            for repository, tags in (value or {}).items():
                image = f"{registry}/{repository}"
                place = place_of(name, repository, image)
                if "@" in image or ":" in image.rpartition("/")[2]:
                    detail = "expected a repository without a tag"
                    yield malformed_line(image, place, detail)
                elif key == _IMAGES:
                    yield from _read_tags(image, tags, place, name)
                else:
                    yield _read_rule(key, image, tags, place)


def _read_tags(image: str, tags: object, place: str, name: str) -> Iterator[InputItem]:
    if tags is None or tags == []:
        yield parse_item(f"{image}:{_ALL_TAGS}", image, place)
    elif isinstance(tags, list):
        for tag in tags:
            if isinstance(tag, str):
                text = f"{image}{'@' if ':' in tag else ':'}{tag}"
                yield parse_item(text, text, place_of(name, tag, image))
            else:
                yield malformed_line(image, place, "a tag is not a string")
    else:
        yield malformed_line(image, place, "the tags are not a list")


def _read_rule(key: str, image: str, rule: object, place: str) -> InputItem:
    if not isinstance(rule, str):
        return malformed_line(image, place, f"the value of {key} must be a string")
    try:
        all_tags = parse_selector(f"{image}:{_ALL_TAGS}")
        assert isinstance(all_tags, TagPattern)
        selector = RuleTagPattern(
            registry=all_tags.registry,
            repository=all_tags.repository,
            pattern=rule,
            rule=_RULES[key](rule),
        )
        return InputSelector(selector=selector, place=place)
    except ProtocolError as error:
        return malformed_line(image, place, error.detail)
    except ModuleNotFoundError:
        raise UsageError(
            f"{place}: {key} needs google-re2, which is not installed:"
            f" {how_to_install('google-re2')}"
        ) from None


def parse_version(tag: str) -> Version | None:
    """The version of a tag; `None` if the tag is not a version."""
    match = _VERSION.fullmatch(tag)
    if match is None:
        return None
    pre_release = match["pre_release"]
    if pre_release and _LEADING_ZERO.search(pre_release):
        return None  # section 9
    return _version([match[part] or "0" for part in _PARTS], pre_release)


def _version(numbers: list[str], pre_release: str | None) -> Version:
    major, minor, patch = map(int, numbers)
    identifiers = pre_release.split(".") if pre_release is not None else []
    return Version(
        (major, minor, patch),
        is_release=pre_release is None,
        pre_release=tuple(
            (0, int(text), "") if text.isdecimal() else (1, 0, text)
            for text in identifiers
        ),
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
            rest = safe_text(part[position:], 40)
            raise _invalid(text, f'"{rest}" is not a comparison')
        numbers = list(itertools.takewhile(_is_number, match.group(*_PARTS)))
        version = _version([*numbers, "0", "0", "0"][:3], match["pre_release"])
        comparisons.append(_Comparison(match["operator"], version, len(numbers)))
        position = match.end()
    if not comparisons or part.endswith(","):
        raise _invalid(text, "a comparison such as >= 1.2 is missing")
    return tuple(comparisons)


def _is_number(part: str | None) -> bool:
    return part is not None and part.isdecimal()


def _invalid(text: str, why: str, what: str = "version constraint") -> ProtocolError:
    return ProtocolError(
        f'"{safe_text(text, 80)}" is not a {what}: {why}', FailureKind.INVALID_REFERENCE
    )
