"""Dockerfiles as a list: the images that a build begins from.

Source: the Dockerfile reference, "FROM", "ARG", "COPY --from", "RUN --mount" and
"Here-documents". Names of stages and `scratch` are no images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from auditor.input.compose import VariableError, substitute
from auditor.input.items import Item, malformed, read_selector
from auditor.util.lazy_regex import Pattern

_FIRST = Pattern(r"(?:FROM|ARG)\s+\S", re.IGNORECASE)
_ESCAPE = Pattern(r"#\s*escape\s*=\s*([\\`])\s*", re.IGNORECASE)
_HEREDOC = Pattern(r"[0-9]*<<-?([\"']?)([A-Za-z_][A-Za-z0-9_.]*)\1")
_MOUNTED = Pattern(r"--mount=(?:\S*,)?from=([^,\s]+)")
_SCRATCH = "scratch"
_FROM_FLAG = "--from="


def is_dockerfile(line: str) -> bool:
    """Whether a Dockerfile begins with this line, its first that is no comment."""
    return _FIRST.match(line.lstrip()) is not None


def read_dockerfile(text: str, name: str) -> Iterator[Item]:
    """The images of `FROM`, `COPY --from` and `RUN --mount=...,from=`.

    A variable that no `ARG` before the first `FROM` gives a value is an item that
    says so.
    """
    arguments: dict[str, str] = {}
    stages: set[str] = set()
    begun = False
    for line, words in _instructions(text):
        place = f"{name}:{line}"
        shown = " ".join(words)
        match words[0].upper():
            case "ARG" if not begun:
                _take(words[1:], arguments)
            case "FROM":
                begun = True
                image, stage = _from(words[1:])
                if image is not None:
                    yield from _image(image, arguments, stages, shown, place)
                else:
                    yield malformed(shown, place, "FROM names no image")
                if stage is not None:
                    stages.add(stage.lower())
            case "COPY" | "RUN":
                for image in _sources(words[1:]):
                    if not image.isdecimal():  # the number of a stage
                        yield from _image(image, {}, stages, shown, place)
            case "":
                detail = f"the here-document {words[1]} is never closed"
                yield malformed(f"<<{words[1]}", place, detail)


def _instructions(text: str) -> Iterator[tuple[int, list[str]]]:
    """The words of each instruction, and the line it begins on.

    An unclosed here-document is an instruction without a name.
    """
    escape = _escape(text)
    words: list[str] = []
    begun = last = 0
    closes: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if closes:
            if line.strip("\t\r") == closes[0]:
                closes.pop(0)
            continue
        if not stripped or stripped.startswith("#"):
            continue
        begun = begun or number
        goes_on = stripped.endswith(escape)
        words += stripped.removesuffix(escape).split()
        if not goes_on and words:
            yield begun, words
            closes = _heredocs(words)
            words, begun, last = [], 0, begun
    if words:
        yield begun, words
    if closes:
        yield last, ["", closes[0]]


def _escape(text: str) -> str:
    """What stands before a line break that is none ("Parser directives")."""
    for line in text.split("\n"):
        if not line.startswith("#"):
            break
        if found := _ESCAPE.fullmatch(line.strip()):
            return found[1]
    return "\\"


def _heredocs(words: list[str]) -> list[str]:
    if words[0].upper() not in {"RUN", "COPY", "ADD"}:
        return []
    return [found[2] for found in map(_HEREDOC.fullmatch, words) if found]


def _take(words: list[str], arguments: dict[str, str]) -> None:
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            try:
                arguments[name] = substitute(value.strip("\"'"), arguments)
            except VariableError:
                arguments.pop(name, None)  # told where it is used


def _from(words: list[str]) -> tuple[str | None, str | None]:
    """The image and the name of the stage."""
    rest = [word for word in words if not word.startswith("--")]
    has_stage = len(rest) > 2 and rest[1].upper() == "AS"
    return (rest[0] if rest else None), (rest[2] if has_stage else None)


def _sources(words: list[str]) -> Iterator[str]:
    for word in words:
        if not word.startswith("--"):
            return  # flags come first
        if word.startswith(_FROM_FLAG):
            yield word.removeprefix(_FROM_FLAG)
        elif found := _MOUNTED.match(word):
            yield found[1]


def _image(
    image: str, arguments: dict[str, str], stages: set[str], shown: str, place: str
) -> Iterator[Item]:
    try:
        text = substitute(image.strip("\"'"), arguments)
    except VariableError as error:
        detail = f"{error}, so that the image cannot be known; name it by itself"
        yield malformed(shown, place, detail)
        return
    if text != _SCRATCH and text.lower() not in stages:
        yield read_selector(text, shown, place)
