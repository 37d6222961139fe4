"""The lists of a run: each is read in the format that its first line shows."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from auditor.config import Settings
from auditor.errors import UsageError
from auditor.input.documents import document_format
from auditor.input.input_items import InputItem, malformed_line, parse_item
from auditor.input.line_formats import (
    CsvRows,
    LineFormat,
    read_json_line,
    read_text_line,
)
from auditor.input.list_reader import (
    BLOCK_BYTES,
    MAX_LINE_CHARS,
    STANDARD_INPUT,
    ListReader,
    is_blank_or_comment,
    list_name,
    open_list,
    unreadable_list,
)

# The start of a JSON array; a host that is an IPv6 address in brackets differs.
_JSON_ARRAY = re.compile(r'\s*\[\s*($|["{\[])')
_PATTERN = "*"


def input_items(
    settings: Settings, *, names: Mapping[str, str] | None = None
) -> Iterator[InputItem]:
    """The references of the settings, then the items of their lists, read lazily.

    `names` gives the names for places of lists that are copies. Raises `UsageError` if
    a list cannot be read.
    """
    for number, text in enumerate(settings.references, 1):
        yield parse_item(text, text, f"reference {number}")
    for path in settings.lists:
        yield from read_list_file(path, name=(names or {}).get(path))


def read_list_file(path: str, *, name: str | None = None) -> Iterator[InputItem]:
    """The items of a list; `name` replaces its path in places.

    Raises `UsageError` if the list cannot be opened or read.
    """
    name = name or list_name(path)
    with open_list(path) as stream:
        try:
            yield from read_list(ListReader(stream, name))
        except OSError as error:
            raise unreadable_list(name, error) from None


def read_list(reader: ListReader) -> Iterator[InputItem]:
    """The items of a list. Blank lines and lines that begin with `#` are ignored.

    Lines are read one at a time, JSON documents one object at a time, other documents
    whole. Raises `UsageError` for a JSON array and a document that cannot be read.
    """
    first_line = reader.first_line()
    if not CsvRows.below(first_line):
        read_document = document_format(first_line)
        if read_document is not None:
            yield from read_document(reader)
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
        elif rows := CsvRows.below(line):
            read_line = rows
        else:
            read_line = _line_format(line, place)
            yield from read_line(line, place)


def check_lists(settings: Settings) -> None:
    """Open every list once, so that a wrong name is reported before any work is done.

    Raises `UsageError`.
    """
    for path in settings.lists:
        if path != STANDARD_INPUT and _is_regular_file(path):
            with open_list(path):
                pass


def count_lines(settings: Settings) -> int | None:
    """An estimate of the number of references; `None` if there is none: a list is not a
    regular file, a pattern is used, or a document has several references a line."""
    if any(_PATTERN in text for text in settings.references):
        return None
    count = len(settings.references)
    for path in settings.lists:
        if path == STANDARD_INPUT or not _is_regular_file(path):
            return None
        with open_list(path) as stream:
            if document_format(ListReader(stream, path).first_line()) is not None:
                return None
            stream.seek(0)
            while block := stream.read(BLOCK_BYTES):
                if _PATTERN.encode() in block:
                    return None
                count += block.count(b"\n")
    return count


def _line_format(line: str, place: str) -> LineFormat:
    if line.lstrip().startswith("{"):
        return read_json_line
    if _JSON_ARRAY.match(line):
        raise UsageError(
            f"{place}: JSON arrays are not supported; write one object a line"
            " (`jq -c '.[]'`)"
        )
    return read_text_line


def _is_regular_file(path: str) -> bool:
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return True  # opening it reports the error
