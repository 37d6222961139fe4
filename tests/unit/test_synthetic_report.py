"""The made-up report of the benchmarks is a report, and always the same."""

from __future__ import annotations

import json

from jsonschema import Draft202012Validator

from auditor.model import FailureRecord, ImageRecord, Shape
from auditor.report.report_schema import report_schema
from auditor.report.shapes import encoder
from bench.synthetic_report import PLACES, records

COUNT = 50 * PLACES + 7


def test_every_line_conforms_to_the_schema() -> None:
    validator = Draft202012Validator(report_schema())
    encode = encoder(Shape.IMAGE)
    for record in records(2 * PLACES):
        validator.validate(json.loads(encode(record)))


def test_there_are_as_many_records_as_asked_each_of_its_own_reference() -> None:
    made = list(records(COUNT))
    assert len(made) == len({record.reference for record in made}) == COUNT
    assert {type(record) for record in made} == {ImageRecord, FailureRecord}


def test_the_same_arguments_make_the_same_report() -> None:
    assert list(records(300)) == list(records(300))
    assert list(records(300)) != list(records(300, seed=1))


def test_layers_are_shared_as_in_a_registry() -> None:
    layers = [
        layer.digest
        for record in records(COUNT)
        if isinstance(record, ImageRecord)
        for platform in record.platforms
        for layer in platform.layers or ()
    ]
    assert len(set(layers)) < len(layers) / 5


def test_from_night_to_night_a_few_tags_move() -> None:
    nights = [
        {record.reference: record.digest for record in records(COUNT, night=night)}
        for night in (0, 1)
    ]
    both = nights[0].keys() & nights[1].keys()
    moved = [name for name in both if nights[0][name] != nights[1][name]]
    assert 0 < len(moved) < COUNT / 20
    assert 0 < len(nights[0].keys() - both) < COUNT / 50
