"""Builds container images deterministically: manifests, configs and their digests.

    amd64 = image("team/app", platform="linux/amd64")
    arm64 = image("team/app", platform="linux/arm64/v8")
    both = index([amd64, arm64], attested=True)
    both.root.digest, both.content.platforms

OCI image spec 1.1 (manifest, index, config; "Guidelines for Artifact Usage") and Docker
image manifest version 2, schema 2. Layers have names and sizes, but no bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from enum import Enum
from typing import Any, Literal, TypeVar

import orjson

from auditor.fast_dataclass import dataclass
from auditor.model import (
    Attachment,
    AttachmentKind,
    BaseImage,
    ChildManifest,
    ConfigDetails,
    Layer,
    LayerTrait,
    PlatformRecord,
)
from auditor.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    sha256_digest,
)

CREATED = "2026-08-05T10:00:00Z"
IN_TOTO = "application/vnd.in-toto+json"


class Family(Enum):
    """The media types of one standard: index, manifest, config, layer."""

    OCI = (
        OCI_INDEX,
        OCI_MANIFEST,
        OCI_CONFIG,
        "application/vnd.oci.image.layer.v1.tar+gzip",
    )
    DOCKER = (
        DOCKER_LIST,
        DOCKER_MANIFEST,
        DOCKER_CONFIG,
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    )

    def __init__(self, index: str, manifest: str, config: str, layer: str) -> None:
        self.index = index
        self.manifest = manifest
        self.config = config
        self.layer = layer


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltManifest:
    """A manifest as it is served. Its digest is that of `payload`.

    The two differ for signed schema 1 only. `subject` is the digest of the manifest
    it refers to, for the referrers API.
    """

    raw: bytes
    digest: str
    media_type: str
    payload: bytes
    artifact_type: str | None = None
    subject: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltBlob:
    """A config or another small blob."""

    digest: str
    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContent:
    """What an image was built from, as the values of a report.

    It is never read back from a manifest, so that tests can compare it with what an
    audit reads. `platforms` are in the order of the index, nested indexes in place;
    `attachments` are sorted by digest. An artifact has one platform without os and
    architecture, which holds its layers.
    """

    digest: str
    media_type: str
    schema_version: int = 2
    artifact_type: str | None = None
    platforms: tuple[PlatformRecord, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: str | None = None
    manifest_size: int | None = None
    other_children: tuple[ChildManifest, ...] = ()
    source: Literal["index", "manifest", "artifact", "schema1"] = "manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image: its manifests (children first, `root` last), configs and content."""

    manifests: tuple[BuiltManifest, ...]
    blobs: tuple[BuiltBlob, ...]
    content: ImageContent

    @property
    def root(self) -> BuiltManifest:
        """The manifest that a tag points to."""
        return self.manifests[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedImage:
    """An image in a repository, under tags (none: reachable by digest only)."""

    repository: str
    tags: tuple[str, ...]
    image: BuiltImage


# -- images and indexes ----------------------------------------------------------


def image(
    name: str,
    *,
    platform: str = "linux/amd64",
    family: Family = Family.OCI,
    layers: Sequence[Layer] | None = None,
    created: str | None = CREATED,
    os_version: str | None = None,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    user: str | None = None,
    history: int = 0,
    layer_traits: Sequence[LayerTrait] = (),
) -> BuiltImage:
    """The image of one platform (`os/architecture[/variant]`).

    Without `layers` it gets three made-up ones. Layers of the OCI layer type take the
    family's layer type, others (foreign layers, zstd) keep theirs; `layer_traits`
    describe them. `history` is the number of build steps.
    """
    os, architecture, variant = split_platform(platform)
    if layers is None:
        layers = [layer(f"{name} {platform} {number}") for number in range(3)]
    layers = tuple(
        replace(one, media_type=family.layer)
        if one.media_type == Family.OCI.layer
        else one
        for one in layers
    )
    optional = {"variant": variant, "os.version": os_version, "created": created}
    all_labels = {"org.opencontainers.image.title": name, **(labels or {})}
    config: dict[str, Any] = {
        "architecture": architecture,
        "os": os,
        **{key: value for key, value in optional.items() if value is not None},
        "config": {"Labels": all_labels, **({"User": user} if user else {})},
    }
    if history:
        config["history"] = [{"created_by": f"step {n}"} for n in range(history)]
    config["rootfs"] = {
        "type": "layers",
        "diff_ids": [sha256_digest(b"diff " + one.digest.encode()) for one in layers],
    }
    blob = json_blob(config, family.config)
    manifest = json_manifest(
        {
            "config": blob_descriptor(blob),
            "layers": [
                json_descriptor(one.media_type, one.digest, one.size) for one in layers
            ],
        },
        media_type=family.manifest,
        annotations=annotations,
    )
    return single_image(
        manifest,
        layers,
        platform,
        config=blob,
        os_version=os_version,
        created=created,
        details=ConfigDetails(user=user, history=history, labels=None),
        base=_base({**(labels or {}), **(annotations or {})}),
        layer_traits=layer_traits,
    )


def _base(annotations: Mapping[str, str]) -> BaseImage | None:
    prefix = "org.opencontainers.image.base."
    if not any(key.startswith(prefix) for key in annotations):
        return None
    return BaseImage(
        name=annotations.get(f"{prefix}name"), digest=annotations.get(f"{prefix}digest")
    )


def single_image(
    manifest: BuiltManifest,
    layers: Sequence[Layer],
    platform: str | None,
    *,
    config: BuiltBlob | None,
    source: Literal["manifest", "artifact", "schema1"] = "manifest",
    os_version: str | None = None,
    created: str | None = None,
    details: ConfigDetails | None = None,
    base: BaseImage | None = None,
    layer_traits: Sequence[LayerTrait] = (),
) -> BuiltImage:
    """The image of a manifest that is not an index, with the content to report."""
    os, architecture, variant = split_platform(platform) if platform else (None,) * 3
    record = PlatformRecord(
        os=os,
        architecture=architecture,
        variant=variant,
        os_version=os_version,
        digest=manifest.digest,
        media_type=manifest.media_type,
        config_digest=None if config is None else config.digest,
        created=created,
        config=details,
        base=base,
        size=total_size(layers),
        layers=tuple(layers),
        layer_traits=tuple(layer_traits),
        manifest_size=len(manifest.payload),
        config_size=None if config is None else len(config.content),
    )
    return BuiltImage(
        manifests=(manifest,),
        blobs=() if config is None else (config,),
        content=ImageContent(
            digest=manifest.digest,
            media_type=manifest.media_type,
            schema_version=1 if source == "schema1" else 2,
            artifact_type=manifest.artifact_type,
            platforms=(record,),
            annotations=manifest.annotations,
            subject=manifest.subject,
            manifest_size=len(manifest.payload),
            source=source,
        ),
    )


def index(
    children: Sequence[BuiltImage],
    *,
    family: Family = Family.OCI,
    annotations: Mapping[str, str] | None = None,
    attested: bool = False,
    attestations: Sequence[BuiltImage] = (),
) -> BuiltImage:
    """An index (Docker: manifest list) of images and other indexes.

    BuildKit's attestation manifests follow after all images: `attestations`, one for
    each image, or, with `attested`, made-up ones without a statement type (BuildKit
    docs, "Attestation storage").
    """
    images = [child for child in children if child.content.source == "manifest"]
    if attested:
        attestations = [_attestation(child.root) for child in images]
    entries = [_index_entry(child) for child in children]
    attachments = [one for child in children for one in child.content.attachments]
    for attestation, child in zip(attestations, images, strict=False):
        entries.append(_attestation_entry(attestation, child))
        attachments.append(
            Attachment(
                kind=AttachmentKind.ATTESTATION,
                artifact_type=None,
                digest=attestation.root.digest,
                subject=child.root.digest,
                predicates=None,
                size=len(attestation.root.payload),
                in_index=True,
            )
        )
    root = json_manifest(
        {"manifests": entries}, media_type=family.index, annotations=annotations
    )
    parts = [*children, *attestations]
    return BuiltImage(
        manifests=(*_distinct(one for part in parts for one in part.manifests), root),
        blobs=_distinct(blob for part in parts for blob in part.blobs),
        content=ImageContent(
            digest=root.digest,
            media_type=root.media_type,
            platforms=tuple(
                one for child in children for one in child.content.platforms
            ),
            attachments=tuple(sorted(attachments, key=lambda one: one.digest)),
            annotations=root.annotations,
            manifest_size=len(root.payload),
            other_children=_nested_indexes(children),
            source="index",
        ),
    )


def _nested_indexes(children: Sequence[BuiltImage]) -> tuple[ChildManifest, ...]:
    """The indexes below an index with these children, sorted."""
    found = {one for child in children for one in child.content.other_children}
    for child in children:
        if child.content.source == "index":
            root = child.root
            found.add(
                ChildManifest(
                    digest=root.digest,
                    media_type=root.media_type,
                    size=len(root.payload),
                )
            )
    return tuple(sorted(found, key=lambda one: one.digest))


def _index_entry(child: BuiltImage) -> dict[str, Any]:
    """The descriptor of a child, with its platform if it is the image of one."""
    entry = manifest_descriptor(child.root)
    if child.content.source == "manifest":
        (record,) = child.content.platforms
        platform = {
            "architecture": record.architecture,
            "os": record.os,
            "os.version": record.os_version,
            "variant": record.variant,
        }
        entry["platform"] = {key: value for key, value in platform.items() if value}
    return entry


def _attestation(subject: BuiltManifest) -> BuiltImage:
    """The attestation manifest of an image, in the shape of an image."""
    name = f"attestation of {subject.digest}"
    return image(
        name,
        platform="unknown/unknown",
        layers=[layer(name, media_type=IN_TOTO)],
        created=None,
    )


def _attestation_entry(attestation: BuiltImage, child: BuiltImage) -> dict[str, Any]:
    return {
        **manifest_descriptor(attestation.root),
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {
            "vnd.docker.reference.digest": child.root.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        },
    }


# -- layers, manifests, blobs and descriptors -------------------------------------


def layer(
    name: str, *, size: int | None = None, media_type: str | None = None
) -> Layer:
    """The layer of this name, always the same; of 1 KiB to 64 MiB without a `size`."""
    if size is None:
        seed = hashlib.sha256(name.encode()).digest()
        # Even over the exponents 10..25: small layers are as usual as big ones.
        size = (256 + seed[1]) << (2 + seed[0] % 16)
    return Layer(
        digest=sha256_digest(name.encode()),
        size=size,
        media_type=media_type or Family.OCI.layer,
    )


def split_platform(platform: str) -> tuple[str, str, str | None]:
    """`os/architecture[/variant]` as its parts."""
    os, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    return os, architecture, variant or None


def total_size(layers: Iterable[Layer]) -> int | None:
    """Compressed bytes of the distinct layers; None if a size is unknown."""
    total = 0
    for size in {one.digest: one.size for one in layers}.values():
        if size is None:
            return None
        total += size
    return total


def json_blob(document: Mapping[str, Any], media_type: str) -> BuiltBlob:
    """A blob that contains a JSON document."""
    content = orjson.dumps(document)
    return BuiltBlob(
        digest=sha256_digest(content), content=content, media_type=media_type
    )


def json_manifest(
    document: Mapping[str, Any],
    *,
    media_type: str,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str | None = None,
    subject: str | None = None,
) -> BuiltManifest:
    """A manifest of `schemaVersion` 2 that contains this document.

    `artifact_type` and `subject` are for the referrers API; to be in the manifest, they
    must also be in `document`.
    """
    members = {"schemaVersion": 2, "mediaType": media_type, **document}
    if annotations:
        members["annotations"] = dict(annotations)
    raw = orjson.dumps(members, option=orjson.OPT_INDENT_2)
    return BuiltManifest(
        raw=raw,
        payload=raw,
        digest=sha256_digest(raw),
        media_type=media_type,
        artifact_type=artifact_type,
        subject=subject,
        annotations=dict(annotations or {}),
    )


def blob_descriptor(blob: BuiltBlob) -> dict[str, Any]:
    """The OCI descriptor of a blob."""
    return json_descriptor(blob.media_type, blob.digest, len(blob.content))


def manifest_descriptor(manifest: BuiltManifest) -> dict[str, Any]:
    """The OCI descriptor of a manifest; its size is that of the payload."""
    return json_descriptor(manifest.media_type, manifest.digest, len(manifest.payload))


def json_descriptor(
    media_type: str | None, digest: str, size: int | None
) -> dict[str, Any]:
    """The OCI descriptor of content; `size` is bytes."""
    return {"mediaType": media_type, "digest": digest, "size": size}


_Part = TypeVar("_Part", BuiltBlob, BuiltManifest)


def _distinct(parts: Iterable[_Part]) -> tuple[_Part, ...]:
    """Each digest once, at its first position."""
    return tuple({part.digest: part for part in parts}.values())
