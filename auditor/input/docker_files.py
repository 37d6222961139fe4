"""Compose files and Dockerfiles as lists.

The items of a compose file are the images of its services (compose-spec, "image"). The
environment, `.env` files, `extends` and `include` are resolved by `docker compose
config`, which prints the same format.

The items of a Dockerfile are the images that the build starts from (Dockerfile
reference: "FROM", "ARG", "COPY --from", "RUN --mount", "Here-documents"). Stage names
and `scratch` are not images.

Variables are replaced by the defaults that the file sets. Both formats have `$NAME`,
`${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:+other}` and `${NAME+other}`
(Compose specification, "Interpolation"; Dockerfile reference, "Environment
replacement").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from auditor.input.document_parser import place_of
from auditor.input.input_items import InputItem, malformed_line, parse_item
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_text

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = LazyPattern(
    r"\$(?:(?P<escaped>\$)"
    rf"|(?P<short>{_NAME})"
    rf"|\{{(?P<name>{_NAME})(?:(?P<operator>:?[-+])(?P<word>[^${{}}]*))?\}}"
    r"|(?P<other>\{[^}]*\}?|))"
)
_RESOLVE = "; give the output of `docker compose config` instead"

_FIRST = LazyPattern(r"(?:FROM|ARG)\s+\S", re.IGNORECASE)
_ESCAPE = LazyPattern(r"#\s*escape\s*=\s*([\\`])\s*", re.IGNORECASE)
_HEREDOC = LazyPattern(r"[0-9]*<<-?([\"']?)([A-Za-z_][A-Za-z0-9_.]*)\1")
_MOUNTED = LazyPattern(r"--mount=(?:\S*,)?from=([^,\s]+)")
_FROM_FLAG = "--from="


def is_compose(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether this document has the services of a compose file."""
    return isinstance(document, dict) and isinstance(document.get("services"), dict)


def read_compose(document: dict[str, Any], name: str) -> Iterator[InputItem]:
    """An item for each service that has an image.

    A service with only a `build` has none. An image with a variable that the file does
    not define is a malformed item.
    """
    if document.get("include"):
        yield malformed_line("include", name, f"other files are included{_RESOLVE}")
    for service, content in document["services"].items():
        is_mapping = isinstance(content, dict)
        image = content.get("image") if is_mapping else None
        place = place_of(name, image, service)
        if not is_mapping:
            yield malformed_line(service, place, "the service is not a mapping")
        elif image is None:
            if "extends" in content:
                detail = f"the service extends another one{_RESOLVE}"
                yield malformed_line(service, place, detail)
            elif "build" not in content:
                detail = "the service has no image and no build"
                yield malformed_line(service, place, detail)
        elif not isinstance(image, str):
            detail = "the image of the service is not a string"
            yield malformed_line(service, place, detail)
        else:
            try:
                yield parse_item(_substitute(image, {}), image, place)
            except _VariableError as error:
                yield malformed_line(image, place, f"{error}{_RESOLVE}")


def is_dockerfile(line: str) -> bool:
    """Whether a Dockerfile begins with this line, the first that is not a comment."""
    return _FIRST.match(line.lstrip()) is not None


def read_dockerfile(text: str, name: str) -> Iterator[InputItem]:
    """The images of `FROM`, `COPY --from` and `RUN --mount=...,from=`.

    An image with a variable that no `ARG` before the first `FROM` sets is malformed.
    """
    arguments: dict[str, str] = {}
    stages: set[str] = set()
    has_stage = False
    for line, (instruction, *words) in _instructions(text):
        place = f"{name}:{line}"
        shown = " ".join((instruction, *words))
        match instruction.upper():
            case "ARG" if not has_stage:
                _set_arguments(words, arguments)
            case "FROM":
                has_stage = True
                match [word for word in words if not word.startswith("--")]:
                    case []:
                        yield malformed_line(shown, place, "FROM has no image")
                    case [image, *rest]:
                        yield from _item(image, arguments, stages, shown, place)
                        if len(rest) > 1 and rest[0].upper() == "AS":
                            stages.add(rest[1].lower())
            case "COPY" | "RUN":
                for image in _source_images(words):
                    if not image.isdecimal():  # the number of a stage
                        yield from _item(image, {}, stages, shown, place)
            case "":
                detail = f"the here-document {words[0]} is not closed"
                yield malformed_line(f"<<{words[0]}", place, detail)


def _instructions(text: str) -> Iterator[tuple[int, list[str]]]:
    """The words of each instruction, and its first line.

    A here-document that is not closed is an instruction with an empty name.
    """
    escape = _escape_character(text)
    words: list[str] = []
    first = last = 0
    terminators: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if terminators:
            if line.strip("\t\r") == terminators[0]:
                terminators.pop(0)
            continue
        if not stripped or stripped.startswith("#"):
            continue
        first = first or number
        is_continued = stripped.endswith(escape)
        words += stripped.removesuffix(escape).split()
        if not is_continued and words:
            yield first, words
            if words[0].upper() in {"RUN", "COPY", "ADD"}:
                matches = map(_HEREDOC.fullmatch, words)
                terminators = [found[2] for found in matches if found]
            words, first, last = [], 0, first
    if words:
        yield first, words
    if terminators:
        yield last, ["", terminators[0]]


def _escape_character(text: str) -> str:
    """The character that continues a line ("Parser directives")."""
    for line in text.split("\n"):
        if not line.startswith("#"):
            break
        if found := _ESCAPE.fullmatch(line.strip()):
            return found[1]
    return "\\"


def _set_arguments(words: list[str], arguments: dict[str, str]) -> None:
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            try:
                arguments[name] = _substitute(value.strip("\"'"), arguments)
            except _VariableError:
                arguments.pop(name, None)  # reported where it is used


def _source_images(words: list[str]) -> Iterator[str]:
    for word in words:
        if not word.startswith("--"):
            return  # flags come before other words
        if word.startswith(_FROM_FLAG):
            yield word.removeprefix(_FROM_FLAG)
        elif found := _MOUNTED.match(word):
            yield found[1]


def _item(
    image: str, arguments: dict[str, str], stages: set[str], shown: str, place: str
) -> Iterator[InputItem]:
    """The item of an image, unless it is `scratch` or a stage."""
    try:
        text = _substitute(image.strip("\"'"), arguments)
    except _VariableError as error:
        detail = f"{error}: the image is not known; list it separately"
        yield malformed_line(shown, place, detail)
    else:
        if text != "scratch" and text.lower() not in stages:
            yield parse_item(text, shown, place)


class _VariableError(ValueError):
    """A variable without a known value; the message is one sentence."""


def _substitute(text: str, values: Mapping[str, str]) -> str:
    """The text with variables replaced by their values or defaults.

    Raises `_VariableError` for a variable that has neither.
    """

    def replacement(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        if match["other"] is not None:
            shown = safe_text("$" + match["other"], 40)
            raise _VariableError(f"{shown} is not a variable with a plain default")
        name, operator = match["short"] or match["name"], match["operator"] or ""
        value = values.get(name)
        is_set = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return (match["word"] or "") if is_set else ""
        if is_set:
            return value or ""
        if operator.endswith("-"):
            return match["word"] or ""
        raise _VariableError(f"the variable {name} has no default here")

    return _VARIABLE.sub(replacement, text)
