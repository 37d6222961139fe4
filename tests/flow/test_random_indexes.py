"""Indexes of random children: the record agrees with what each child was made as."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from auditor.config import AttachmentMode
from auditor.demo.artifact_builder import artifact, helm_chart
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import (
    BuiltImage,
    Family,
    ImageContent,
    image,
    json_manifest,
    layer,
    manifest_descriptor,
)
from auditor.fast_dataclass import dataclass
from auditor.model import ImageRecord, LayerTrait, WarningCode
from tests.flow.harness import lab
from tests.support.attached_images import SLSA, attestation

pytestmark = pytest.mark.anyio

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7", "windows/amd64")
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
INDEXES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A child with its descriptor, and what the record has to say of it."""

    built: BuiltImage | None
    entry: dict[str, Any]
    platform: str | None = None
    is_zstd: bool = False
    is_attached: bool = False
    is_unsupported: bool = False


def _child(random: Random, number: int) -> Child:
    name = f"child {number}"
    match random.randrange(9):
        case 0 | 1:
            return _image(name, random.choice(PLATFORMS), "gzip")
        case 2:
            return _image(name, random.choice(PLATFORMS), "zstd")
        case 3:
            chart = helm_chart(name)
            entry = manifest_descriptor(chart.root)
            return Child(built=chart, entry=entry, is_attached=True)
        case 4:
            sbom = artifact(name)
            entry = manifest_descriptor(sbom.root) | {
                "artifactType": sbom.content.artifact_type
            }
            return Child(built=sbom, entry=entry, is_attached=True)
        case 5:
            lost = attestation(image(name).root, [SLSA])
            entry = manifest_descriptor(lost.root)
            return Child(built=lost, entry=entry, is_attached=True)
        case 6:
            marked = attestation(image(name).root, [SLSA])
            entry = manifest_descriptor(marked.root) | {
                "platform": {"os": "unknown", "architecture": "unknown"}
            }
            return Child(built=marked, entry=entry, is_attached=True)
        case 7:
            builder = image(name)
            entry = manifest_descriptor(builder.root) | {
                "annotations": {
                    "vnd.docker.reference.type": "builder",
                    "vnd.docker.reference.digest": image(f"{name} of").root.digest,
                }
            }
            return Child(built=builder, entry=entry, is_attached=True)
        case _:
            digest = random.choice([layer(name).digest, "blake3:" + f"{number:064x}"])
            media_type = random.choice([Family.OCI.layer, "application/vnd.new+json"])
            if digest.startswith("blake3"):
                media_type = Family.OCI.manifest
            entry = {"mediaType": media_type, "digest": digest, "size": 1}
            return Child(built=None, entry=entry, is_unsupported=True)


def _image(name: str, platform: str, compression: str) -> Child:
    is_zstd = compression == "zstd"
    built = image(
        name,
        platform=platform,
        layers=[layer(name, size=100, media_type=ZSTD if is_zstd else None)],
        layer_traits=[LayerTrait.ZSTD] if is_zstd else [],
    )
    (record,) = built.content.platforms
    entry = manifest_descriptor(built.root) | {
        "platform": {
            key: value
            for key, value in (
                ("os", record.os),
                ("architecture", record.architecture),
                ("variant", record.variant),
            )
            if value
        }
    }
    return Child(built=built, entry=entry, platform=platform, is_zstd=is_zstd)


def _index(children: list[Child], nested: BuiltImage | None) -> BuiltImage:
    """An index of children, the last ones in a nested index."""
    built = [one.built for one in children if one.built is not None]
    entries = [one.entry for one in children]
    if nested is not None:
        built.append(nested)
        entries.append(manifest_descriptor(nested.root))
    root = json_manifest({"manifests": entries}, media_type=Family.OCI.index)
    return BuiltImage(
        manifests=(*(one for part in built for one in part.manifests), root),
        blobs=tuple(one for part in built for one in part.blobs),
        content=ImageContent(
            digest=root.digest, media_type=root.media_type, source="index"
        ),
    )


def _check(
    record: ImageRecord, children: list[Child], nested: BuiltImage | None
) -> None:
    images = [one for one in children if one.platform is not None]
    chosen: list[Child] = []
    others: dict[str, list[str]] = {}
    for one in images:
        first = next((old for old in chosen if old.platform == one.platform), None)
        if first is not None and first.is_zstd != one.is_zstd:
            others.setdefault(first.entry["digest"], []).append(one.entry["digest"])
        else:
            chosen.append(one)
    assert [one.digest for one in record.platforms] == [
        one.entry["digest"] for one in chosen
    ]
    assert {
        one.digest: [other.digest for other in one.alternatives]
        for one in record.platforms
        if one.alternatives
    } == others
    assert record.architectures == tuple(sorted({str(one.platform) for one in images}))
    assert record.size == 100 * len(chosen)
    assert {one.digest for one in record.attachments} == {
        one.entry["digest"] for one in children if one.is_attached
    }
    unread = {one.entry["digest"] for one in children if one.is_unsupported}
    indexes = set() if nested is None else {nested.root.digest}
    assert [one.digest for one in record.other_children] == sorted(unread | indexes)
    found = [one.code for one in record.warnings]
    assert found == [WarningCode.CHILD_UNSUPPORTED] * len(
        {one.entry["digest"] for one in children if one.is_unsupported}
    )


@pytest.mark.parametrize("seed", range(3))
async def test_each_child_is_recorded_as_what_it_was_made(seed: int) -> None:
    random = Random(seed)
    content = DemoContent()
    made: list[tuple[list[Child], BuiltImage | None]] = []
    for tag in range(INDEXES):
        # At least one image: an index of artifacts alone is another case.
        children = [_image(f"first of {seed} {tag}", "linux/amd64", "gzip")]
        children += [
            _child(random, seed * 10_000 + tag * 100 + number)
            for number in range(random.randrange(9))
        ]
        random.shuffle(children)
        cut = random.randrange(len(children) + 1)
        nested = _index(children[cut:], None) if children[cut:] else None
        content.add("team/app", _index(children[:cut], nested), str(tag))
        made.append((children, nested))
    async with lab(content) as here:
        outcome = await here.audit(
            *(here.ref(f"team/app:{tag}") for tag in range(INDEXES)),
            attachments=AttachmentMode.INDEX,
        )
    assert len(outcome.records) == INDEXES
    for record, (children, nested) in zip(outcome.records, made, strict=True):
        assert isinstance(record, ImageRecord)
        _check(record, children, nested)
