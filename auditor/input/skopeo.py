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
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any, TypeGuard

from auditor.errors import FailureKind, ProtocolError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.input_items import (
    FieldError,
    InputItem,
    InputSelector,
    check_registry,
    malformed_line,
    parse_item,
)
from auditor.input.version_constraint import (
    Constraint,
    parse_constraint,
    parse_version,
)
from auditor.input.yaml_tree import place_of
from auditor.oci.reference import TagPattern, parse_selector
from auditor.util.text import safe_text

log = logging.getLogger("auditor.input")

# RE2's own default is 8 MiB; a tag has at most 128 characters.
_REGEX_MEMORY_BYTES = 1024 * 1024
# Far longer than a regular expression that a person writes.
MAX_REGEX_CHARS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionTagPattern(TagPattern):
    """The tags that are versions and satisfy a constraint; `pattern` is its text."""

    constraint: Constraint = field(repr=False)

    def matches(self, tag: str) -> bool:
        """Whether the tag is a version that satisfies the constraint."""
        version = parse_version(tag)
        return version is not None and self.constraint.allows(version)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegexTagPattern(TagPattern):
    """The tags in which a regular expression (`pattern`) is found."""

    expression: Any = field(repr=False, compare=False)

    def matches(self, tag: str) -> bool:
        """Whether the expression is found anywhere in the tag."""
        return self.expression.search(tag) is not None


def version_tags(repository: TagPattern, constraint: str) -> VersionTagPattern:
    """The tags of a repository that a constraint allows.

    Raises `ProtocolError` if it is not a constraint.
    """
    return VersionTagPattern(
        registry=repository.registry,
        repository=repository.repository,
        pattern=constraint,
        constraint=parse_constraint(constraint),
    )


def regex_tags(repository: TagPattern, text: str) -> RegexTagPattern:
    """The tags of a repository in which a regular expression is found.

    The syntax is RE2's, as in Go (github.com/google/re2/wiki/Syntax); it takes linear
    time for any tag. Raises `ProtocolError` if it is not a regular expression,
    `ModuleNotFoundError` without the extra `regex`.
    """
    import re2  # noqa: PLC0415  (only such a list needs it)

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY_BYTES
    try:
        if len(text) > MAX_REGEX_CHARS:
            raise _invalid_regex(text, f"longer than {MAX_REGEX_CHARS} characters")
        expression = re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0]
        if isinstance(reason, bytes):
            reason = reason.decode(errors="replace")
        raise _invalid_regex(text, safe_text(str(reason), 80)) from None
    return RegexTagPattern(
        registry=repository.registry,
        repository=repository.repository,
        pattern=text,
        expression=expression,
    )


_IMAGES = "images"
_RULES: dict[str, Callable[[TagPattern, str], TagPattern]] = {
    "images-by-tag-regex": regex_tags,
    "images-by-semver": version_tags,
}
# Keys that are not used, and the settings of auditor for them.
_SETTINGS = {
    "credentials": "username and password_env, or a docker or podman login",
    "tls-verify": "ca_file for a private CA, or plain_http for plain HTTP",
    "cert-dir": "ca_file",
}
_KEYS = frozenset({_IMAGES, *_RULES, *_SETTINGS})
_ALL_TAGS = "*"
_DIGEST = "sha256:"


def is_skopeo(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether this document has the keys of skopeo sync for a registry."""
    if not isinstance(document, dict):
        return False
    return any(
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
                _warn_unused(key_place, registry, key)
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


def _warn_unused(place: str, registry: str, key: str) -> None:
    log.warning(
        "%s: `%s` of %s is not used by auditor; set %s in the configuration",
        place,
        key,
        safe_text(registry, 80),
        _SETTINGS[key],
    )


def _read_tags(image: str, tags: object, place: str, name: str) -> Iterator[InputItem]:
    if tags is None or tags == []:
        yield parse_item(f"{image}:{_ALL_TAGS}", image, place)
    elif isinstance(tags, list):
        for tag in tags:
            if isinstance(tag, str):
                text = f"{image}{'@' if tag.startswith(_DIGEST) else ':'}{tag}"
                yield parse_item(text, text, place_of(name, tag, image))
            else:
                yield malformed_line(image, place, "a tag is not a string")
    else:
        yield malformed_line(image, place, "the tags are not a list")


def _read_rule(key: str, image: str, rule: object, place: str) -> InputItem:
    if not isinstance(rule, str):
        return malformed_line(image, place, f"the value of {key} must be a string")
    try:
        repository = parse_selector(f"{image}:{_ALL_TAGS}")
        assert isinstance(repository, TagPattern)
        return InputSelector(selector=_RULES[key](repository, rule), place=place)
    except ProtocolError as error:
        return malformed_line(image, place, error.detail)
    except ModuleNotFoundError:
        raise UsageError(
            f"{place}: {key} needs google-re2; install it:"
            " pip install 'manifest-auditor[regex]'"
        ) from None


def _invalid_regex(text: str, why: str) -> ProtocolError:
    return ProtocolError(
        f'"{safe_text(text, 80)}" is not a regular expression: {why}',
        FailureKind.INVALID_REFERENCE,
    )
