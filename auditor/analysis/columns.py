"""The columns of a report in DuckDB's types, derived from the records."""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import StrEnum
from typing import Any

from auditor.model import FailureRecord, ImageRecord

_SCALARS: dict[Any, str] = {str: "VARCHAR", int: "BIGINT", bool: "BOOLEAN"}


def report_columns() -> dict[str, str]:
    """Name and type of every column that an image or failure line may have."""
    return {**_columns(FailureRecord), **_columns(ImageRecord)}


def columns_of_images() -> tuple[str, ...]:
    """The names of an image line, in its order."""
    return tuple(_columns(ImageRecord))


def columns_of_failures() -> tuple[str, ...]:
    """The names of a failure line, in its order."""
    return tuple(_columns(FailureRecord))


def _columns(record: type) -> dict[str, str]:
    hints = typing.get_type_hints(record)
    return {
        field.name: _type(hints[field.name]) for field in dataclasses.fields(record)
    }


def _type(hint: Any) -> str:
    if hint in _SCALARS:
        return _SCALARS[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in {types.UnionType, typing.Union}:
        (known,) = (option for option in arguments if option is not types.NoneType)
        return _type(known)
    if typing.get_origin(hint) is tuple:
        return f"{_type(arguments[0])}[]"
    if typing.get_origin(hint) is dict:
        return f"MAP({_type(arguments[0])}, {_type(arguments[1])})"
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return "VARCHAR"
    fields = ", ".join(f'"{name}" {kind}' for name, kind in _columns(hint).items())
    return f"STRUCT({fields})"
