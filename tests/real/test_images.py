"""Every kind of image, pushed by skopeo: the audit agrees with skopeo."""

from __future__ import annotations

import pytest

from auditor.config import ImageConfigMode
from tests.real.audits import Lines, audit, content, login
from tests.real.filled_registry import FilledRegistry
from tests.real.images import IN_EVERY_FLAVOUR, RECIPES, names
from tests.real.skopeo_records import expected_record
from tests.real.token_server import PUSHER

pytestmark = pytest.mark.real
each_image = pytest.mark.parametrize("name", IN_EVERY_FLAVOUR)
INDEXES = ["team/multi:1.0", "team/list:1.0", "team/attested:1.0", "team/nested:1.0"]


@each_image
def test_every_field_agrees_with_skopeo_and_the_raw_manifests(
    filled: FilledRegistry, full_records: Lines, name: str
) -> None:
    expected = expected_record(filled.skopeo, filled.host, name)
    assert content(full_records[name]) == expected


@each_image
def test_without_config_requests_only_created_of_indexed_platforms_is_unknown(
    full_records: Lines, default_records: Lines, name: str
) -> None:
    expected = content(full_records[name])
    if name in INDEXES:
        assert all(platform["created"] for platform in expected["platforms"])
        expected["platforms"] = [
            {**platform, "created": None, "config": None}
            for platform in expected["platforms"]
        ]
    assert content(default_records[name]) == expected


@each_image
def test_the_digest_is_that_of_the_pushed_bytes(
    filled: FilledRegistry, full_records: Lines, name: str
) -> None:
    kept = full_records[name]["digest"] == filled.digests[name]
    assert kept == RECIPES[name].keeps_bytes


def test_each_kind_has_its_media_type(
    full_records: Lines, filled: FilledRegistry
) -> None:
    kinds = {
        name: line["media_type"].removeprefix("application/vnd.")
        for name, line in full_records.items()
    }
    expected = {
        "team/oci:1.0": "oci.image.manifest.v1+json",
        "public/arm:1.0": "oci.image.manifest.v1+json",
        "team/docker:1.0": "docker.distribution.manifest.v2+json",
        "team/signed:1.0": "docker.distribution.manifest.v1+prettyjws",
        "team/multi:1.0": "oci.image.index.v1+json",
        "team/list:1.0": "docker.distribution.manifest.list.v2+json",
        "team/attested:1.0": "oci.image.index.v1+json",
        "team/nested:1.0": "oci.image.index.v1+json",
        "secret/oci:1.0": "oci.image.manifest.v1+json",
    }
    assert kinds == {name: expected[name] for name in names(filled.flavour)}


@pytest.mark.parametrize("name", ["team/multi:1.0", "team/list:1.0"])
def test_variants_and_windows_versions_are_recorded(
    full_records: Lines, name: str
) -> None:
    assert full_records[name]["architectures"] == [
        "linux/amd64",
        "linux/arm/v7",
        "linux/arm64",
        "windows/amd64",
    ]
    versions = [one["os_version"] for one in full_records[name]["platforms"]]
    assert versions == [None, None, None, "10.0.20348.4052"]


def test_platforms_of_a_nested_index_are_in_its_position(full_records: Lines) -> None:
    platforms = full_records["team/nested:1.0"]["platforms"]
    found = [(one["os"], one["architecture"], one["variant"]) for one in platforms]
    assert found == [
        ("linux", "arm", "v7"),
        ("linux", "arm64", "v8"),
        ("windows", "amd64", None),
        ("linux", "amd64", None),
    ]


def test_attestations_are_attachments_and_not_architectures(
    full_records: Lines,
) -> None:
    line = full_records["team/attested:1.0"]
    assert line["architectures"] == ["linux/amd64", "linux/arm/v7"]
    platforms = {one["digest"] for one in line["platforms"]}
    assert {one["subject"] for one in line["attachments"]} == platforms
    assert {one["kind"] for one in line["attachments"]} == {"attestation"}


def test_a_repeated_layer_counts_once(full_records: Lines) -> None:
    line = full_records["team/oci:1.0"]
    (platform,) = line["platforms"]
    layers = platform["layers"]
    assert layers[0] == layers[3]
    once = sum(one["size"] for one in layers[:3])
    assert (platform["size"], line["size"]) == (once, once)


def test_an_audit_by_digest_equals_one_by_tag(
    filled: FilledRegistry, full_records: Lines
) -> None:
    by_digest = {
        name: f"{name.partition(':')[0]}@{line['digest']}"
        for name, line in full_records.items()
    }
    audited = audit(
        filled.host,
        *by_digest.values(),
        registry=login(PUSHER),
        image_config=ImageConfigMode.ALWAYS,
    )
    for (name, asked), line in zip(by_digest.items(), audited.lines, strict=True):
        assert content(line) == {
            **content(full_records[name]),
            "reference": f"{filled.host}/{asked}",
            "tag": None,
            "untagged": None,
        }
