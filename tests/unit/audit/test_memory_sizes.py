"""What a record may contain is bounded in bytes, and what is left out is counted."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from auditor.audit.memory_sizes import (
    MAX_RECORD_BYTES,
    bounded_platform,
    platforms_bytes,
    record_bytes,
)
from auditor.model import BaseImage, ConfigDetails, Layer
from auditor.report.resume_index import MAX_LINE_BYTES
from tests.manifests import digest
from tests.records import EVERYTHING, image, platform

# What a platform takes as JSON without its config, texts and layers, at most.
REST_BYTES = 700


def layers(count: int, media_type: str = "application/x") -> tuple[Layer, ...]:
    return tuple(
        Layer(digest=digest("1"), size=number, media_type=media_type)
        for number in range(count)
    )


def details(**more: Any) -> ConfigDetails:
    return ConfigDetails(**({"user": None, "history": 1, "labels": None} | more))


@pytest.mark.parametrize(
    ("values", "left_out"),
    [
        ({}, []),
        ({"layers": layers(127)}, []),
        ({"layers": layers(1000)}, ["1000 layers"]),
        ({"layers": layers(2, "x" * 20_000)}, ["2 layers"]),
        (
            {"config": details(user="u" * 30_000)},
            ["the fields of its config and its base image"],
        ),
        (
            {"config": details(labels={"a": "b" * 30_000})},
            ["the fields of its config and its base image"],
        ),
        (
            {"created": "2" * 30_000, "layers": layers(1000)},
            ["the fields of its config and its base image", "1000 layers"],
        ),
        (
            {"base": BaseImage(name="n" * 30_000, digest=None)},
            ["the fields of its config and its base image"],
        ),
        ({"config": details(user="app"), "layers": layers(1000)}, ["1000 layers"]),
    ],
)
def test_a_platform_takes_no_more_than_its_share(
    values: dict[str, Any], left_out: list[str]
) -> None:
    share = 20_000
    whole = platform(**values)
    bounded, found = bounded_platform(whole, share)
    assert found == left_out
    assert len(orjson.dumps(bounded)) <= share + REST_BYTES
    assert bounded.is_present
    assert bounded.size == whole.size
    if not left_out:
        assert bounded == whole


def test_the_layers_of_schema_1_left_out_do_not_look_like_a_missing_manifest() -> None:
    schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    whole = platform(config_digest=None, layers=layers(1000), media_type=schema1)
    bounded, found = bounded_platform(whole, 1000)
    assert found == ["1000 layers"]
    assert bounded.is_present
    assert not platform(config_digest=None, layers=None).is_present


def test_a_record_of_the_largest_size_can_be_read_again() -> None:
    """Besides the platforms, annotations and attachments have as much at most."""
    share = MAX_RECORD_BYTES // 100
    parts = tuple(
        bounded_platform(platform(layers=layers(count)), share)[0]
        for count in range(100, 200)
    )
    line = orjson.dumps(image(platforms=parts))
    assert MAX_RECORD_BYTES // 3 < len(line) < MAX_RECORD_BYTES + 100 * REST_BYTES
    assert 10 * MAX_RECORD_BYTES < MAX_LINE_BYTES


@pytest.mark.parametrize(
    "record",
    [EVERYTHING, image(), image(platforms=(platform(layers=layers(2000)),))],
)
def test_the_memory_of_a_record_is_estimated_above_its_line(record: Any) -> None:
    line = len(orjson.dumps(record))
    assert line / 2 < record_bytes(record) < 20 * line
    assert platforms_bytes(record.platforms) < record_bytes(record)
