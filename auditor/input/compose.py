"""Compose files as a list: the images of their services (compose-spec, "image").

Variables are taken with their defaults only. What this machine's environment, `.env`
files, `extends` and `include` would add is in what `docker compose config` prints,
which is the same format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from auditor.input.items import Item, malformed, read_selector
from auditor.input.yaml_tree import place_of
from auditor.util.lazy_regex import Pattern
from auditor.util.text import safe_text

# -- variables --
# Variables in the images of compose files and Dockerfiles.
#
# Sources: the Compose specification, "Interpolation"; the Dockerfile reference,
# "Environment replacement". Both write `$NAME`, `${NAME}`, `${NAME:-default}`,
# `${NAME-default}`, `${NAME:+other}` and `${NAME+other}`.

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = Pattern(
    r"\$(?:(?P<escaped>\$)"
    rf"|(?P<short>{_NAME})"
    rf"|\{{(?P<name>{_NAME})(?:(?P<operator>:?[-+])(?P<word>[^${{}}]*))?\}}"
    r"|(?P<other>\{[^}]*\}?|))"
)


class VariableError(ValueError):
    """A variable whose value cannot be known: one sentence."""


def substitute(text: str, values: Mapping[str, str]) -> str:
    """The text with the values of its variables, or their defaults.

    Raises `VariableError` for a variable that has neither.
    """

    def value(found: re.Match[str]) -> str:
        if found["escaped"]:
            return "$"
        if found["other"] is not None:
            shown = safe_text("$" + found["other"], 40)
            raise VariableError(f"{shown} is more than a variable and its default")
        name, operator = found["short"] or found["name"], found["operator"] or ""
        known = values.get(name)
        is_set = bool(known) if operator.startswith(":") else known is not None
        if operator.endswith("+"):
            return (found["word"] or "") if is_set else ""
        if is_set:
            return known or ""
        if operator.endswith("-"):
            return found["word"] or ""
        raise VariableError(f"the variable {name} has no default here")

    return _VARIABLE.sub(value, text)


_RESOLVED = "; `docker compose config` prints the file with everything filled in"


def is_compose(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether it has the services of a compose file."""
    return isinstance(document, dict) and isinstance(document.get("services"), dict)


def read_compose(document: dict[str, Any], name: str) -> Iterator[Item]:
    """An item for each service that has an image.

    A service that is only built has none. What cannot be known from the file alone
    is an item that says so.
    """
    if document.get("include"):
        yield malformed("include", name, f"other files are included{_RESOLVED}")
    for service, content in document["services"].items():
        yield from _service(service, content, name)


def _service(service: str, content: object, name: str) -> Iterator[Item]:
    if not isinstance(content, dict):
        here = place_of(name, service)
        yield malformed(service, here, "the service is not a mapping")
        return
    image = content.get("image")
    here = place_of(name, image, service)
    if image is None:
        if "extends" in content:
            detail = f"the service extends another one{_RESOLVED}"
            yield malformed(service, here, detail)
        elif "build" not in content:
            detail = "the service has neither an image nor a build"
            yield malformed(service, here, detail)
    elif not isinstance(image, str):
        yield malformed(service, here, "the image of the service is not a text")
    else:
        try:
            yield read_selector(substitute(image, {}), image, here)
        except VariableError as error:
            yield malformed(image, here, f"{error}{_RESOLVED}")
