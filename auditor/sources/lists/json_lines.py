"""Lists as JSON lines: an object a line, such as the lines of our own reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from auditor.input.items import Item, malformed
from auditor.sources.lists.documents import read_object
from auditor.sources.lists.fields import COLUMNS, FieldError, read_fields


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
