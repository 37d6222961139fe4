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
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

from auditor.errors import ProtocolError, UsageError
from auditor.input.items import Item, Listed, malformed, read_selector
from auditor.oci.reference import TagPattern, parse_selector
from auditor.protocol.tags.rules import regex_rule, version_rule
from auditor.sources.lists.fields import FieldError, check_registry
from auditor.sources.lists.places import place_of
from auditor.util.text import safe_text

log = logging.getLogger("auditor.input")

_IMAGES = "images"
_RULES: dict[str, Callable[[TagPattern, str], TagPattern]] = {
    "images-by-tag-regex": regex_rule,
    "images-by-semver": version_rule,
}
# Keys that are not followed, and what says the same to auditor.
_ELSEWHERE = {
    "credentials": "username and password_env, or a login of docker or podman",
    "tls-verify": "ca_file for a private CA, or insecure_http for plain HTTP",
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
