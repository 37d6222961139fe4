"""Dockerfiles as a list: the images that a build starts from.

Source: the Dockerfile reference, "FROM", "ARG", "COPY --from", "RUN --mount" and
"Here-documents". Stage names and `scratch` are not images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from auditor.input.input_items import InputItem, malformed_line, parse_item
from auditor.input.variables import VariableError, substitute
from auditor.util.lazy_regex import LazyPattern

_FIRST = LazyPattern(r"(?:FROM|ARG)\s+\S", re.IGNORECASE)
_ESCAPE = LazyPattern(r"#\s*escape\s*=\s*([\\`])\s*", re.IGNORECASE)
_HEREDOC = LazyPattern(r"[0-9]*<<-?([\"']?)([A-Za-z_][A-Za-z0-9_.]*)\1")
_MOUNTED = LazyPattern(r"--mount=(?:\S*,)?from=([^,\s]+)")
_SCRATCH = "scratch"
_FROM_FLAG = "--from="


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
    for line, words in _instructions(text):
        place = f"{name}:{line}"
        shown = " ".join(words)
        match words[0].upper():
            case "ARG" if not has_stage:
                _set_arguments(words[1:], arguments)
            case "FROM":
                has_stage = True
                image, stage = _image_and_stage(words[1:])
                if image is not None:
                    yield from _item(image, arguments, stages, shown, place)
                else:
                    yield malformed_line(shown, place, "FROM has no image")
                if stage is not None:
                    stages.add(stage.lower())
            case "COPY" | "RUN":
                for image in _source_images(words[1:]):
                    if not image.isdecimal():  # the number of a stage
                        yield from _item(image, {}, stages, shown, place)
            case "":
                detail = f"the here-document {words[1]} is not closed"
                yield malformed_line(f"<<{words[1]}", place, detail)


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
            terminators = _heredoc_terminators(words)
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


def _heredoc_terminators(words: list[str]) -> list[str]:
    if words[0].upper() not in {"RUN", "COPY", "ADD"}:
        return []
    return [found[2] for found in map(_HEREDOC.fullmatch, words) if found]


def _set_arguments(words: list[str], arguments: dict[str, str]) -> None:
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            try:
                arguments[name] = substitute(value.strip("\"'"), arguments)
            except VariableError:
                arguments.pop(name, None)  # reported where it is used


def _image_and_stage(words: list[str]) -> tuple[str | None, str | None]:
    """The image and the stage name of FROM."""
    rest = [word for word in words if not word.startswith("--")]
    has_stage = len(rest) > 2 and rest[1].upper() == "AS"
    return (rest[0] if rest else None), (rest[2] if has_stage else None)


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
    try:
        text = substitute(image.strip("\"'"), arguments)
    except VariableError as error:
        detail = f"{error}: the image is not known; list it separately"
        yield malformed_line(shown, place, detail)
        return
    if text != _SCRATCH and text.lower() not in stages:
        yield parse_item(text, shown, place)
