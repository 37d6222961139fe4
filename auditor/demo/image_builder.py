"""Builds container images deterministically: manifests, configs and their digests.

    amd64 = image("team/app", platform="linux/amd64")
    arm64 = image("team/app", platform="linux/arm64/v8")
    both = index([amd64, arm64], attested=True)
    both.root.digest, both.content.platforms

OCI image spec 1.1 (manifest, index, config) and Docker image manifest version 2,
schema 2. Layers have names and sizes, but no bytes.
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
    ConfigDetails,
    Layer,
    LayerTrait,
    PlatformRecord,
)

CREATED = "2026-08-05T10:00:00Z"
IN_TOTO = "application/vnd.in-toto+json"


class Family(Enum):
    """The media types of one standard: index, manifest, config, layer."""

    OCI = (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    )
    DOCKER = (
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.container.image.v1+json",
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
    config: dict[str, Any] = {"architecture": architecture, "os": os}
    optional = {"variant": variant, "os.version": os_version, "created": created}
    config |= {key: value for key, value in optional.items() if value is not None}
    runtime: dict[str, Any] = {
        "Labels": {"org.opencontainers.image.title": name, **(labels or {})}
    }
    config["config"] = runtime | ({"User": user} if user else {})
    if history:
        config["history"] = [{"created_by": f"step {n}"} for n in range(history)]
    config["rootfs"] = {
        "type": "layers",
        "diff_ids": [sha256(b"diff " + one.digest.encode()) for one in layers],
    }
    blob = json_blob(config, family.config)
    manifest = json_manifest(
        {
            "config": blob_descriptor(blob),
            "layers": [layer_descriptor(one) for one in layers],
        },
        media_type=family.manifest,
        annotations=annotations,
    )
    record = PlatformRecord(
        os=os,
        architecture=architecture,
        variant=variant,
        os_version=os_version,
        digest=manifest.digest,
        media_type=manifest.media_type,
        config_digest=blob.digest,
        created=created,
        config=ConfigDetails(user=user, history=history, labels=None),
        base=_base({**(labels or {}), **(annotations or {})}),
        size=total_size(layers),
        layers=layers,
        layer_traits=tuple(layer_traits),
    )
    return BuiltImage(
        manifests=(manifest,),
        blobs=(blob,),
        content=ImageContent(
            digest=manifest.digest,
            media_type=manifest.media_type,
            platforms=(record,),
            annotations=manifest.annotations,
        ),
    )


def _base(annotations: Mapping[str, str]) -> BaseImage | None:
    prefix = "org.opencontainers.image.base."
    if not any(key.startswith(prefix) for key in annotations):
        return None
    return BaseImage(
        name=annotations.get(f"{prefix}name"),
        digest=annotations.get(f"{prefix}digest"),
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
    each image, or with `attested` made-up ones of which the statement has no type
    (BuildKit docs, "Attestation storage").
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
            )
        )
    root = json_manifest(
        {"manifests": entries}, media_type=family.index, annotations=annotations
    )
    parts = [*children, *attestations]
    return BuiltImage(
        manifests=(*distinct(one for part in parts for one in part.manifests), root),
        blobs=distinct(blob for part in parts for blob in part.blobs),
        content=ImageContent(
            digest=root.digest,
            media_type=root.media_type,
            platforms=tuple(
                one for child in children for one in child.content.platforms
            ),
            attachments=tuple(sorted(attachments, key=lambda one: one.digest)),
            annotations=root.annotations,
            source="index",
        ),
    )


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


def layer(
    name: str, *, size: int | None = None, media_type: str | None = None
) -> Layer:
    """The layer of this name, always the same; of 1 KiB to 64 MiB without a `size`."""
    seed = hashlib.sha256(name.encode())
    if size is None:
        # Even over the exponents 10..25: small layers are as usual as big ones.
        size = (256 + seed.digest()[1]) << (2 + seed.digest()[0] % 16)
    return Layer(
        digest="sha256:" + seed.hexdigest(),
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


# -- manifests, blobs and descriptors --------------------------------------------


def sha256(content: bytes) -> str:
    """The digest of `content`, `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def json_blob(document: Mapping[str, Any], media_type: str) -> BuiltBlob:
    """A blob that contains a JSON document."""
    content = orjson.dumps(document)
    return BuiltBlob(digest=sha256(content), content=content, media_type=media_type)


def json_manifest(
    document: Mapping[str, Any],
    *,
    media_type: str,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str | None = None,
    subject: str | None = None,
) -> BuiltManifest:
    """A manifest of `schemaVersion` 2 that contains this document.

    `artifact_type` and `subject` are for the referrers API; `document` has to contain
    them too if the manifest shall.
    """
    members = {"schemaVersion": 2, "mediaType": media_type, **document}
    if annotations:
        members["annotations"] = dict(annotations)
    raw = orjson.dumps(members, option=orjson.OPT_INDENT_2)
    return BuiltManifest(
        raw=raw,
        payload=raw,
        digest=sha256(raw),
        media_type=media_type,
        artifact_type=artifact_type,
        subject=subject,
        annotations=dict(annotations or {}),
    )


def blob_descriptor(blob: BuiltBlob) -> dict[str, Any]:
    """The OCI descriptor of a blob."""
    return {
        "mediaType": blob.media_type,
        "digest": blob.digest,
        "size": len(blob.content),
    }


def manifest_descriptor(manifest: BuiltManifest) -> dict[str, Any]:
    """The OCI descriptor of a manifest; its size is that of the payload."""
    return {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": len(manifest.payload),
    }


def layer_descriptor(one: Layer) -> dict[str, Any]:
    """The OCI descriptor of a layer."""
    return {"mediaType": one.media_type, "digest": one.digest, "size": one.size}


_Part = TypeVar("_Part", BuiltBlob, BuiltManifest)


def distinct(parts: Iterable[_Part]) -> tuple[_Part, ...]:
    """Each digest once, at its first position."""
    return tuple({part.digest: part for part in reversed(list(parts))}.values())[::-1]
