"""--platform and --label: what is fetched, and what is in the record."""

from __future__ import annotations

import json

import pytest

from auditor.config import ImageConfigMode
from auditor.demo.artifact_builder import helm_chart
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import BuiltImage, image, index, layer
from auditor.demo.schema1_builder import schema1_image
from auditor.model import BaseImage, ConfigDetails, LayerTrait, WarningCode
from tests.flow.harness import BLOBS, BY_DIGEST, MANIFESTS, Lab, lab
from tests.support.fault_actions import Answer

pytestmark = pytest.mark.anyio

AMD64 = image("app", platform="linux/amd64")
ARM64 = image("app", platform="linux/arm64/v8")
ARM = image("app", platform="linux/arm/v7")
LABELS = {"org.example.team": "blue", "org.example.cost": "7", "stage": "prod"}


def of(built: BuiltImage) -> DemoContent:
    content = DemoContent()
    content.add("team/app", built, "1")
    return content


def fetched(here: Lab, path: str) -> set[str]:
    return {target.rpartition("/")[2] for target in here.targets(path)}


async def test_children_of_other_platforms_are_not_fetched_and_not_in_the_record() -> (
    None
):
    async with lab(of(index([AMD64, ARM64, ARM], attested=True))) as here:
        outcome = await here.audit(
            here.ref("team/app:1"), platforms=("linux/arm64", "linux/arm")
        )
        assert fetched(here, BY_DIGEST) == {ARM64.root.digest, ARM.root.digest}
    record = outcome.image
    assert record.architectures == ("linux/arm/v7", "linux/arm64")
    assert [one.digest for one in record.platforms] == [
        ARM64.root.digest,
        ARM.root.digest,
    ]
    assert record.platforms_left_out == 1
    assert {one.subject for one in record.attachments} == fetched_subjects(record)
    assert record.size == sum(
        one.size or 0 for part in record.platforms for one in part.layers or ()
    )
    assert record.warnings == ()


def fetched_subjects(record: object) -> set[str | None]:
    return {one.digest for one in record.platforms}  # type: ignore[attr-defined]


@pytest.mark.parametrize("nested", [False, True])
async def test_an_index_without_a_requested_platform_is_a_record_with_a_warning(
    nested: bool,
) -> None:
    built = index([AMD64, ARM])
    async with lab(of(index([built]) if nested else built)) as here:
        outcome = await here.audit(here.ref("team/app:1"), platforms=("linux/s390x",))
    record = outcome.image
    assert (record.platforms, record.architectures, record.size) == ((), (), 0)
    assert record.platforms_left_out == 2
    (warning,) = record.warnings
    assert warning.code is WarningCode.NO_WANTED_PLATFORM
    assert "linux/amd64, linux/arm/v7" in warning.detail


@pytest.mark.parametrize(
    "built", [AMD64, schema1_image("team/app", "1", platform="linux/amd64")]
)
async def test_a_single_platform_that_is_not_requested_is_a_record_with_a_warning(
    built: BuiltImage,
) -> None:
    async with lab(of(built)) as here:
        outcome = await here.audit(here.ref("team/app:1"), platforms=("linux/arm64",))
        same = await here.audit(here.ref("team/app:1"), platforms=("linux/x86_64",))
    assert outcome.image.platforms == ()
    assert outcome.image.platforms_left_out == 1
    assert [one.code for one in outcome.image.warnings] == [
        WarningCode.NO_WANTED_PLATFORM
    ]
    assert same.image.platforms == built.content.platforms
    assert same.image.warnings == ()


async def test_a_schema_1_image_without_an_os_has_a_warning() -> None:
    # Docker 0.x wrote no os, and `architectures` is empty then.
    document = {
        "schemaVersion": 1,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": f"sha256:{'1' * 64}"}],
        "history": [{"v1Compatibility": "{}"}],
    }
    async with lab(of(AMD64)) as here:
        here.faults.on("GET", MANIFESTS, Answer(body=json.dumps(document).encode()))
        outcome = await here.audit(here.ref("team/app:1"))
    assert outcome.image.architectures == ()
    (warning,) = [
        one
        for one in outcome.image.warnings
        if one.code is WarningCode.PLATFORM_UNKNOWN
    ]
    assert warning.detail.endswith("is unknown: its history has no os")


async def test_manifests_without_a_known_platform_are_kept() -> None:
    content = of(AMD64)
    content.add("team/app", helm_chart("app"), "chart")
    async with lab(content) as here:
        outcome = await here.audit(
            here.ref("team/app:1"),
            here.ref("team/app:chart"),
            platforms=("linux/arm64",),
            image_config=ImageConfigMode.NEVER,
        )
    assert [len(one.platforms) for one in outcome.records] == [1, 1]  # type: ignore[union-attr]


async def test_labels_are_selected_and_need_the_config() -> None:
    built = index(
        [
            image("app", platform=one, labels=LABELS, user="1000", history=5)
            for one in ("linux/amd64", "linux/arm64")
        ]
    )
    async with lab(of(built)) as here:
        plain = await here.audit(here.ref("team/app:1"))
        assert here.targets(BLOBS) == []
        outcome = await here.audit(here.ref("team/app:1"), labels=("org.example.*",))
        always = await here.audit(
            here.ref("team/app:1"), image_config=ImageConfigMode.ALWAYS
        )
    assert [one.config for one in plain.image.platforms] == [None, None]
    chosen = {"org.example.cost": "7", "org.example.team": "blue"}
    assert [one.config for one in outcome.image.platforms] == [
        ConfigDetails(user="1000", history=5, labels=chosen)
    ] * 2
    assert [one.config for one in always.image.platforms] == [
        ConfigDetails(user="1000", history=5, labels=None)
    ] * 2


async def test_labels_that_are_too_long_are_a_warning() -> None:
    built = image("app", labels={"long": "x" * 70_000, "short": "y"})
    async with lab(of(built)) as here:
        outcome = await here.audit(here.ref("team/app:1"), labels=("*ort", "long"))
    record = outcome.image
    assert record.platforms[0].config is not None
    assert record.platforms[0].config.labels == {"short": "y"}
    assert [one.code for one in record.warnings] == [WarningCode.LABELS_LEFT_OUT]


BASE = {
    "org.opencontainers.image.base.name": "docker.io/library/alpine:3.20",
    "org.opencontainers.image.base.digest": "sha256:" + "7" * 64,
}


@pytest.mark.parametrize("where", ["annotations", "labels"])
async def test_the_base_image_comes_from_annotations_or_labels(where: str) -> None:
    built = image("app", **{where: BASE})  # type: ignore[arg-type]
    async with lab(of(built)) as here:
        outcome = await here.audit(here.ref("team/app:1"))
    assert outcome.image.platforms[0].base == BaseImage(
        name="docker.io/library/alpine:3.20", digest="sha256:" + "7" * 64
    )


async def test_unusual_layers_give_layer_traits() -> None:
    oci = "application/vnd.oci.image.layer"
    built = image(
        "app",
        layers=[
            layer("a", media_type=f"{oci}.v1.tar+zstd"),
            layer("b"),
            layer("c", media_type=f"{oci}.v1.tar+gzip+encrypted"),
        ],
        layer_traits=[LayerTrait.ENCRYPTED, LayerTrait.ZSTD],
    )
    async with lab(of(built)) as here:
        outcome = await here.audit(here.ref("team/app:1"))
    assert outcome.image.platforms == built.content.platforms
