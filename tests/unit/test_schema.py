"""Every line is valid against the schema that `auditor schema` prints, and nothing
else is."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from auditor.config import Shape
from auditor.errors import FailureKind, Stage
from auditor.report.shapes import encoder, report_schema
from tests.records import EVERYTHING, RECORDS, failure, image

SCHEMA = report_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
Row = dict[str, Any]


def rows(shape: Shape) -> list[Row]:
    encode = encoder(shape)
    return [
        json.loads(line) for record in RECORDS for line in encode(record).splitlines()
    ]


ROWS = {row["kind"]: row for shape in Shape for row in rows(shape)}
IMAGE: Row = json.loads(encoder(Shape.IMAGE)(EVERYTHING))


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert report_schema() == SCHEMA


@pytest.mark.parametrize("shape", Shape)
def test_every_line_is_valid(shape: Shape) -> None:
    found = rows(shape)
    assert found
    for row in found:
        VALIDATOR.validate(row)


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("stage", Stage)
def test_every_failure_is_valid(kind: FailureKind, stage: Stage) -> None:
    line = encoder(Shape.IMAGE)(failure(failure=kind, stage=stage))
    VALIDATOR.validate(json.loads(line))


@pytest.mark.parametrize("kind", sorted(ROWS))
def test_a_line_without_one_of_its_fields_is_not_valid(kind: str) -> None:
    for key in ROWS[kind]:
        row = {name: value for name, value in ROWS[kind].items() if name != key}
        assert not VALIDATOR.is_valid(row), key


@pytest.mark.parametrize("kind", sorted(ROWS))
def test_a_line_with_a_field_more_is_not_valid(kind: str) -> None:
    assert not VALIDATOR.is_valid(ROWS[kind] | {"more": 1})


@pytest.mark.parametrize("kind", sorted(ROWS))
def test_a_field_of_another_type_is_not_valid(kind: str) -> None:
    for key in ROWS[kind]:
        assert not VALIDATOR.is_valid(ROWS[kind] | {key: 1.5}), key


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("image", {"schema": 2}),
        ("image", {"kind": "failure"}),
        ("image", {"kind": "other"}),
        ("image", {"digest": None}),
        ("image", {"size": -1}),
        ("image", {"size": True}),
        ("image", {"annotations": {"a": 1}}),
        ("image", {"architectures": [None]}),
        ("failure", {"failure": "sadness"}),
        ("failure", {"stage": "later"}),
        ("failure", {"attempts": "1"}),
        ("failure", {"status": "404"}),
        ("platform", {"layers": []}),
        ("layer", {"position": "0"}),
        ("layer", {"position": -1}),
    ],
)
def test_a_value_that_cannot_be_is_not_valid(kind: str, changes: Row) -> None:
    assert not VALIDATOR.is_valid(ROWS[kind] | changes)


def _without_layers(row: Row) -> None:
    del row["platforms"][0]["layers"]


def _layer_more(row: Row) -> None:
    row["platforms"][0]["layers"][0]["more"] = 1


def _access_state(row: Row) -> None:
    row["access"]["state"] = "perhaps"


def _warning_code(row: Row) -> None:
    row["warnings"][0]["code"] = "sadness"


def _attachment_kind(row: Row) -> None:
    row["attachments"][0]["kind"] = "pet"


@pytest.mark.parametrize(
    "damage",
    [_without_layers, _layer_more, _access_state, _warning_code, _attachment_kind],
)
def test_damage_inside_is_not_valid(damage: Callable[[Row], None]) -> None:
    row = copy.deepcopy(IMAGE)
    VALIDATOR.validate(row)
    damage(row)
    assert not VALIDATOR.is_valid(row)


def test_the_order_of_required_fields_is_that_of_the_lines() -> None:
    line = json.loads(encoder(Shape.IMAGE)(image()))
    assert SCHEMA["$defs"]["ImageRecord"]["required"] == list(line)
