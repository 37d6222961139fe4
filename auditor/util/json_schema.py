"""JSON Schema (draft 2020-12) of documents that are written from dataclasses.

A schema is derived from the fields and their types, so that it cannot differ from what
`orjson` writes. The fields `schema` and `kind` are constants if they have a default.

The docstring of a class is its description. Points of it that begin with the names of
fields are those of the fields:

    - `size`: bytes; None if they are not known
    - `first`, `last`: times, RFC 3339
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Any

# A point that begins with names of fields, and its further lines.
_POINT = re.compile(r"^- ((?:`\w+`, )*`\w+`): (.*(?:\n {2}.*)*)\n?", re.MULTILINE)
_CONSTANTS = frozenset({"schema", "kind"})
_SCALARS: dict[object, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0},
    float: {"type": "number", "minimum": 0},
    date: {"type": "string", "format": "date"},
    types.NoneType: {"type": "null"},
    object: {},
    Any: {},
}


def json_schema(
    *documents: type,
    title: str,
    urn: str,
    meanings: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """The JSON Schema of documents of any of these dataclasses.

    `meanings` are descriptions of fields, by the name of their class and their own.
    """
    definitions: dict[str, Any] = {}
    references = [_reference(document, definitions) for document in documents]
    for name, definition in definitions.items():
        for field, meaning in (meanings or {}).get(name, {}).items():
            definition["properties"][field]["description"] = meaning
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": urn,
        "title": title,
        "oneOf": references,
        "$defs": definitions,
    }


def _reference(document: type, definitions: dict[str, Any]) -> dict[str, str]:
    name = document.__name__
    if name not in definitions:
        definitions[name] = {}  # keeps its place while its fields are described
        definitions[name] = _object(document, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _object(document: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(document)
    text, meanings = described_fields(document)
    properties: dict[str, dict[str, Any]] = {}
    for field in dataclasses.fields(document):
        if field.name in _CONSTANTS and field.default is not dataclasses.MISSING:
            properties[field.name] = {"const": field.default}
        else:
            properties[field.name] = _type(hints[field.name], definitions)
        if field.name in meanings:
            properties[field.name]["description"] = meanings.pop(field.name)
    if meanings:
        raise TypeError(f"{document.__name__} has no {', '.join(meanings)}")
    return {
        "description": text,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def described_fields(document: type) -> tuple[str, dict[str, str]]:
    """The description of a class, and the meanings of fields, by its docstring."""
    docstring = inspect.cleandoc(document.__doc__ or "")
    docstring = re.sub(r"`?\bNone\b`?", "`null`", docstring)
    meanings = {}
    for names, meaning in _POINT.findall(docstring):
        for name in re.findall(r"\w+", names):
            meanings[name] = " ".join(meaning.split())
    return _POINT.sub("", docstring).strip(), meanings


def _type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if hint in _SCALARS:
        return dict(_SCALARS[hint])
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return {"anyOf": [_type(option, definitions) for option in arguments]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is tuple and arguments[-1] is not Ellipsis:
        items = [_type(item, definitions) for item in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items)}
    if origin is tuple:
        return {"type": "array", "items": _type(arguments[0], definitions)}
    if origin in {dict, Mapping}:
        values = _type(arguments[1], definitions)
        return {"type": "object", "additionalProperties": values}
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"enum": [member.value for member in hint]}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return dict(_reference(hint, definitions))
    raise TypeError(f"no JSON Schema for {hint!r}")
