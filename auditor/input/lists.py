"""The lists of a run: each is read in the format that its first line shows.

This file has the formats with an item on each line: text, JSON lines and CSV. Formats
of a single document are in documents.py.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import itertools
import json
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import orjson

from auditor.config import Settings
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.document_format import document_format
from auditor.input.input_items import (
    FIELDS,
    FieldError,
    InputItem,
    is_complete,
    item_from_fields,
    malformed_line,
    parse_item,
    with_origin,
)
from auditor.input.input_labels import json_has_sources, json_origin, row_origin
from auditor.input.list_reader import (
    BLOCK_BYTES,
    MAX_LINE_CHARS,
    STANDARD_INPUT,
    ListReader,
    is_blank_or_comment,
    list_name,
    open_list,
    read_in_thread,
    unreadable_list,
)

DELIMITERS = (",", ";", "\t")
# The name of the running cluster among the lists.
CLUSTER = "cluster"
SILENT_INPUT = (
    "the input named no reference before the deadline; check the program that writes"
    " the list"
)

_COMMENT = re.compile(r"\s#")
# The start of a JSON array; a host that is an IPv6 address in brackets differs.
_JSON_ARRAY = re.compile(r'\s*\[\s*($|["{\[])')
_PATTERN = "*"
_IMAGE_KEYS = {"reference", "repository"}
_SINGLE_KEYS = ("reference", "registry", "repository", "tag", "tags")

# Opens a list, to be read once.
OpenReader = Callable[[], AbstractContextManager[ListReader]]
# Reads a line; the second argument is its place (`file:line`).
LineFormat = Callable[[str, str], Iterable[InputItem]]


def input_items(
    settings: Settings,
    *,
    names: Mapping[str, str] | None = None,
    cluster: Iterable[InputItem] = (),
    readers: Mapping[int, OpenReader] | None = None,
) -> Iterator[InputItem]:
    """The references of the settings, then the items of their lists, read lazily, then
    those of the cluster.

    `names` maps the paths of copied lists to names for locations; `readers` open the
    lists, by position, that cannot be opened again. Raises `UsageError` if a list
    cannot be read, or names nothing without `allow_empty`: the program that writes it
    may have failed.
    """
    for _, item in listed_items(
        settings, names=names, cluster=cluster, readers=readers
    ):
        if item.origin is None or not item.origin.is_repeat:
            yield item


def listed_items(
    settings: Settings,
    *,
    names: Mapping[str, str] | None = None,
    cluster: Iterable[InputItem] = (),
    readers: Mapping[int, OpenReader] | None = None,
) -> Iterator[tuple[str | None, InputItem]]:
    """Each item with the name of its list, None for a reference of the settings.

    Also those that repeat a reference (`InputOrigin.is_repeat`); otherwise as
    `input_items`.
    """
    for number, text in enumerate(settings.references, 1):
        yield None, parse_item(text, text, f"reference {number}")
    for position, path in enumerate(settings.lists):
        name = (names or {}).get(path) or list_name(path)
        if readers is not None and position in readers:
            items = _read(readers[position]())
        else:
            items = read_list_file(path, name=name)
        first = next(items, None)
        if first is not None:
            yield name, first
            for item in items:
                yield name, item
        elif not settings.allow_empty:
            raise _empty_list(name)
    for item in cluster:
        yield CLUSTER, item


async def await_first_item(
    items: Iterator[InputItem], settings: Settings
) -> Iterator[InputItem]:
    """The same items, as soon as the first one is read: nothing is written before.

    Raises `UsageError` if a list is empty (see `input_items`), or silent until the
    deadline.
    """
    with anyio.move_on_after(settings.deadline_s):
        async for batch in read_in_thread(itertools.islice(items, 1)):
            return itertools.chain(batch, items)
        return items
    raise UsageError(SILENT_INPUT)


def _empty_list(name: str) -> UsageError:
    return UsageError(
        f"{name}: the list names no reference; check the program that writes it"
        " (--allow-empty accepts empty lists)"
    )


def read_list_file(path: str, *, name: str | None = None) -> Iterator[InputItem]:
    """The items of a list; `name` replaces its path in locations (`name:line`).

    Raises `UsageError` if the list cannot be opened or read.
    """
    yield from _read(open_reader(path, name or list_name(path)))


@contextlib.contextmanager
def open_reader(path: str, name: str) -> Iterator[ListReader]:
    """A reader of a list; raises `UsageError` if it cannot be opened."""
    with open_list(path) as stream:
        yield ListReader(stream, name)


def _read(opened: AbstractContextManager[ListReader]) -> Iterator[InputItem]:
    with opened as reader:
        try:
            yield from read_list(reader)
        except OSError as error:
            raise unreadable_list(reader.name, error) from None


def read_list(reader: ListReader) -> Iterator[InputItem]:
    """The items of a list. Blank lines and lines that begin with `#` are ignored.

    Lines are read one at a time, JSON documents one object at a time, other documents
    whole. Raises `UsageError` for a JSON array and a document that cannot be read.
    """
    first_line = reader.first_line()
    form = document_format(first_line)
    if form is not None and csv_format(first_line) is None:
        from auditor.input.documents import read_document  # noqa: PLC0415  (rare)

        yield from read_document(reader, form)
        return
    read_line: LineFormat | None = None
    for number, line in enumerate(reader, 1):
        if is_blank_or_comment(line):
            continue
        place = f"{reader.name}:{number}"
        if len(line) > MAX_LINE_CHARS:
            detail = f"the line is longer than {MAX_LINE_CHARS:,} characters"
            yield malformed_line(line, place, detail)
        elif read_line is not None:
            yield from read_line(line, place)
        else:
            read_line = csv_format(line)
            if read_line is None:
                read_line = _line_format(line, place)
                yield from read_line(line, place)


def check_lists(settings: Settings) -> None:
    """Read the start of every list, so that one that is missing, not a list, or empty
    is reported before any work is done.

    Raises `UsageError`. Standard input and pipes, which cannot be read twice, are left
    out.
    """
    for path in settings.lists:
        if is_regular_file(path):
            next(input_items(replace(settings, references=(), lists=(path,))), None)


def count_lines(settings: Settings) -> int | None:
    """An estimate of the number of references, `None` if it is unknown.

    It is unknown if a list is not a regular file, a pattern is used, or a document has
    several references a line.
    """
    if any(_PATTERN in text for text in settings.references):
        return None
    count = len(settings.references)
    for path in settings.lists:
        if not is_regular_file(path):
            return None
        with open_list(path) as stream:
            if document_format(ListReader(stream, path).first_line()) is not None:
                return None
        with open_list(path) as stream:
            while block := stream.read(BLOCK_BYTES):
                if _PATTERN.encode() in block:
                    return None
                count += block.count(b"\n")
    return count


def list_has_sources(first_line: str) -> bool:
    """Whether a list with this first line says who uses a reference, or has labels.

    The line is the first that is neither blank nor a comment.
    """
    if first_line.lstrip().startswith("{"):
        return json_has_sources(first_line)
    if document_format(first_line) is not None:
        return True
    _, columns = _csv_columns(first_line)
    return any(title and title.lower() not in FIELDS for title in columns)


def _line_format(line: str, place: str) -> LineFormat:
    if line.lstrip().startswith("{"):
        return read_json_line
    if _JSON_ARRAY.match(line):
        raise UsageError(
            f"{place}: JSON arrays are not supported; write one object a line"
            " (`jq -c '.[]'`)"
        )
    return read_text_line


def is_regular_file(path: str) -> bool:
    """Whether a list can be read twice, or cannot be opened at all."""
    if path == STANDARD_INPUT:
        return False
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return True  # opening it reports the error


def read_text_line(line: str, place: str) -> tuple[InputItem]:
    """The reference on a line. A `#` after a blank begins a comment."""
    text = _COMMENT.split(line, maxsplit=1)[0] if "#" in line else line
    text = text.strip()
    if text == "null":
        detail = "null is what jq and yq print for a value that is missing"
        return (malformed_line(line, place, detail),)
    return (parse_item(text, line, place),)


def read_json_line(line: str, place: str) -> Iterable[InputItem]:
    """The references of a JSON object, such as a record of one of our reports.

    Keys: `reference`, or `repository` with `registry`; with `tag` or `tags`, `digest`.
    Other keys are labels. The object can also be a document of a known format, such as
    a Kubernetes object.
    """
    try:
        document = orjson.loads(line)
        if isinstance(document, dict) and not _IMAGE_KEYS & document.keys():
            from auditor.input.documents import document_items  # noqa: PLC0415

            items = document_items(document, place)
            if items is not None:
                return items
        _check_duplicates(line)
        fields, tags = _fields(document), _tags(document)
    except orjson.JSONDecodeError as error:
        detail = f"not JSON: {error.msg} at column {error.colno}"
        return (malformed_line(line, place, detail),)
    except FieldError as error:
        return (malformed_line(line, place, str(error)),)
    origin = json_origin(document)
    if tags is None:
        return (with_origin(item_from_fields(fields, line, place), origin),)
    return [
        with_origin(item_from_fields({**fields, "tag": tag}, line, place), origin)
        for tag in tags
    ]


def _fields(document: Any) -> dict[str, str | None]:
    if not isinstance(document, dict):
        raise FieldError("the line is JSON but not an object")
    fields = {name: document.get(name) for name in FIELDS}
    for name, value in fields.items():
        if value is not None and not isinstance(value, str):
            raise FieldError(f"the {name} must be a string; write it in quotes")
    return fields


def _check_duplicates(line: str) -> None:
    """Raise `FieldError` if a field of the reference occurs twice with other values.

    JSON parsers return the last one. A digest occurs in many objects of a record.
    """
    if not any(line.count(f'"{key}"') > 1 for key in _SINGLE_KEYS):
        return

    def check(pairs: list[tuple[str, Any]]) -> None:
        values: dict[str, Any] = {}
        for key, value in pairs:
            if key in _SINGLE_KEYS and values.setdefault(key, value) != value:
                raise FieldError(f"the {key} occurs twice with different values")

    with contextlib.suppress(RecursionError, json.JSONDecodeError):
        json.loads(line, object_pairs_hook=check, parse_int=str)


def _tags(document: dict[str, Any]) -> list[str] | None:
    tags = document.get("tags")
    if tags is None or is_complete(document.get("reference") or ""):
        return None
    if document.get("tag") or document.get("digest"):
        raise FieldError("tags cannot be combined with a tag or a digest")
    if not isinstance(tags, list) or not tags:
        raise FieldError("tags must be a list with at least one tag")
    if not all(isinstance(tag, str) and tag for tag in tags):
        raise FieldError("each of the tags must be a string")
    return tags


def csv_format(header: str) -> LineFormat | None:
    """The reader of the rows below this line; `None` if it is not a CSV header.

    A header has a column `reference` or `repository`; other columns are labels. A row
    (RFC 4180) is one line: a field with a line break is malformed, so that an unclosed
    quote does not include the rest of the list. As spreadsheets write them, a row may
    end early or have empty fields after the last column; one without values is skipped.
    """
    delimiter, titles = _csv_columns(header)
    if not titles:
        return None
    columns = [title.lower() for title in titles]
    return functools.partial(
        _read_row,
        _CsvColumns(
            delimiter=delimiter,
            width=len(titles),
            fields=tuple(
                (name, column)
                for name in FIELDS
                for column, title in enumerate(columns)
                if title == name
            ),
            labels=tuple(
                (title, column)
                for column, title in enumerate(titles)
                if title and columns[column] not in FIELDS
            ),
        ),
    )


def _csv_columns(header: str) -> tuple[str, list[str]]:
    """The delimiter and the titles of a header of a CSV list; none if it is none."""
    for delimiter in DELIMITERS:
        try:
            titles = [cell.strip() for cell in _split_row(header, delimiter)]
        except csv.Error:
            continue
        if {"reference", "repository"} & {title.lower() for title in titles}:
            return delimiter, titles
    return "", []


@dataclass(frozen=True, slots=True, kw_only=True)
class _CsvColumns:
    """The columns of a CSV list: names with the position of their column."""

    delimiter: str
    width: int
    fields: tuple[tuple[str, int], ...]
    labels: tuple[tuple[str, int], ...]


def _read_row(columns: _CsvColumns, line: str, place: str) -> tuple[InputItem, ...]:
    try:
        cells = _split_row(line.rstrip("\r\n"), columns.delimiter)
    except csv.Error:
        detail = "the quotes on this line do not match"
        return (malformed_line(line, place, detail),)
    values = [cell.strip() for cell in cells]
    if not any(values):
        return ()
    if any(values[columns.width :]):
        detail = f"the row has {len(cells)} fields, the header has {columns.width}"
        return (malformed_line(line, place, detail),)
    row: dict[str, str] = {}
    for name, column in columns.fields:
        value = values[column] if column < len(values) else ""
        if value and row.get(name) not in {None, "", value}:
            detail = f"two columns named {name} have different values"
            return (malformed_line(line, place, detail),)
        row[name] = value or row.get(name, "")
    item = item_from_fields(row, line, place)
    labels = [(name, values[n]) for name, n in columns.labels if n < len(values)]
    return (with_origin(item, row_origin(labels)),)


def _split_row(line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    return next(csv.reader((line,), delimiter=delimiter, strict=True))
