"""The three shapes of a report, line by line."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from auditor.errors import FailureKind, Stage
from auditor.model import Record, Shape
from auditor.report.report_schema import report_schema
from auditor.report.shapes import encoder
from tests.manifests import digest
from tests.records import EVERYTHING, RECORDS, REFUSED, failure, image, platform

A, B, E = map(digest, "abe")

IMAGE_LINE = (
    '{"schema":1,"kind":"image","reference":"r.example.com/team/app:1",'
    '"registry":"r.example.com","repository":"team/app","tag":"1",'
    f'"digest":"{E}",'
    '"media_type":"application/vnd.oci.image.index.v1+json","schema_version":2,'
    '"artifact_type":null,"content":"image","architectures":["linux/amd64"],'
    '"platforms":[{"os":"linux","architecture":"amd64","variant":null,'
    f'"os_version":null,"digest":"{A}",'
    '"media_type":"application/vnd.oci.image.manifest.v1+json",'
    f'"config_digest":"{digest("c")}","created":null,"config":null,'
    '"base":null,"size":300,"layers":['
    f'{{"digest":"{digest("1")}","size":100,'
    '"media_type":"application/vnd.oci.image.layer.v1.tar+gzip"},'
    f'{{"digest":"{digest("2")}","size":200,'
    '"media_type":"application/vnd.oci.image.layer.v1.tar+gzip"}],"layer_traits":[],'
    '"alternatives":[],"manifest_size":null,"config_size":null}],'
    '"platforms_left_out":0,"attachments":[],"signed":null,"has_sbom":null,'
    '"has_provenance":null,"size":300,"annotations":{},'
    '"access":{"state":"granted","actions":["pull"],"subject":"admin",'
    '"issuer":"auth.example.com","verified":false,"credential":null,'
    '"login_unused":false},"location":null,"pushed_at":null,"pulled_at":null,'
    '"subject":null,"manifest_size":null,"other_children":[],'
    '"bases":null,"bases_left_out":0,"untagged":null,'
    '"sources":null,"sources_left_out":0,"input_labels":null,'
    '"input_labels_left_out":0,'
    '"verified_by":null,"not_verified_by":null,"signatures":null,'
    '"signatures_left_out":0,'
    '"warnings":[],"audited_at":"2026-11-24T02:00:00Z"}\n'
)
FAILURE_LINE = (
    '{"schema":1,"kind":"failure","reference":"r.example.com/team/gone:1",'
    '"registry":"r.example.com","repository":"team/gone","tag":"1","digest":null,'
    '"stage":"manifest","failure":"not_found","status":404,'
    '"detail":"not found, or not visible to this account (404)","attempts":1,'
    '"sources":null,"sources_left_out":0,"input_labels":null,'
    '"input_labels_left_out":0,'
    '"audited_at":"2026-11-24T02:00:00Z"}\n'
)
PLATFORM_LINE = (
    '{"schema":1,"kind":"platform","reference":"r.example.com/team/app:1",'
    '"registry":"r.example.com","repository":"team/app","tag":"1",'
    f'"digest":"{E}","content":"image","platform":"linux/arm64","os":"linux",'
    '"architecture":"arm64","variant":"v8","os_version":null,'
    f'"platform_digest":"{B}",'
    '"media_type":"application/vnd.oci.image.manifest.v1+json",'
    f'"config_digest":"{digest("c")}","created":null,"user":null,'
    '"history":null,"labels":null,"base_name":null,"base_digest":null,'
    '"base_current_digest":null,"base_is_stale":null,'
    '"size":7,"manifest_size":null,"config_size":null,"layers":1,"layer_traits":[],"signed":false,"has_sbom":null,'
    '"has_provenance":true,"pushed_at":null,"pulled_at":null,"untagged":null,'
    '"sources":null,"sources_left_out":0,"input_labels":null,'
    '"input_labels_left_out":0,'
    '"verified_by":["release"],"not_verified_by":[],'
    '"audited_at":"2026-11-24T02:00:00Z"}'
)
LAYER_LINE = (
    '{"schema":1,"kind":"layer","reference":"r.example.com/team/app:1",'
    '"registry":"r.example.com","repository":"team/app","tag":"1",'
    f'"digest":"{E}","content":"image","platform":"linux/amd64","platform_digest":"{A}",'
    f'"position":1,"layer_digest":"{digest("2")}","layer_size":200,'
    '"layer_media_type":"application/vnd.oci.image.layer.v1.tar+gzip",'
    '"pushed_at":null,"pulled_at":null,"untagged":null,'
    '"audited_at":"2026-11-24T02:00:00Z"}'
)


def lines(record: Record, shape: Shape) -> list[str]:
    return encoder(shape)(record).decode().splitlines(keepends=True)


def test_the_line_of_an_image() -> None:
    assert lines(image(), Shape.IMAGE) == [IMAGE_LINE]


@pytest.mark.parametrize("shape", Shape)
def test_the_line_of_a_failure_is_the_same_in_every_shape(shape: Shape) -> None:
    assert lines(failure(), shape) == [FAILURE_LINE]
    assert len(lines(REFUSED, shape)) == 1


def test_the_line_of_a_platform() -> None:
    found = lines(EVERYTHING, Shape.PLATFORM)
    assert found[1] == PLATFORM_LINE + "\n"
    assert len(found) == len(EVERYTHING.platforms)


def test_missing_and_unknown_platforms_have_lines() -> None:
    rows = [json.loads(line) for line in lines(EVERYTHING, Shape.PLATFORM)]
    shown = [(row["platform"], row["layers"], row["size"]) for row in rows]
    assert shown == [
        ("linux/amd64", 2, 300),
        ("linux/arm64", 1, 7),
        ("windows/amd64", None, None),
        (None, 0, 300),
    ]


def test_the_line_of_a_layer() -> None:
    found = lines(EVERYTHING, Shape.LAYER)
    assert found[1] == LAYER_LINE + "\n"
    rows = [json.loads(line) for line in found]
    assert [(row["platform_digest"], row["position"]) for row in rows] == [
        (A, 0),
        (A, 1),
        (B, 0),
        *(
            (platform.digest, None)
            for platform in EVERYTHING.platforms
            if not platform.layers
        ),
    ]


@pytest.mark.parametrize("shape", [Shape.PLATFORM, Shape.LAYER])
def test_an_image_without_platforms_has_one_line_with_nulls(shape: Shape) -> None:
    record = image(platforms=())
    (line,) = lines(record, shape)
    row = json.loads(line)
    assert row["reference"] == record.reference
    assert row["platform_digest"] is None
    assert row["platform"] is None


@pytest.mark.parametrize("shape", Shape)
def test_all_lines_of_a_kind_have_the_same_keys_in_the_same_order(
    shape: Shape,
) -> None:
    keys: dict[str, set[tuple[str, ...]]] = {}
    for record in RECORDS:
        for line in lines(record, shape):
            row = json.loads(line)
            keys.setdefault(row["kind"], set()).add(tuple(row))
    assert all(len(found) == 1 for found in keys.values())


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize(
    "text",
    ['"', "\\", "\n", "\r\n", "\x00", "\x1b[1m", "\u2028", "\x7f", "é\U0001f600"],
)
def test_no_character_in_a_value_breaks_a_line(text: str, shape: Shape) -> None:
    record = image(
        reference=text,
        annotations={text: text},
        platforms=(platform(os=text),),
    )
    encoded = encoder(shape)(record)
    assert encoded.endswith(b"\n")
    for line in encoded[:-1].split(b"\n"):
        assert json.loads(line)["reference"] == text


# -- the JSON Schema ------------------------------------------------------------------

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


def test_the_report_schema_is_a_valid_json_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert report_schema() == SCHEMA


@pytest.mark.parametrize("shape", Shape)
def test_every_line_conforms_to_the_schema(shape: Shape) -> None:
    found = rows(shape)
    assert found
    for row in found:
        VALIDATOR.validate(row)


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("stage", Stage)
def test_every_failure_conforms_to_the_schema(kind: FailureKind, stage: Stage) -> None:
    line = encoder(Shape.IMAGE)(failure(failure=kind, stage=stage))
    VALIDATOR.validate(json.loads(line))


@pytest.mark.parametrize("kind", sorted(ROWS))
def test_a_line_without_a_field_does_not_conform(kind: str) -> None:
    for key in ROWS[kind]:
        row = {name: value for name, value in ROWS[kind].items() if name != key}
        assert not VALIDATOR.is_valid(row), key


@pytest.mark.parametrize("kind", sorted(ROWS))
def test_a_line_with_an_extra_field_does_not_conform(kind: str) -> None:
    assert not VALIDATOR.is_valid(ROWS[kind] | {"more": 1})


@pytest.mark.parametrize("kind", sorted(ROWS))
def test_a_field_of_another_type_does_not_conform(kind: str) -> None:
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
def test_an_impossible_value_does_not_conform(kind: str, changes: Row) -> None:
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
def test_a_wrong_nested_value_does_not_conform(damage: Callable[[Row], None]) -> None:
    row = copy.deepcopy(IMAGE)
    VALIDATOR.validate(row)
    damage(row)
    assert not VALIDATOR.is_valid(row)


def test_required_fields_are_in_the_order_of_the_lines() -> None:
    line = json.loads(encoder(Shape.IMAGE)(image()))
    assert SCHEMA["$defs"]["ImageRecord"]["required"] == list(line)
