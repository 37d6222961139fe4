"""What an index can list besides images: attachments, artifacts, unknown types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditor.config import AttachmentMode, ImageConfigMode
from auditor.demo.artifact_builder import artifact, helm_chart
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import (
    BuiltImage,
    BuiltManifest,
    Family,
    ImageContent,
    blob_descriptor,
    image,
    index,
    json_blob,
    json_manifest,
    layer,
    manifest_descriptor,
)
from auditor.model import AttachmentKind, ContentKind, ImageRecord, WarningCode
from auditor.oci.descriptor import sha256_digest
from tests.flow.harness import BLOBS, BY_DIGEST, lab
from tests.support.attached_images import (
    SLSA,
    attestation,
    attested_index,
    cosign_signature,
    digest_tag,
)

pytestmark = pytest.mark.anyio

AMD64, ARM64 = (image("app", platform=one) for one in ("linux/amd64", "linux/arm64"))
IMAGES = [AMD64, ARM64]
NAMES = ("linux/amd64", "linux/arm64")
SPDX_JSON = "application/spdx+json"
BUILDER = image("builder")
SBOM = artifact("sbom", artifact_type=SPDX_JSON)
CHART = helm_chart("app")
SOCI = artifact("soci", artifact_type="application/vnd.amazon.soci.index.v2+json")
NEW_TYPE = "application/vnd.example.manifest.v3+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
BLAKE3 = "blake3:" + "a" * 64


def entry(child: BuiltImage, **members: Any) -> dict[str, Any]:
    """The descriptor of a child, with its platform if it is an image."""
    found: dict[str, Any] = manifest_descriptor(child.root)
    if child.content.source == "manifest":
        (platform,) = child.content.platforms
        names = {"os": platform.os, "architecture": platform.architecture}
        found["platform"] = names
    return found | members


def listing(
    children: list[BuiltImage], entries: list[dict[str, Any]], **members: Any
) -> BuiltImage:
    """An index with these entries and the manifests of the children."""
    document = {"manifests": entries, **members}
    root = json_manifest(document, media_type=Family.OCI.index)
    return BuiltImage(
        manifests=(*(one for child in children for one in child.manifests), root),
        blobs=tuple(one for child in children for one in child.blobs),
        content=ImageContent(
            digest=root.digest, media_type=root.media_type, source="index"
        ),
    )


def beside_images(other: BuiltImage, **members: Any) -> BuiltImage:
    """An index of two images and another child."""
    return listing([*IMAGES, other], [*map(entry, IMAGES), entry(other, **members)])


def of(built: BuiltImage, *more: BuiltManifest) -> DemoContent:
    content = DemoContent()
    content.add("team/app", built, "1")
    for child in IMAGES:
        content.repository("team/app").add(child)
    return content


def size_of(*images: BuiltImage) -> int:
    return sum(one.size or 0 for built in images for one in built.content.platforms)


def codes(record: ImageRecord) -> list[WarningCode]:
    return [one.code for one in record.warnings]


LOST = attestation(AMD64.root, [SLSA])
NAMED = {
    "vnd.docker.reference.type": "builder",
    "vnd.docker.reference.digest": AMD64.root.digest,
}
LINUX = {"os": "linux", "architecture": "amd64"}
OTHERS: dict[str, tuple[BuiltImage, AttachmentKind, str | None]] = {
    # skopeo#2174, eks-anywhere-packages#1078: an SBOM or a chart beside the images.
    "sbom": (beside_images(SBOM, artifactType=SPDX_JSON), AttachmentKind.SBOM, None),
    "chart": (beside_images(CHART), AttachmentKind.ARTIFACT, None),
    # The manifest has no artifactType: the descriptor's counts.
    "typed-by-the-index": (
        beside_images(
            artifact("plain", artifact_type="application/vnd.oci.empty.v1+json"),
            artifactType=SPDX_JSON,
        ),
        AttachmentKind.SBOM,
        None,
    ),
    # inspektor-gadget#5494: oras attach, then docker buildx imagetools create.
    "without-an-architecture": (
        beside_images(CHART, platform={"os": "linux", "architecture": ""}),
        AttachmentKind.ARTIFACT,
        None,
    ),
    # zui#475
    "without-a-platform": (
        beside_images(LOST, platform={"os": "", "architecture": ""}),
        AttachmentKind.ATTESTATION,
        None,
    ),
    # soci-snapshotter's conversion of an index: artifacts with a platform.
    "for-a-platform": (
        beside_images(SOCI, artifactType=SOCI.content.artifact_type, platform=LINUX),
        AttachmentKind.ARTIFACT,
        None,
    ),
    "with-a-subject": (
        beside_images(artifact("report", subject=AMD64.root)),
        AttachmentKind.SBOM,
        AMD64.root.digest,
    ),
    # BuildKit's attestation after a copy that kept digests, sizes and types only.
    "lost-attestation": (beside_images(LOST), AttachmentKind.ATTESTATION, None),
    "lost-attestation-with-a-platform": (
        beside_images(LOST, platform=LINUX),
        AttachmentKind.ATTESTATION,
        None,
    ),
    "builder": (
        beside_images(BUILDER, annotations=NAMED),
        AttachmentKind.ARTIFACT,
        AMD64.root.digest,
    ),
    # image-spec 1.1.0-rc2; it is not fetched, and so need not exist.
    "artifact-manifest": (
        beside_images(SBOM, mediaType=OCI_ARTIFACT, artifactType=SPDX_JSON),
        AttachmentKind.SBOM,
        None,
    ),
}


@pytest.mark.parametrize("platforms", [(), NAMES])
@pytest.mark.parametrize("name", OTHERS)
async def test_what_is_no_image_is_an_attachment_and_no_platform(
    name: str, platforms: tuple[str, ...]
) -> None:
    built, kind, subject = OTHERS[name]
    content = of(built)
    repository = content.repository("team/app")
    for child in IMAGES:
        repository.add(cosign_signature(child.root), [digest_tag(child.root, ".sig")])
    async with lab(content) as here:
        record = (
            await here.audit(
                here.ref("team/app:1"),
                attachments=AttachmentMode.ALL,
                platforms=platforms,
            )
        ).image
    assert codes(record) == []
    assert record.content is ContentKind.IMAGE
    assert record.architectures == NAMES
    assert [one.digest for one in record.platforms] == [
        one.root.digest for one in IMAGES
    ]
    assert record.size == size_of(*IMAGES)
    assert record.signed is True  # each image is
    assert record.platforms_left_out == 0
    (found,) = (
        one for one in record.attachments if one.kind is not AttachmentKind.SIGNATURE
    )
    assert (found.kind, found.subject) == (kind, subject)


@pytest.mark.parametrize(
    ("images", "expected"), [([AMD64], True), (IMAGES, None)], ids=["one", "two"]
)
async def test_an_attestation_that_lost_its_subject_is_not_one_of_all_platforms(
    images: list[BuiltImage], expected: bool | None
) -> None:
    built = listing([*images, LOST], [*map(entry, images), entry(LOST)])
    async with lab(of(built)) as here:
        record = (
            await here.audit(here.ref("team/app:1"), attachments=AttachmentMode.ALL)
        ).image
    assert [one.predicates for one in record.attachments] == [(SLSA,)]
    assert record.has_provenance is expected
    assert record.has_sbom is False


@pytest.mark.parametrize(
    ("mode", "subjects", "expected"),
    [
        (AttachmentMode.INDEX, [AMD64], None),
        (AttachmentMode.ALL, [AMD64], False),
        (AttachmentMode.ALL, IMAGES, True),
    ],
)
async def test_what_was_not_read_is_no_evidence_for_the_whole_index(
    mode: AttachmentMode, subjects: list[BuiltImage], expected: bool | None
) -> None:
    """An SBOM of a platform, listed as unknown/unknown without its subject."""
    sboms = [artifact(f"of {n}", subject=one.root) for n, one in enumerate(subjects)]
    unknown = {"os": "unknown", "architecture": "unknown"}
    listed = [
        entry(one, platform=unknown, artifactType=SPDX_JSON, annotations={"a": "b"})
        for one in sboms
    ]
    async with lab(of(listing([*IMAGES, *sboms], [*map(entry, IMAGES), *listed]))) as (
        here
    ):
        record = (await here.audit(here.ref("team/app:1"), attachments=mode)).image
    assert record.has_sbom is expected
    assert [one.digest for one in record.attachments] == sorted(
        one.root.digest for one in sboms
    )


async def test_an_image_whose_artifact_type_is_that_of_its_config_is_an_image() -> None:
    # regclient#359 shows such a list; registries copy the type of the config.
    config_type = Family.OCI.config
    built = listing(IMAGES, [entry(one, artifactType=config_type) for one in IMAGES])
    content = of(built)
    del content.repository("team/app").manifests[ARM64.root.digest]
    async with lab(content) as here:
        one = (await here.audit(here.ref("team/app:1"), platforms=NAMES[:1])).image
        assert here.targets(BY_DIGEST) == [
            f"/v2/team/app/manifests/{AMD64.root.digest}"
        ]
        both = (await here.audit(here.ref("team/app:1"))).image
    assert (one.architectures, one.platforms_left_out) == (NAMES[:1], 1)
    assert codes(one) == []
    assert [platform.layers is None for platform in both.platforms] == [False, True]
    assert codes(both) == [WarningCode.CHILD_MISSING]
    assert (both.size, both.attachments) == (None, ())


async def test_without_attachments_an_artifact_is_no_platform_either() -> None:
    async with lab(of(beside_images(CHART))) as here:
        record = (
            await here.audit(here.ref("team/app:1"), attachments=AttachmentMode.NONE)
        ).image
    assert (record.attachments, record.architectures) == ((), NAMES)


async def test_blobs_of_attachments_are_not_checked() -> None:
    async with lab(of(beside_images(CHART))) as here:
        record = (await here.audit(here.ref("team/app:1"), verify_blobs=True)).image
        checked = {
            one.target.rpartition("/")[2] for one in here.faults.requests("HEAD", BLOBS)
        }
    assert codes(record) == []
    assert checked == {
        digest
        for child in IMAGES
        for digest in (
            child.blobs[0].digest,
            *(one.digest for one in child.content.platforms[0].layers or ()),
        )
    }


@pytest.mark.parametrize(
    ("platforms", "kept"), [((), 2), (("linux/arm64",), 1), (("linux/s390x",), 0)]
)
@pytest.mark.parametrize("is_typed", [False, True])
async def test_an_index_of_artifacts_for_platforms_is_recorded_like_images(
    platforms: tuple[str, ...], kept: int, is_typed: bool
) -> None:
    # oras push --artifact-platform, oras manifest index create.
    tools = [artifact(f"tool {one}", artifact_type="application/x") for one in NAMES]
    entries = [
        entry(
            tool,
            platform={"os": "linux", "architecture": name.partition("/")[2]},
            **({"artifactType": "application/x"} if is_typed else {}),
        )
        for tool, name in zip(tools, NAMES, strict=True)
    ]
    async with lab(of(listing(tools, entries))) as here:
        record = (await here.audit(here.ref("team/app:1"), platforms=platforms)).image
    assert len(record.platforms) == kept
    assert record.platforms_left_out == 2 - kept
    assert record.attachments == ()
    if kept:
        assert record.content is ContentKind.ARTIFACT
    assert record.size == sum(one.size or 0 for one in record.platforms)


@pytest.mark.parametrize(
    ("children", "kind"),
    [
        ([SBOM, CHART], ContentKind.ARTIFACT),
        ([index([artifact("nested")])], ContentKind.ARTIFACT),
        ([attested_index(IMAGES, [SLSA])], ContentKind.IMAGE),
        ([], ContentKind.UNKNOWN),
    ],
    ids=["artifacts", "nested-artifact", "nested-images", "empty"],
)
async def test_an_index_is_what_it_lists(
    children: list[BuiltImage], kind: ContentKind
) -> None:
    async with lab(of(listing(children, [entry(one) for one in children]))) as here:
        record = (await here.audit(here.ref("team/app:1"))).image
    assert record.content is kind
    assert codes(record) == []


async def test_tags_of_attachments_are_no_images() -> None:
    content = of(index(IMAGES))
    repository = content.repository("team/app")
    root = AMD64.root
    signature = digest_tag(root, ".sig")
    repository.add(cosign_signature(root), [signature])
    repository.add(listing([SBOM], [entry(SBOM)]), [digest_tag(root)])
    repository.add(CHART, ["chart"])
    async with lab(content) as here:
        outcome = await here.audit(
            *(
                here.ref(f"team/app:{tag}")
                for tag in ("1", signature, digest_tag(root), "chart")
            )
        )
    assert [one.content for one in outcome.records] == [  # type: ignore[union-attr]
        ContentKind.IMAGE,
        ContentKind.ATTACHMENT,
        ContentKind.ATTACHMENT,
        ContentKind.ARTIFACT,
    ]
    assert all(one.warnings == () for one in outcome.records)  # type: ignore[union-attr]


# -- what cannot be read -----------------------------------------------------------

UNSUPPORTED = json_manifest({"blobs": []}, media_type=NEW_TYPE)
UNREADABLE: dict[str, tuple[dict[str, Any], str]] = {
    # image-index.md: an unknown media type "MUST NOT generate an error".
    "unknown-type": (
        {"mediaType": NEW_TYPE, "digest": "sha256:" + "5" * 64, "size": 7},
        NEW_TYPE,
    ),
    "unknown-type-of-a-platform": (
        {
            "mediaType": NEW_TYPE,
            "digest": "sha256:" + "5" * 64,
            "size": 7,
            "platform": {"os": "linux", "architecture": "amd64", "variant": "v4"},
        },
        NEW_TYPE,
    ),
    # Any content can be listed, a layer for example.
    "a-layer": (
        {
            "mediaType": Family.OCI.layer,
            "digest": layer("x").digest,
            "size": 7,
        },
        Family.OCI.layer,
    ),
    # The descriptor says that it is a manifest, and the document is of a new type.
    "type-in-the-document": (
        {
            "mediaType": Family.OCI.manifest,
            "digest": UNSUPPORTED.digest,
            "size": len(UNSUPPORTED.raw),
        },
        NEW_TYPE,
    ),
    # descriptor.md registers blake3; nothing here can verify it.
    "blake3": (
        {"mediaType": Family.OCI.manifest, "digest": BLAKE3, "size": 7},
        "blake3 digests",
    ),
}


@pytest.mark.parametrize("platforms", [(), NAMES])
@pytest.mark.parametrize("name", UNREADABLE)
async def test_a_child_that_cannot_be_read_is_a_warning(
    name: str, platforms: tuple[str, ...], tmp_path: Path
) -> None:
    child, word = UNREADABLE[name]
    content = of(listing(IMAGES, [child, *map(entry, IMAGES)]))
    content.repository("team/app").manifests[UNSUPPORTED.digest] = UNSUPPORTED
    async with lab(content) as here:
        cold, warm = [
            (
                await here.audit(
                    here.ref("team/app:1"),
                    platforms=platforms,
                    attachments=AttachmentMode.ALL,
                    cache=str(tmp_path / "cache.sqlite"),
                )
            ).image
            for _ in range(2)
        ]
        fetched = here.targets(BY_DIGEST)
    assert warm == cold
    assert BLAKE3 not in " ".join(fetched)
    if "variant" in str(child) and platforms:
        assert (codes(cold), cold.platforms_left_out) == ([], 1)
    else:
        (warning,) = cold.warnings
        assert warning.code is WarningCode.CHILD_UNSUPPORTED
        assert word in warning.detail
        assert str(child["digest"]) in warning.detail
    assert (cold.architectures, cold.content) == (NAMES, ContentKind.IMAGE)
    assert cold.size == size_of(*IMAGES)


@pytest.mark.parametrize(
    "children",
    [[], [index([])], [index([]), index([index([])])]],
    ids=["empty", "nested", "nested twice"],
)
async def test_an_index_that_lists_nothing_has_no_bytes(
    children: list[BuiltImage],
) -> None:
    """image-index.md: `manifests` "MAY be empty"; nothing in it is unknown."""
    async with lab(of(listing(children, [entry(one) for one in children]))) as here:
        record = (await here.audit(here.ref("team/app:1"))).image
    assert (record.platforms, record.architectures, record.size) == ((), (), 0)
    assert (record.content, codes(record)) == (ContentKind.UNKNOWN, [])


async def test_a_child_of_another_size_than_the_index_states_is_a_warning() -> None:
    # containerd, "failed size validation": it checks the size before the digest.
    right = len(AMD64.root.raw)
    nested = index([ARM64])
    lists = [
        entry(AMD64, size=right + 1),
        manifest_descriptor(nested.root) | {"size": 0},
        entry(BUILDER, platform={"os": "linux", "architecture": "s390x"}),
    ]
    async with lab(of(listing([AMD64, nested, BUILDER], lists))) as here:
        record = (await here.audit(here.ref("team/app:1"))).image
        wanted = (
            await here.audit(here.ref("team/app:1"), platforms=("linux/s390x",))
        ).image
    assert {one.detail for one in record.warnings} == {
        f"{AMD64.root.digest} has {right} bytes, but {right + 1} in the index",
        f"{nested.root.digest} has {len(nested.root.raw)} bytes, but 0 in the index",
    }
    assert set(codes(record)) == {WarningCode.CHILD_SIZE_DIFFERS}
    assert len(record.platforms) == 3
    # Of what was not read, nothing is known.
    (warning,) = wanted.warnings
    assert nested.root.digest in warning.detail


@pytest.mark.parametrize("beside", [[], [index([])], [LOST]])
async def test_an_index_of_unknown_types_has_no_size(beside: list[BuiltImage]) -> None:
    child, _ = UNREADABLE["unknown-type"]
    others = [
        entry(one, platform={"os": "unknown", "architecture": "unknown"})
        if one is LOST
        else entry(one)
        for one in beside
    ]
    async with lab(of(listing(beside, [child, *others]))) as here:
        record = (await here.audit(here.ref("team/app:1"))).image
    assert codes(record) == [WarningCode.CHILD_UNSUPPORTED]
    assert (record.platforms, record.size) == ((), None)


async def test_an_index_of_unknown_types_alone_is_unknown() -> None:
    child, _ = UNREADABLE["unknown-type"]
    async with lab(of(listing([], [child]))) as here:
        record = (await here.audit(here.ref("team/app:1"))).image
    assert codes(record) == [WarningCode.CHILD_UNSUPPORTED]
    assert (record.platforms, record.size) == ((), None)
    assert record.content is ContentKind.UNKNOWN


# -- configs -----------------------------------------------------------------------


def with_config(content: bytes, digest: str | None = None) -> BuiltImage:
    """An image with these bytes as its config."""
    blob = json_blob({}, Family.OCI.config)
    config = blob_descriptor(blob) | {"size": len(content)}
    digest = digest or sha256_digest(content)
    config["digest"] = digest
    only = layer("only", size=5)
    root = json_manifest(
        {
            "config": config,
            "layers": [
                {"mediaType": only.media_type, "digest": only.digest, "size": 5},
                # Layers are never fetched: any digest will do.
                {"mediaType": only.media_type, "digest": BLAKE3, "size": 7},
            ],
        },
        media_type=Family.OCI.manifest,
    )
    built = type(blob)(digest=digest, content=content, media_type=Family.OCI.config)
    return BuiltImage(
        manifests=(root,),
        blobs=(built,),
        content=ImageContent(digest=root.digest, media_type=root.media_type),
    )


LATIN1 = '{"os":"linux","architecture":"amd64","author":"Jörg"}'.encode("latin-1")
TWICE = b'{"os":"linux","architecture":"amd64","config":{"Labels":{"name":1,"name":2}}}'
CONFIGS = {
    "latin-1": (with_config(LATIN1), "not JSON"),
    "name-twice": (with_config(TWICE), '"name"'),
    "empty": (with_config(b""), "not JSON"),
    "html": (with_config(b"<html></html>"), "not JSON"),
    "large": (with_config(b'{"os":"linux"}' + b" " * 5_000_000), "larger"),
    "blake3": (with_config(b"{}", BLAKE3), "blake3"),
}


@pytest.mark.parametrize("in_index", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
async def test_a_config_that_cannot_be_read_is_a_warning(
    name: str, in_index: bool, tmp_path: Path
) -> None:
    built, word = CONFIGS[name]
    top = built
    if in_index:
        top = listing([built], [manifest_descriptor(built.root) | {"platform": LINUX}])
    async with lab(of(top)) as here:
        cold, warm = [
            (
                await here.audit(
                    here.ref("team/app:1"),
                    image_config=ImageConfigMode.ALWAYS,
                    cache=str(tmp_path / "cache.sqlite"),
                )
            ).image
            for _ in range(2)
        ]
    assert warm == cold
    unreadable, *rest = cold.warnings
    assert unreadable.code is WarningCode.CONFIG_UNREADABLE
    assert word in unreadable.detail
    assert [one.code for one in rest] == (
        [] if in_index else [WarningCode.PLATFORM_UNKNOWN]
    )
    assert cold.architectures == (("linux/amd64",) if in_index else ())
    assert (cold.size, cold.content) == (12, ContentKind.IMAGE)
    assert cold.platforms[0].config is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (b'{"os":"linux"}', "no architecture"),
        (b'{"os":"linux","architecture":""}', "no architecture"),
        (b'{"architecture":"amd64"}', "no os"),
        (b"{}", "no os and no architecture"),
        (b'{"os":"unknown","architecture":"unknown"}', "an unknown platform"),
    ],
)
async def test_a_config_without_a_platform_leaves_it_unknown(
    config: bytes, words: str
) -> None:
    # config.md: os and architecture are REQUIRED
    async with lab(of(with_config(config))) as here:
        record = (await here.audit(here.ref("team/app:1"))).image
    (warning,) = record.warnings
    assert warning.code is WarningCode.PLATFORM_UNKNOWN
    assert warning.detail.endswith(f"its config has {words}")
    assert record.architectures == ()


async def test_a_blob_with_a_digest_of_another_algorithm_is_checked() -> None:
    built = with_config(b'{"os":"linux","architecture":"amd64"}')
    content = of(built)
    content.repository("team/app").layer_sizes[layer("only").digest] = 5
    async with lab(content) as here:
        record = (await here.audit(here.ref("team/app:1"), verify_blobs=True)).image
        assert f"/v2/team/app/blobs/{BLAKE3}" in [
            one.path for one in here.faults.requests("HEAD", BLOBS)
        ]
    (warning,) = record.warnings
    assert warning.code is WarningCode.BLOB_MISSING
    assert BLAKE3 in warning.detail
