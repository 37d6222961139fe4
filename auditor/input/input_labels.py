"""The labels of the input: other columns of a CSV list, other keys of a JSON line.

They say who owns an image: team, cost centre, host. Records pass them through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from auditor.input.input_items import FIELDS, InputOrigin
from auditor.model import SCHEMA, Source
from auditor.util.secret import mask_userinfo

# Labels of one line. A spreadsheet has some twenty columns.
MAX_PAIRS = 100
# Characters of a name or value: a longer one is text and no label.
MAX_CHARS = 1000
# Objects in objects of a JSON line: `owner.team` is two.
_MAX_DEPTH = 4

_RECORD_KINDS = frozenset({"image", "failure", "platform", "layer"})
_NAMES = frozenset({*FIELDS, "tags"})
# The other keys of `auditor ls --format json`, which is a list for an audit.
_LISTING_NAMES = frozenset({"media_type", "size", "created", "pushed", "pulled"})


def row_origin(cells: Iterable[tuple[str, str]]) -> InputOrigin | None:
    """The origin of a CSV row with these titles and values; None without labels."""
    return _origin((title, value) for title, value in cells if value)


def json_origin(document: Mapping[str, Any]) -> InputOrigin | None:
    """The origin of a JSON line; None if it has no labels.

    Text, numbers and truth values are labels. A list has several values; the names in
    an object are `KEY.NAME`. A record of a report has no labels but those that it was
    given, and the sources that it had.
    """
    if document.keys() <= _NAMES:
        return None
    if _is_record(document):
        return _record_origin(document)
    if document.keys() >= _LISTING_NAMES:
        return None
    others = {name: value for name, value in document.items() if name not in _NAMES}
    return _origin(_pairs(others))


def json_has_sources(line: str) -> bool:
    """Whether a list that begins with this line of JSON names sources, or may do so.

    The records of a report do if their sources were recorded; `auditor ls` names none.
    """
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return True  # the beginning of a document
    if not isinstance(document, dict):
        return False
    if _is_record(document):
        return document.get("sources") is not None
    return not document.keys() >= _LISTING_NAMES


def clean_text(text: str) -> str:
    """Text of the input for a record: without passwords, and Unicode.

    Bytes that are not UTF-8 are lone surrogates (PEP 383), which JSON cannot have.
    """
    if text.isascii() and "\0" not in text and "@" not in text:
        return text
    if not text.isascii():
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if "\0" in text:  # DuckDB does not read it
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return mask_userinfo(text) if "@" in text and "://" in text else text


def _is_record(document: Mapping[str, Any]) -> bool:
    return document.get("schema") == SCHEMA and document.get("kind") in _RECORD_KINDS


def _origin(pairs: Iterable[tuple[str, str]]) -> InputOrigin | None:
    kept: dict[tuple[str, str], None] = {}
    left_out = 0
    for name, value in pairs:
        if len(kept) == MAX_PAIRS or len(name) > MAX_CHARS or len(value) > MAX_CHARS:
            left_out += 1
        else:
            kept[clean_text(name), clean_text(value)] = None
    if not kept and not left_out:
        return None
    return InputOrigin(labels=tuple(kept), labels_left_out=left_out)


def _pairs(
    values: Mapping[str, Any], prefix: str = "", depth: int = 1
) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, dict):
                if depth < _MAX_DEPTH:
                    yield from _pairs(one, f"{name}.", depth + 1)
            elif name and (text := _text(one)):
                yield name, text


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return value.strip() if isinstance(value, str) else None


def _record_origin(record: Mapping[str, Any]) -> InputOrigin | None:
    labels = record.get("input_labels")
    origin = _origin(_pairs(labels)) if isinstance(labels, dict) else None
    found = record.get("sources")
    sources = tuple(
        source
        for entry in (found if isinstance(found, list) else ())
        if (source := _source(entry)) is not None
    )
    return InputOrigin(
        labels=origin.labels if origin else (),
        labels_left_out=_count(record.get("input_labels_left_out")),
        sources=sources,
        sources_left_out=_count(record.get("sources_left_out")),
    )


def _source(entry: object) -> Source | None:
    if not isinstance(entry, dict):
        return None
    list_, place, namespace, workload, container = (
        clean_text(text)[:MAX_CHARS]
        if isinstance(text := entry.get(name), str)
        else None
        for name in ("list", "place", "namespace", "workload", "container")
    )
    if place is None:
        return None
    return Source(
        list=list_,
        place=place,
        namespace=namespace,
        workload=workload,
        container=container,
    )


def _count(value: object) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return max(0, value) if is_count and isinstance(value, int) else 0
