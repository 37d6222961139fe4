"""A list of any format: which one it is shows in its first meaningful line."""

from __future__ import annotations

import csv
import io
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Self

import orjson

from auditor.config import Settings
from auditor.errors import UsageError
from auditor.input.compose import is_compose, read_compose
from auditor.input.dockerfile import is_dockerfile, read_dockerfile
from auditor.input.items import (
    COLUMNS,
    MAX_LINE_CHARS,
    FieldError,
    Item,
    Listed,
    Malformed,
    malformed,
    read_fields,
    read_lines,
    read_selector,
)
from auditor.input.kubernetes import is_kubernetes, read_kubernetes
from auditor.input.yaml_tree import Part, WholeText, parts_of, read_yaml
from auditor.util.lazy_regex import Pattern

# -- csv_rows --
# Lists as CSV (RFC 4180) with a header: a row a line.
#
# A field with a line break in it is refused where it begins: a quote that nobody
# closes must not swallow the rest of a list.

DELIMITERS = (",", ";", "\t")


class Rows:
    """Reads the rows below a header, whose column names are lower case."""

    def __init__(self, delimiter: str, columns: tuple[str, ...]) -> None:
        self._delimiter = delimiter
        self._width = len(columns)
        self._wanted = [
            (columns.index(column), column) for column in COLUMNS if column in columns
        ]

    @classmethod
    def below(cls, line: str) -> Self | None:
        """The reader of what stands below this line; None if it is no header.

        A header has a column `reference` or `repository`.
        """
        for delimiter in DELIMITERS:
            try:
                cells = _split(line, delimiter)
            except csv.Error:
                continue
            columns = tuple(cell.strip().lower() for cell in cells)
            if "reference" in columns or "repository" in columns:
                return cls(delimiter, columns)
        return None

    def __call__(self, line: str, place: str) -> tuple[Item]:
        """The reference of a row. Fields of other columns mean nothing."""
        try:
            cells = _split(line.rstrip("\r\n"), self._delimiter)
        except csv.Error:
            detail = "the quotes on this line do not match"
            return (malformed(line, place, detail),)
        if len(cells) != self._width:
            detail = f"{len(cells)} fields where the header has {self._width}"
            return (malformed(line, place, detail),)
        fields = {column: cells[index].strip() for index, column in self._wanted}
        return (read_fields(fields, line, place),)


def _split(line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    return next(csv.reader((line,), delimiter=delimiter, strict=True))


# -- documents --
# Lists that are one whole document: YAML, JSON over several lines, Dockerfiles.

# `key:` or `"key":` with a value or nothing after it; what begins with any other of
# YAML's indicators is no mapping. No reference has a colon at its end or before a
# blank.
_YAML = Pattern(
    r"---(?:\s|$)|%YAML\s"
    r"|(?:\"[^\"]*\"|'[^']*'|[^\s\"'#\[\]{},&*!|>%@`?-][^#\"']*?)\s*:(?:\s|$)"
)
_KUBERNETES = Pattern(r'\{\s*"(?:apiVersion|kind|items|metadata)"\s*:')
_KNOWN = "skopeo's sync YAML, Kubernetes objects or a compose file"

# The lines of a document, and its name, to the items that it gives.
Document = Callable[[Iterable[str], str], Iterator[Item]]


def document_format(line: str) -> Document | None:
    """The reader of the document that begins with this line; null: it is none.

    The line is the first one that is neither blank nor a comment.
    """
    line = line.strip()
    if line == "{" or _begins_kubernetes(line):
        return _read_json
    if is_dockerfile(line):
        return _read_dockerfile
    return _read_yaml if _YAML.match(line) else None


def _begins_kubernetes(line: str) -> bool:
    """Whether it is the first of several lines of an object; one that is whole may be
    the first of an object a line."""
    if _KUBERNETES.match(line) is None:
        return False
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return True
    return False


def read_object(document: object, name: str) -> Iterator[Item] | None:
    """The items of a document of a known format, or null for any other."""
    if is_kubernetes(document):
        return read_kubernetes(document, name)
    if is_compose(document):
        return read_compose(document, name)
    # Brings rules of tags and versions, which nothing else needs.
    from auditor.input.skopeo import is_skopeo, read_skopeo  # noqa: PLC0415

    if is_skopeo(document):
        return read_skopeo(document, name)
    return None


def _read_yaml(lines: Iterable[str], name: str) -> Iterator[Item]:
    for document in read_yaml(WholeText.of(lines, name).text(), name):
        if document is not None:
            yield from _known(document, name)


def _read_dockerfile(lines: Iterable[str], name: str) -> Iterator[Item]:
    return read_dockerfile(WholeText.of(lines, name).text(), name)


def _read_json(lines: Iterable[str], name: str) -> Iterator[Item]:
    """The objects of a Kubernetes list one by one, whatever else it is as a whole."""
    seen: set[str] = set()
    for part in parts_of(lines, name):
        if isinstance(part, Part) or is_kubernetes(part.document):
            yield from read_kubernetes(part.document, name, seen)
        else:
            yield from _known(part.document, name)


def _known(document: Any, name: str) -> Iterator[Item]:
    items = read_object(document, name)
    if items is None:
        raise UsageError(f"{name}: neither a list of references nor {_KNOWN}")
    return items


# -- json_lines --
# Lists as JSON lines: an object a line, such as the lines of our own reports.


def read_json(line: str, place: str) -> Iterable[Item]:
    """The references of an object: as many as there are `tags`, or one.

    Keys: `reference`, or `repository` with `registry`, `tag` or `tags`, `digest`.
    Others mean nothing here. An object can also be a whole document of a known
    format, such as a Kubernetes object.
    """
    try:
        document = orjson.loads(line)
        if not _names_an_image(document):
            items = read_object(document, place)
            if items is not None:
                return items
        fields, tags = _fields(document), _tags(document)
    except orjson.JSONDecodeError as error:
        detail = f"not JSON: {error.msg} at column {error.colno}"
        return (malformed(line, place, detail),)
    except FieldError as error:
        return (malformed(line, place, str(error)),)
    if tags is None:
        return (read_fields(fields, line, place),)
    return [read_fields({**fields, "tag": tag}, line, place) for tag in tags]


def _names_an_image(document: Any) -> bool:
    return isinstance(document, dict) and not {"reference", "repository"}.isdisjoint(
        document
    )


def _fields(document: Any) -> dict[str, str | None]:
    if not isinstance(document, dict):
        raise FieldError("JSON but not an object")
    fields = {key: document.get(key) for key in COLUMNS}
    for key, value in fields.items():
        if value is not None and not isinstance(value, str):
            raise FieldError(f"the {key} is not a text; write it in quotes")
    return fields


def _tags(document: dict[str, Any]) -> list[str] | None:
    tags = document.get("tags")
    if tags is None or document.get("reference"):
        return None
    if document.get("tag") or document.get("digest"):
        raise FieldError("tags are given beside a tag or a digest")
    if not isinstance(tags, list) or not tags:
        raise FieldError("the tags are not a list with something in it")
    if not all(isinstance(tag, str) and tag for tag in tags):
        raise FieldError("one of the tags is not a text")
    return tags


# -- text --
# Lists as text: a reference a line, with comments.

_COMMENT = re.compile(r"\s#")


def read_text(line: str, place: str) -> tuple[Item]:
    """The reference on a line. A `#` after a blank begins a comment."""
    text = _COMMENT.split(line, maxsplit=1)[0] if "#" in line else line
    return (read_selector(text.strip(), line, place),)


# The start of a JSON array; a bracketed IPv6 host begins otherwise.
_JSON_ARRAY = re.compile(r'\s*\[\s*($|["{\[])')

# Comments before a document that are kept for its reader: in a Dockerfile they say how
# it is to be read (Dockerfile reference, "Parser directives").
MAX_OPENING_LINES = 100

# What a line says, and its place, to the items that it gives.
Format = Callable[[str, str], Iterable[Item]]


def read_list(lines: Iterable[str], name: str) -> Iterator[Item]:
    """An item for every line that says something; JSON `tags` give one for each.

    `name` is the list's name in places (`name:12`). Blank lines and those that begin
    with `#` say nothing. No more than one line is held, but of documents that mean
    something only as a whole (`documents.py`); a JSON array is a `UsageError`.
    """
    read: Format | None = None
    opening: list[str] = []
    lines = iter(lines)
    for number, line in enumerate(lines, 1):
        start = line.lstrip()
        if not says_something(line):
            if number <= MAX_OPENING_LINES:
                opening.append(line)
            continue
        place = f"{name}:{number}"
        if len(line) > MAX_LINE_CHARS:
            detail = f"the line is longer than {MAX_LINE_CHARS:,} characters"
            yield malformed(line, place, detail)
        elif read is not None:
            yield from read(line, place)
        elif rows := Rows.below(line):
            read = rows
        elif document := document_format(line):
            blank = repeat("", number - 1 - len(opening))
            whole = chain(opening, blank, (line,), lines)
            yield from document(whole, name)
            return
        else:
            read = read_json if start[0] == "{" else _text_unless_array(start, place)
            yield from read(line, place)


def is_document(lines: Iterable[str]) -> bool:
    """Whether a list is one whole document, in which a line is not a reference."""
    first = next(filter(says_something, lines), "")
    return document_format(first) is not None


def says_something(line: str) -> bool:
    """Whether a line is neither blank nor a comment."""
    start = line.lstrip()
    return bool(start) and start[0] != "#"


def _text_unless_array(line: str, place: str) -> Format:
    if _JSON_ARRAY.match(line):
        raise UsageError(
            f"{place}: a JSON array; one object a line is wanted,"
            " as `jq -c '.[]'` makes of it"
        )
    return read_text


# -- files --
# Opening a list: a file, or standard input.

STANDARD_INPUT = "-"


def open_list(path: str) -> AbstractContextManager[io.BufferedIOBase]:
    """The bytes of a list; "-" is standard input, which stays open at the end.

    Raises `UsageError` with a sentence for what cannot be opened.
    """
    try:
        if path == STANDARD_INPUT:
            # Not `sys.stdin.buffer`: it is locked while a thread waits in it, and an
            # interpreter that ends meanwhile aborts.
            return open(sys.stdin.fileno(), "rb", closefd=False)
        return Path(path).open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None


def read_list_file(path: str, *, name: str | None = None) -> Iterator[Item]:
    """The items of a list, which is closed at its end; `name`, or else its path, is
    what their places are said to be in.

    Raises `UsageError` where the list cannot be opened or read on.
    """
    name = name or list_name(path)
    with open_list(path) as stream:
        try:
            yield from read_list(read_lines(stream, name), name)
        except OSError as error:
            raise _unreadable(name, error) from None


def list_name(path: str) -> str:
    """What a list is called in places."""
    return "stdin" if path == STANDARD_INPUT else path


def _unreadable(path: str, error: OSError) -> UsageError:
    return UsageError(f"{path}: the list cannot be read: {error.strerror or error}")


# -- __init__ --
# Lists of references: text, JSON lines and CSV, read as a stream.

__all__ = [
    "Item",
    "Listed",
    "Malformed",
    "open_list",
    "read_lines",
    "read_list",
    "read_list_file",
]


# -- inputs --
# Everything a run is asked to audit: arguments first, then the lists, in order.

_PATTERN = "*"
_PIECE_BYTES = 1024 * 1024


def items_of(
    settings: Settings, *, names: Mapping[str, str] | None = None
) -> Iterator[Item]:
    """The items of the settings' references and lists, read as they are needed.

    `names` are those of lists that are copies: what places are said to be in. Raises
    `UsageError` when a list cannot be read.
    """
    for number, text in enumerate(settings.references, 1):
        yield read_selector(text, text, f"reference {number}")
    for path in settings.lists:
        yield from read_list_file(path, name=(names or {}).get(path))


def check_lists(settings: Settings) -> None:
    """Open every list once: a name that is wrong is told before any work is done.

    Raises `UsageError`.
    """
    for path in settings.lists:
        if path != STANDARD_INPUT and _is_regular(path):
            with open_list(path):
                pass


def count_lines(settings: Settings) -> int | None:
    """How many references the settings may mean, or None where that is not known:
    a list that is no file, a tag pattern, a document with more than a line each."""
    if any(_PATTERN in text for text in settings.references):
        return None
    count = len(settings.references)
    for path in settings.lists:
        if path == STANDARD_INPUT or not _is_regular(path):
            return None
        with open_list(path) as stream:
            if is_document(read_lines(stream, path)):
                return None
            stream.seek(0)
            while piece := stream.read(_PIECE_BYTES):
                if _PATTERN.encode() in piece:
                    return None
                count += piece.count(b"\n")
    return count


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return True  # opening it says what is wrong
