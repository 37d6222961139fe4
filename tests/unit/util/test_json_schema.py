"""The JSON Schema of a dataclass, and what its docstring says about its fields."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.fast_dataclass import dataclass
from auditor.util.json_schema import json_schema


@dataclass(frozen=True)
class Blob:
    """Some bytes.

    Of one registry.

    - `digest`: as it was
      requested
    - `first`, `last`: seconds; `None` if it was never used
    """

    digest: str
    first: int | None
    last: int | None
    note: str


@dataclass(frozen=True)
class Wrong:
    """Some bytes.

    - `sise`: bytes
    """

    size: int


def definition(document: type, **more: Any) -> dict[str, Any]:
    found = json_schema(document, title="t", urn="urn:t", **more)["$defs"]
    return dict(found[document.__name__])


def test_points_of_the_docstring_are_the_meanings_of_fields() -> None:
    found = definition(Blob)
    assert found["description"] == "Some bytes.\n\nOf one registry."
    assert found["properties"] == {
        "digest": {"type": "string", "description": "as it was requested"},
        "first": {
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}],
            "description": "seconds; `null` if it was never used",
        },
        "last": {
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}],
            "description": "seconds; `null` if it was never used",
        },
        "note": {"type": "string"},
    }


def test_a_meaning_of_no_field_is_an_error() -> None:
    with pytest.raises(TypeError, match="Wrong has no sise"):
        definition(Wrong)


def test_meanings_can_be_in_a_table() -> None:
    found = definition(Blob, meanings={"Blob": {"note": "a sentence"}})
    assert found["properties"]["note"]["description"] == "a sentence"
