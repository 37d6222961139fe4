"""Image metadata from manifests and configs, and the options of a run."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.audit.image_metadata import (
    MAX_LABELS_BYTES,
    ImageMetadata,
    ImageOptions,
    LabelPatterns,
    layer_warnings,
)
from auditor.audit.platform_records import (
    distinct_size,
    image_platform,
    missing_platform,
    platform_warnings,
    schema1_platform,
)
from auditor.config import Settings
from auditor.model import (
    ConfigDetails,
    ContentKind,
    Layer,
    PlatformRecord,
    WarningCode,
)
from auditor.oci.descriptor import Descriptor
from auditor.oci.image_config import parse_image_config
from auditor.oci.manifest import (
    ImageIndex,
    ImageManifest,
    VerifiedManifest,
    verify_manifest,
)
from auditor.oci.platform import Platform, parse_platform
from auditor.oci.schema1 import Schema1Manifest
from tests import manifests, records
from tests.manifests import OCI_LAYER, OCI_MANIFEST, digest, raw
from tests.records import layer, platform

ARM = Platform(os="linux", architecture="arm64", variant="v8", os_version=None)


def read(document: object) -> VerifiedManifest:
    return verify_manifest(
        raw(document), content_type=None, header_digest=None, requested_digest=None
    )


def child(**more: Any) -> Descriptor:
    found = read(manifests.index(manifests=[manifests.child("1", **more)])).manifest
    assert isinstance(found, ImageIndex)
    return found.children[0]


def facts(*platforms: PlatformRecord) -> ImageMetadata:
    return ImageMetadata(
        digest=digest("e"),
        media_type=OCI_MANIFEST,
        schema_version=2,
        artifact_type=None,
        content=ContentKind.IMAGE,
        platforms=platforms,
        platforms_left_out=0,
        attachments=(),
        annotations={},
        warnings=(),
    )


@pytest.mark.parametrize(
    ("layers", "size"),
    [
        ([], 0),
        ([layer("1", 5)], 5),
        ([layer("1", 5), layer("2", 7)], 12),
        ([layer("1", 5), layer("2", 7), layer("1", 5)], 12),
        ([layer("1", 0)], 0),
        ([layer("1", 5), layer("2", None)], None),
        ([layer("1", None)], None),
        ([layer("1", 2**63 - 1), layer("2", 2**63 - 1)], None),  # exceeds an int64
    ],
)
def test_a_size_counts_each_distinct_layer_once(
    layers: list[Layer], size: int | None
) -> None:
    assert distinct_size(layers) == size


@pytest.mark.parametrize(
    ("platforms", "size"),
    [
        ([], 0),
        ([platform("a")], 300),
        ([platform("a"), platform("b")], 300),
        ([platform("a"), platform("b", layers=(layer("3", 1),))], 301),
        ([platform("a"), platform("b", layers=None)], None),
        ([platform("a", layers=())], 0),
    ],
)
def test_the_size_of_an_image_sums_the_layers_of_all_platforms(
    platforms: list[PlatformRecord], size: int | None
) -> None:
    assert facts(*platforms).size == size


@pytest.mark.parametrize(
    ("platforms", "architectures"),
    [
        ([], ()),
        ([platform("a"), platform("b")], ("linux/amd64",)),
        (
            [
                platform("a", os="windows"),
                platform("b", architecture="arm", variant="v7"),
                platform("c", architecture="arm", variant="v6"),
                platform("d"),
            ],
            ("linux/amd64", "linux/arm/v6", "linux/arm/v7", "windows/amd64"),
        ),
        ([platform("a", layers=None, config_digest=None)], ()),
        # Too many layers for a record.
        ([platform("a", layers=None)], ("linux/amd64",)),
        ([platform("a", layers=()), platform("b", os=None)], ("linux/amd64",)),
        ([platform("a", architecture="")], ()),
        # an attestation referenced by its own digest
        ([platform("a", os="unknown", architecture="unknown")], ()),
    ],
)
def test_architectures_are_sorted_unique_and_only_of_present_platforms(
    platforms: list[PlatformRecord], architectures: tuple[str, ...]
) -> None:
    assert facts(*platforms).architectures == architectures


@pytest.mark.parametrize("created", [None, "2026-08-05T10:00:00Z"])
def test_the_platform_of_an_image_manifest(created: str | None) -> None:
    document = read(manifests.image())
    assert isinstance(document.manifest, ImageManifest)
    config = parse_image_config(raw({"created": created})) if created else None
    assert image_platform(document, document.manifest, ARM, config) == PlatformRecord(
        os="linux",
        architecture="arm64",
        variant="v8",
        os_version=None,
        digest=document.digest,
        media_type=OCI_MANIFEST,
        config_digest=digest("c"),
        created=created,
        config=ConfigDetails(user=None, history=0, labels=None) if created else None,
        base=None,
        size=300,
        layers=(
            Layer(digest=digest("1"), size=100, media_type=OCI_LAYER),
            Layer(digest=digest("2"), size=200, media_type=OCI_LAYER),
        ),
        layer_traits=(),
        manifest_size=len(raw(manifests.image())),
        config_size=manifests.image()["config"]["size"],
    )


def test_the_platform_of_a_schema_1_manifest_has_no_sizes() -> None:
    document = read(manifests.schema1())
    assert isinstance(document.manifest, Schema1Manifest)
    found = schema1_platform(document, document.manifest)
    assert (found.os, found.architecture) == ("linux", "amd64")
    assert found.size is None
    assert found.config_digest is None
    assert found.layers == (
        Layer(digest=digest("1"), size=None, media_type=None),
        Layer(digest=digest("2"), size=None, media_type=None),
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"os": "linux", "architecture": "arm64", "variant": "v8"}, ("linux", "arm64")),
        (None, (None, None)),
    ],
)
def test_a_missing_platform_has_the_fields_of_the_index(
    fields: object, expected: tuple[str | None, str | None]
) -> None:
    found = missing_platform(child(platform=fields))
    assert (found.os, found.architecture) == expected
    assert (found.digest, found.media_type) == (digest("1"), OCI_MANIFEST)
    assert found.layers is None
    assert found.size is None


def test_each_layer_with_urls_is_a_warning() -> None:
    layers = [
        manifests.descriptor("1", urls=["https://example.com/secret?token=1"]),
        manifests.descriptor("2"),
    ]
    manifest = read(manifests.image(layers=layers)).manifest
    assert isinstance(manifest, ImageManifest)
    (warning,) = layer_warnings(digest("a"), manifest, at_most=1)
    assert warning.code is WarningCode.FOREIGN_LAYER
    assert digest("1") in warning.detail
    assert "secret" not in warning.detail


def test_warnings_about_layers_are_counted_if_they_are_many() -> None:
    layers = [
        manifests.descriptor(digit, urls=["https://example.com/"]) for digit in "12345"
    ]
    manifest = read(manifests.image(layers=layers)).manifest
    assert isinstance(manifest, ImageManifest)
    details = [one.detail for one in layer_warnings(digest("a"), manifest, at_most=3)]
    assert [digest(digit) in line for digit, line in zip("12", details, strict=False)]
    assert details[2] == f"3 more layers of {digest('a')} are stored elsewhere"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"os": "linux", "architecture": "arm64"}, None),
        ({"os": "linux", "architecture": "arm64", "variant": "v9"}, None),
        ({"os": "linux", "architecture": "aarch64"}, None),
        ({"os": "linux", "architecture": "amd64"}, "linux/amd64 in its config"),
        ({"os": "windows", "architecture": "arm64"}, "windows/arm64 in its config"),
        ({"os": "linux"}, "its config has no architecture"),
        ({"os": "linux", "architecture": ""}, "its config has no architecture"),
        ({"architecture": "arm64"}, "its config has no os"),
        ({}, "its config has no os and no architecture"),
    ],
)
def test_a_platform_that_differs_between_index_and_config_is_a_warning(
    config: dict[str, str], words: str | None
) -> None:
    found = platform_warnings(digest("1"), ARM, parse_image_config(raw(config)))
    if words is None:
        assert found == []
        return
    (warning,) = found
    assert warning.code is WarningCode.PLATFORM_DIFFERS
    assert warning.detail == (f"{digest('1')} is linux/arm64 in the index, but {words}")


def test_the_fixture_record_agrees_with_the_computed_metadata() -> None:
    everything = records.EVERYTHING
    assert facts(*everything.platforms).architectures == everything.architectures
    assert facts(*everything.platforms).size == everything.size


# -- options ------------------------------------------------------------------------

LABELS = {
    "team": "blue",
    "org.example.team": "red",
    "org.example.owner": "",
    "Team": "x",
}


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["team"], ["team"]),
        (["*"], ["Team", "org.example.owner", "org.example.team", "team"]),
        (["org.example.*"], ["org.example.owner", "org.example.team"]),
        (["?eam", "nothing"], ["Team", "team"]),
        (["[t]eam"], ["team"]),
        (["eam"], []),
    ],
)
def test_labels_are_selected_by_pattern_and_sorted(
    patterns: list[str], names: list[str]
) -> None:
    chosen, left_out = LabelPatterns(patterns).select(LABELS)
    assert list(chosen) == names
    assert chosen == {name: LABELS[name] for name in names}
    assert left_out == 0


def test_labels_that_are_too_long_are_left_out_and_counted() -> None:
    labels = {
        "a": "x" * (MAX_LABELS_BYTES - 1),  # fits to the last byte
        "b": "",
        "c": "ü" * MAX_LABELS_BYTES,
    }
    chosen, left_out = LabelPatterns(["*"]).select(labels)
    assert list(chosen) == ["a"]
    assert left_out == 2


def test_without_a_platform_filter_all_platforms_are_included() -> None:
    arm = parse_platform("linux/arm64")
    assert ImageOptions.of(Settings()).includes(arm)
    assert ImageOptions.of(
        Settings(platforms=("linux/amd64", "linux/aarch64"))
    ).includes(arm)
    assert not ImageOptions.of(Settings(platforms=("linux/amd64",))).includes(arm)
