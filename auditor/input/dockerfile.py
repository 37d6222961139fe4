"""Dockerfiles as lists: the images that a build starts from.

These are the images of `FROM`, `COPY --from` and `RUN --mount=...,from=` (Dockerfile
reference). Stage names and `scratch` are not images. Variables are replaced by the
defaults of the `ARG`s before the first `FROM`.

The text is divided as by BuildKit (frontend/dockerfile/parser/parser.go): directives,
continued lines, which are joined without a blank, and here-documents.
"""

from __future__ import annotations

import csv
import re
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping

import orjson

from auditor.fast_dataclass import dataclass
from auditor.input.input_items import (
    InputItem,
    InputOrigin,
    malformed_line,
    parse_image,
    with_origin,
)
from auditor.input.input_labels import clean_text
from auditor.input.variables import (
    VariableError,
    expand_word,
    here_document_words,
    split_words,
    unquoted_words,
)
from auditor.util.lazy_regex import LazyPattern

_DIRECTIVE = LazyPattern(r"#\s*+([A-Za-z][A-Za-z0-9]*+)\s*+=\s*+(\S.*)", re.DOTALL)
_DIRECTIVES = frozenset({"syntax", "escape", "check"})
_BLANKS = LazyPattern(r"[\t\v\f\r ]+")
_HERE_DOCUMENT = LazyPattern(r"[0-9]*+<<(?P<chomp>-?+)\s*+(?P<word>[^<]+)")
_WITH_HERE_DOCUMENTS = frozenset({"RUN", "COPY", "ADD"})
_STAGE_NUMBER = LazyPattern(r"[+-]?[0-9]+")
_NO_IMAGE = "scratch"
# Far more than a person writes; each can have `MAX_EXPANDED_CHARS`.
_MAX_ARGUMENTS = 1000
# Platforms that images are built for, as their stages are named by hand.
_PLATFORMS = (
    "linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386",
    "linux/ppc64le", "linux/s390x", "linux/riscv64", "windows/amd64",
)  # fmt: skip
# Of the name of a stage that is recorded.
MAX_STAGE_CHARS = 200
_FROM_FLAG = "--from="
_MOUNT_FLAG = "--mount="


@dataclass(frozen=True, slots=True)
class _Instruction:
    """An instruction: its name in capitals, flags without quotes, and the rest.

    `unclosed`: the delimiter of a here-document that the file does not end.
    """

    line: int
    name: str
    flags: tuple[str, ...]
    rest: str
    text: str
    unclosed: str | None


def read_dockerfile(
    text: str,
    name: str,
    *,
    build_arguments: Mapping[str, str] | None = None,
    contexts: Iterable[str] = (),
) -> Iterator[InputItem]:
    """The images of a Dockerfile, in its order.

    An image with a variable that no `ARG` before the first `FROM` sets is malformed.
    `build_arguments` replace the defaults of `ARG`s; `contexts` are the names that are
    no images, as those of stages.
    """
    escape = _escape_character(text)
    instructions = list(_instructions(text.split("\n"), escape))
    # `COPY --from` may also name a stage further below.
    stages = {context.lower() for context in contexts}
    all_stages = stages | {
        words[2].lower()
        for one in instructions
        if one.name == "FROM" and len(words := _BLANKS.split(one.rest)) == 3
    }
    arguments: dict[str, str] = {}
    stage_count = 0
    origin: InputOrigin | None = None
    for one in instructions:
        place = f"{name}:{one.line}"
        match one.name:
            case "ARG" if not stage_count:
                words = split_words(one.rest, escape)
                _set_arguments(words, arguments, build_arguments or {}, escape)
            case "FROM":
                words = _BLANKS.split(one.rest)
                stage = words[2] if len(words) == 3 else str(stage_count)
                origin = InputOrigin(
                    workload=clean_text(f"stage/{stage}"[:MAX_STAGE_CHARS])
                )
                stage_count += 1
                if not words[0]:
                    yield malformed_line(one.text, place, "FROM has no image")
                elif len(words) == 1 or (len(words) == 3 and words[1].upper() == "AS"):
                    image = words[0]
                    if not _is_stage_of_platform(image, arguments, stages, escape):
                        yield from _item(
                            image,
                            arguments,
                            stages,
                            one.text,
                            escape=escape,
                            place=place,
                            origin=origin,
                        )
                    stages.update(word.lower() for word in words[2:])
                else:
                    detail = "expected FROM image, or FROM image AS stage"
                    yield malformed_line(one.text, place, detail)
            case "COPY" | "RUN":
                for image in _source_images(one):
                    yield from _item(
                        image,
                        {},
                        all_stages,
                        image,
                        escape=escape,
                        place=place,
                        origin=origin,
                    )
        if one.unclosed is not None:
            detail = f"the here-document {one.unclosed} is not closed"
            yield malformed_line(f"<<{one.unclosed}", place, detail)


def _escape_character(text: str) -> str:
    """The character that continues a line ("Parser directives").

    Directives are the first lines; after any other line, they are comments.
    """
    for line in text.split("\n"):
        found = _DIRECTIVE.match(line.strip())
        if found is None or found[1].lower() not in _DIRECTIVES:
            break
        if found[1].lower() == "escape" and found[2] in {"\\", "`"}:
            return found[2]
    return "\\"


def _instructions(lines: list[str], escape: str) -> Iterator[_Instruction]:
    position = 0
    while position < len(lines):
        first = position + 1
        line = lines[position].lstrip()
        position += 1
        if not line or line[0] == "#":
            continue
        line, is_continued = _without_continuation(line, escape)
        parts = [line]
        while is_continued and position < len(lines):
            line = lines[position]
            position += 1
            start = line.lstrip()[:1]
            if not start or start == "#":
                continue
            line, is_continued = _without_continuation(line, escape)
            parts.append(line)
        joined = "".join(parts).strip()
        if not joined:
            continue
        name, flags, rest = _split_instruction(joined, escape)
        unclosed = None
        for chomps, delimiter in _here_documents(name, rest, joined, escape):
            while position < len(lines):
                end = lines[position].rstrip("\r")
                position += 1
                if (end.lstrip("\t") if chomps else end) == delimiter:
                    break
            else:
                unclosed = delimiter
                break
        yield _Instruction(first, name, flags, rest, joined, unclosed)


def _without_continuation(line: str, escape: str) -> tuple[str, bool]:
    """The line, and whether it goes on: an escaped escape character does not continue.

    Only blanks and tabs may follow the character.
    """
    line = line.rstrip("\r")
    start = line.rstrip(" \t")
    is_continued = start.endswith(escape) and not start.endswith(escape * 2)
    return (start[:-1], True) if is_continued else (line, False)


def _split_instruction(line: str, escape: str) -> tuple[str, tuple[str, ...], str]:
    """The name of an instruction, its flags, and the rest."""
    name, *rest = _BLANKS.split(line, maxsplit=1)
    flags, begin = _flags(rest[0] if rest else "", escape)
    return name.upper(), tuple(flags), rest[0][begin:].strip() if rest else ""


def _flags(text: str, escape: str) -> tuple[list[str], int]:
    """The words before the first that does not begin with `--`, and its position.

    Quotes are removed; `--` alone ends the flags.
    """
    flags: list[str] = []
    position = 0
    while True:
        while text[position : position + 1].isspace():
            position += 1
        if not text.startswith("--", position):
            return flags, position
        parts: list[str] = []
        quote = ""
        while position < len(text):
            char = text[position]
            if not quote and char.isspace():
                break
            position += 1
            if char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote = char
            elif char == escape:
                parts.append(text[position : position + 1])
                position += 1
            else:
                parts.append(char)
        if (flag := "".join(parts)) == "--":
            return flags, position
        flags.append(flag)


def _here_documents(
    name: str, rest: str, line: str, escape: str
) -> Iterator[tuple[bool, str]]:
    """For each here-document, whether tabs before its delimiter are ignored, and it."""
    if "<<" not in line:
        return
    if name == "ONBUILD":
        name, _, rest = _split_instruction(rest, escape)
    if name not in _WITH_HERE_DOCUMENTS or _is_json(rest):
        return
    for word in here_document_words(line):
        if found := _HERE_DOCUMENT.fullmatch(word):
            try:
                words = unquoted_words(found["word"])
            except VariableError:
                continue
            if len(words) == 1:
                yield bool(found["chomp"]), words[0]


def _is_json(rest: str) -> bool:
    """Whether the arguments are a list of strings ("exec form")."""
    if not rest.startswith("["):
        return False
    try:
        words = orjson.loads(rest)
    except orjson.JSONDecodeError:
        return False
    return isinstance(words, list) and all(isinstance(word, str) for word in words)


def _set_arguments(
    words: list[str],
    arguments: dict[str, str],
    build_arguments: Mapping[str, str],
    escape: str,
) -> None:
    for word in words:
        name, equals, value = word.partition("=")
        if name not in arguments and len(arguments) >= _MAX_ARGUMENTS:
            continue
        if name in build_arguments:
            arguments[name] = build_arguments[name]
        elif equals:
            try:
                arguments[name] = expand_word(value, arguments, escape)
            except VariableError:
                arguments.pop(name, None)  # reported where it is used


def _is_stage_of_platform(
    image: str, arguments: dict[str, str], stages: set[str], escape: str
) -> bool:
    """Whether there is a stage for each platform, such as `build-${TARGETARCH}`
    (Dockerfile reference, "Automatic platform ARGs")."""
    for platform in _PLATFORMS if "$" in image else ():
        os, architecture, variant = f"{platform}/".split("/")[:3]
        values = {
            f"{machine}{name}": value
            for machine in ("TARGET", "BUILD")
            for name, value in (
                ("PLATFORM", platform),
                ("OS", os),
                ("ARCH", architecture),
                ("VARIANT", variant),
            )
        }
        try:
            stage = expand_word(image, ChainMap(arguments, values), escape)
        except VariableError:
            return False
        if stage.lower() in stages:
            return True
    return False


def _source_images(instruction: _Instruction) -> Iterator[str]:
    for flag in instruction.flags:
        if instruction.name == "COPY" and flag.startswith(_FROM_FLAG):
            image = flag.removeprefix(_FROM_FLAG)
            if image and not _STAGE_NUMBER.fullmatch(image):
                yield image
        elif instruction.name == "RUN" and flag.startswith(_MOUNT_FLAG):
            try:
                fields = next(csv.reader([flag.removeprefix(_MOUNT_FLAG)]), [])
            except csv.Error:
                continue
            for key, _, value in (field.partition("=") for field in fields):
                if key.lower() == "from" and value:
                    yield value


def _item(
    image: str,
    arguments: dict[str, str],
    stages: set[str],
    shown: str,
    *,
    escape: str,
    place: str,
    origin: InputOrigin | None,
) -> Iterator[InputItem]:
    """The item of an image, unless it is `scratch` or a stage."""
    try:
        text = expand_word(image, arguments, escape)
    except VariableError as error:
        detail = f"{error}: the image is not known; list it separately"
        yield with_origin(malformed_line(shown, place, detail), origin)
    else:
        if text != _NO_IMAGE and text.lower() not in stages:
            yield with_origin(parse_image(text, shown, place), origin)
