"""An index with several formats of a platform has it once.

The order matters: containers/image#1789 prefers zstd, other clients take the first
child for their platform (konflux-ci/architecture#357).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from auditor.analysis.find_digest import search_digests
from auditor.config import AttachmentMode
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import BuiltImage, Family, image, index, layer
from auditor.model import LayerTrait, WarningCode
from tests.flow.harness import BLOBS, lab
from tests.policies import violations_of
from tests.reports import write_report
from tests.support.attached_images import cosign_signature, digest_tag

pytestmark = pytest.mark.anyio

AMD64, ARM64 = "linux/amd64", "linux/arm64"
TYPES = {
    "gzip": Family.OCI.layer,
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "plain": "application/vnd.oci.image.layer.v1.tar",
    # nydus-snapshotter docs/index_detection.md: the alternative of a platform.
    "nydus": "application/vnd.oci.image.layer.nydus.blob.v1",
    "erofs": "application/vnd.erofs",  # registered with IANA
}
CONFIGS = Path(__file__).parents[2] / "auditor" / "examples"
MIGRATION = (CONFIGS / "policy-migration.toml").read_text(encoding="utf-8")


def packed(compression: str, platform: str = AMD64, name: str = "app") -> BuiltImage:
    """The image of a platform with its layers in this compression."""
    traits = {"zstd": [LayerTrait.ZSTD], "plain": [LayerTrait.UNCOMPRESSED]}
    return image(
        name,
        platform=platform,
        layers=[
            layer(
                f"{name} {platform} {compression} {number}",
                size=size,
                media_type=TYPES[compression],
            )
            for number, size in enumerate((100, 10))
        ],
        layer_traits=traits.get(compression, []),
    )


GZIP, ZSTD, PLAIN, NYDUS, EROFS = map(packed, TYPES)
GZIP_ARM, ZSTD_ARM = packed("gzip", ARM64), packed("zstd", "linux/arm64/v8")
BOTH = [GZIP, GZIP_ARM, ZSTD, ZSTD_ARM]


def of(children: Sequence[BuiltImage]) -> DemoContent:
    content = DemoContent()
    content.add("team/app", index(children), "1")
    return content


def digests(images: Sequence[BuiltImage]) -> list[str]:
    return [one.root.digest for one in images]


@pytest.mark.parametrize(
    ("children", "platforms", "others"),
    [
        (BOTH, [GZIP, GZIP_ARM], [[ZSTD], [ZSTD_ARM]]),
        ([GZIP, ZSTD, GZIP_ARM], [GZIP, GZIP_ARM], [[ZSTD], []]),
        ([GZIP, ZSTD, PLAIN], [GZIP], [[ZSTD, PLAIN]]),
        ([GZIP, NYDUS, EROFS], [GZIP], [[NYDUS, EROFS]]),
        # What comes first is what a client pulls that knows nothing of zstd.
        ([ZSTD, GZIP], [ZSTD], [[GZIP]]),
        ([index([GZIP]), index([ZSTD])], [GZIP], [[ZSTD]]),
        # Nothing says what these are.
        ([GZIP, packed("gzip", name="b")], [GZIP, packed("gzip", name="b")], [[], []]),
        ([ZSTD, packed("zstd", name="b")], [ZSTD, packed("zstd", name="b")], [[], []]),
        (
            [NYDUS, packed("nydus", name="b")],
            [NYDUS, packed("nydus", name="b")],
            [[], []],
        ),
        # Other platforms: a variant, a version of Windows.
        (
            [GZIP, packed("zstd", "linux/amd64/v3")],
            [GZIP, packed("zstd", "linux/amd64/v3")],
            [[], []],
        ),
    ],
)
async def test_a_platform_counts_once_in_its_first_format(
    children: list[BuiltImage],
    platforms: list[BuiltImage],
    others: list[list[BuiltImage]],
) -> None:
    async with lab(of(children)) as here:
        record = (await here.audit(here.ref("team/app:1"))).image
    assert [one.digest for one in record.platforms] == digests(platforms)
    assert [
        [other.digest for other in one.alternatives] for one in record.platforms
    ] == [digests(some) for some in others]
    assert [one.layers for one in record.platforms] == [
        one.content.platforms[0].layers for one in platforms
    ]
    assert record.size == 110 * len(platforms)
    assert record.warnings == ()
    for platform, some in zip(record.platforms, others, strict=True):
        for found, built in zip(platform.alternatives, some, strict=True):
            (expected,) = built.content.platforms
            assert (found.layers, found.size) == (expected.layers, 110)
            assert found.layer_traits == expected.layer_traits
            assert found.config_digest == expected.config_digest


async def test_excluded_platforms_count_once() -> None:
    async with lab(of(BOTH)) as here:
        record = (await here.audit(here.ref("team/app:1"), platforms=(ARM64,))).image
    assert [one.digest for one in record.platforms] == digests([GZIP_ARM])
    assert record.platforms_left_out == 1


@pytest.mark.parametrize(
    ("signed", "expected"), [(BOTH, True), ([GZIP, GZIP_ARM], False)]
)
async def test_what_newer_clients_pull_has_to_be_signed_too(
    signed: list[BuiltImage], expected: bool
) -> None:
    content = of(BOTH)
    for child in signed:
        content.repository("team/app").add(
            cosign_signature(child.root), [digest_tag(child.root, ".sig")]
        )
    async with lab(content) as here:
        record = (
            await here.audit(here.ref("team/app:1"), attachments=AttachmentMode.ALL)
        ).image
    assert record.signed is expected


async def test_the_blobs_of_every_compression_are_checked() -> None:
    content = of(BOTH)
    lost = (ZSTD.content.platforms[0].layers or ())[1].digest
    del content.repository("team/app").layer_sizes[lost]
    async with lab(content) as here:
        record = (await here.audit(here.ref("team/app:1"), verify_blobs=True)).image
        # One config for each platform: the same for both of its compressions.
        assert here.faults.count("HEAD", BLOBS) == 4 * 2 + len(
            {one.blobs[0].digest for one in BOTH}
        )
    (warning,) = record.warnings
    assert warning.code is WarningCode.BLOB_MISSING
    assert lost in warning.detail


@pytest.mark.parametrize(
    ("children", "rules"),
    [
        (BOTH, []),
        ([GZIP, ZSTD, GZIP_ARM], []),
        ([ZSTD, GZIP, GZIP_ARM], ["old-clients.forbidden_media_types"]),
        ([ZSTD, GZIP_ARM], ["old-clients.forbidden_media_types"]),
    ],
)
async def test_an_index_that_offers_gzip_first_is_no_problem_of_old_clients(
    children: list[BuiltImage], rules: list[str], tmp_path: Path
) -> None:
    async with lab(of(children)) as here:
        outcome = await here.audit(here.ref("team/app:1"))
    found = violations_of(tmp_path, MIGRATION, outcome.records)
    assert [one.rule.id for one in found] == rules


async def test_alternatives_are_found_by_digest_and_by_layer(tmp_path: Path) -> None:
    async with lab(of(BOTH)) as here:
        outcome = await here.audit(here.ref("team/app:1"))
    report = write_report(tmp_path / "report.jsonl", outcome.records)
    inner = (ZSTD_ARM.content.platforms[0].layers or ())[1].digest
    with search_digests([report], [ZSTD_ARM.root.digest, inner]) as search:
        found = [
            (use.role, use.platform, use.position)
            for digest in (ZSTD_ARM.root.digest, inner)
            for use in search.uses(digest)
        ]
    assert found == [("platform", ARM64, None), ("layer", ARM64, 1)]
    rule = f'[rules.a]\nforbidden_layers = ["{inner}"]'
    (violation,) = violations_of(tmp_path, rule, outcome.records)
    assert inner in violation.detail
