"""Lists with an item on each line: text, JSON lines and CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from typing import Any, Self

import orjson

from auditor.input.documents import document_items
from auditor.input.input_items import (
    FIELDS,
    FieldError,
    InputItem,
    item_from_fields,
    malformed_line,
    parse_item,
)

DELIMITERS = (",", ";", "\t")

_COMMENT = re.compile(r"\s#")

# Reads a line; the second argument is its place (`file:line`).
LineFormat = Callable[[str, str], Iterable[InputItem]]


def read_text_line(line: str, place: str) -> tuple[InputItem]:
    """The reference on a line. A `#` after a blank begins a comment."""
    text = _COMMENT.split(line, maxsplit=1)[0] if "#" in line else line
    return (parse_item(text.strip(), line, place),)


def read_json_line(line: str, place: str) -> Iterable[InputItem]:
    """The references of a JSON object, such as a record of one of our reports.

    Keys: `reference`, or `repository` with `registry`, `tag` or `tags`, `digest`; other
    keys are ignored. The object can also be a document of a known format, such as a
    Kubernetes object.
    """
    try:
        document = orjson.loads(line)
        if not _names_an_image(document):
            items = document_items(document, place)
            if items is not None:
                return items
        fields, tags = _fields(document), _tags(document)
    except orjson.JSONDecodeError as error:
        detail = f"not JSON: {error.msg} at column {error.colno}"
        return (malformed_line(line, place, detail),)
    except FieldError as error:
        return (malformed_line(line, place, str(error)),)
    if tags is None:
        return (item_from_fields(fields, line, place),)
    return [item_from_fields({**fields, "tag": tag}, line, place) for tag in tags]


def _names_an_image(document: Any) -> bool:
    return isinstance(document, dict) and not {"reference", "repository"}.isdisjoint(
        document
    )


def _fields(document: Any) -> dict[str, str | None]:
    if not isinstance(document, dict):
        raise FieldError("the line is JSON but not an object")
    fields = {name: document.get(name) for name in FIELDS}
    for name, value in fields.items():
        if value is not None and not isinstance(value, str):
            raise FieldError(f"the {name} must be a string; write it in quotes")
    return fields


def _tags(document: dict[str, Any]) -> list[str] | None:
    tags = document.get("tags")
    if tags is None or document.get("reference"):
        return None
    if document.get("tag") or document.get("digest"):
        raise FieldError("tags cannot be combined with a tag or a digest")
    if not isinstance(tags, list) or not tags:
        raise FieldError("tags must be a list with at least one tag")
    if not all(isinstance(tag, str) and tag for tag in tags):
        raise FieldError("each of the tags must be a string")
    return tags


class CsvRows:
    """Reads the rows below a CSV header (RFC 4180); a row is one line.

    A field with a line break is malformed where it begins: an unclosed quote must not
    swallow the rest of the list.
    """

    def __init__(self, delimiter: str, columns: tuple[str, ...]) -> None:
        """`columns` are the names in the header, in lower case."""
        self._delimiter = delimiter
        self._width = len(columns)
        self._fields = [
            (columns.index(name), name) for name in FIELDS if name in columns
        ]

    @classmethod
    def below(cls, line: str) -> Self | None:
        """The reader of the rows below this line; `None` if it is not a header.

        A header has a column `reference` or `repository`.
        """
        for delimiter in DELIMITERS:
            try:
                cells = _split_row(line, delimiter)
            except csv.Error:
                continue
            columns = tuple(cell.strip().lower() for cell in cells)
            if "reference" in columns or "repository" in columns:
                return cls(delimiter, columns)
        return None

    def __call__(self, line: str, place: str) -> tuple[InputItem]:
        """The reference of a row; other columns are ignored."""
        try:
            cells = _split_row(line.rstrip("\r\n"), self._delimiter)
        except csv.Error:
            detail = "the quotes on this line do not match"
            return (malformed_line(line, place, detail),)
        if len(cells) != self._width:
            detail = f"the row has {len(cells)} fields, the header has {self._width}"
            return (malformed_line(line, place, detail),)
        fields = {name: cells[index].strip() for index, name in self._fields}
        return (item_from_fields(fields, line, place),)


def _split_row(line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    return next(csv.reader((line,), delimiter=delimiter, strict=True))
