"""The JSON Schema (draft 2020-12) of report lines, derived from the records."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from auditor.model import SCHEMA, FailureRecord, ImageRecord
from auditor.report.shapes import LayerRow, PlatformRow

_LINES = (ImageRecord, FailureRecord, PlatformRow, LayerRow)
_SCALARS: dict[type, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0},
    types.NoneType: {"type": "null"},
}


def report_schema() -> dict[str, Any]:
    """What every line of a report of any shape is valid against."""
    definitions: dict[str, Any] = {}
    lines = [_reference(line, definitions) for line in _LINES]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:auditor:report:{SCHEMA}",
        "title": f"A line of an auditor report, schema {SCHEMA}",
        "oneOf": lines,
        "$defs": definitions,
    }


def _reference(record: type, definitions: dict[str, Any]) -> dict[str, str]:
    name = record.__name__
    if name not in definitions:
        definitions[name] = {}  # holds the place while its fields are described
        definitions[name] = _object(record, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _object(record: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(record)
    properties = {}
    for field in dataclasses.fields(record):
        if field.default is not dataclasses.MISSING:
            properties[field.name] = {"const": field.default}
        else:
            properties[field.name] = _type(hints[field.name], definitions)
    return {
        "description": inspect.cleandoc(record.__doc__ or ""),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if hint in _SCALARS:
        return dict(_SCALARS[hint])
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return {"anyOf": [_type(option, definitions) for option in arguments]}
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
