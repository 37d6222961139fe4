"""Generates container images, deterministically: bytes, digests, and the truth.

    amd64 = image("team/app", platform="linux/amd64")
    arm64 = image("team/app", platform="linux/arm64/v8")
    both = index([amd64, arm64], attested=True)
    both.root.digest, both.truth.architectures

OCI image spec 1.1 (manifest, index, config) and Docker image manifest version 2,
schema 2. Layers are names and sizes only: nobody here has their bytes. Charts and
other artifacts come from `auditor.sandbox.artifacts`, the old format from
`auditor.sandbox.schema1`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from auditor.model import (
    Attachment,
    AttachmentKind,
    BaseImage,
    ConfigFacts,
    Layer,
    LayerTrait,
    Platform,
)
from auditor.sandbox.attached import attestation
from auditor.sandbox.built import (
    BuiltImage,
    Family,
    blob_descriptor,
    distinct,
    json_blob,
    json_manifest,
    layer_descriptor,
    manifest_descriptor,
    sha256,
)
from auditor.sandbox.truth import Truth, total_size

CREATED = "2026-08-05T10:00:00Z"
_IN_TOTO = "application/vnd.in-toto+json"


def layer(
    name: str, *, size: int | None = None, media_type: str | None = None
) -> Layer:
    """The layer of this name: same name, same digest; 1 to 64 MiB unless told."""
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
    """One platform's image (`os/architecture[/variant]`): a manifest and a config.

    Without `layers` it gets three made-up ones. Layers of the OCI layer type take
    the family's layer type, others (foreign layers, zstd) keep theirs; what they are,
    `layer_traits` say. `history` is a number of build steps.
    """
    os, architecture, variant = split_platform(platform)
    if layers is None:
        layers = [layer(f"{name} {platform} {number}") for number in range(3)]
    typed = tuple(
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
        "diff_ids": [sha256(b"diff " + one.digest.encode()) for one in typed],
    }
    blob = json_blob(config, family.config)
    manifest = json_manifest(
        {
            "config": blob_descriptor(blob),
            "layers": [layer_descriptor(one) for one in typed],
        },
        media_type=family.manifest,
        annotations=annotations,
    )
    found = Platform(
        os=os,
        architecture=architecture,
        variant=variant,
        os_version=os_version,
        digest=manifest.digest,
        media_type=manifest.media_type,
        config_digest=blob.digest,
        created=created,
        config=ConfigFacts(user=user, history=history, labels=None),
        base=_base({**(labels or {}), **(annotations or {})}),
        size=total_size(typed),
        layers=typed,
        layer_traits=tuple(layer_traits),
    )
    return BuiltImage(
        manifests=(manifest,),
        blobs=(blob,),
        truth=Truth(
            digest=manifest.digest,
            media_type=manifest.media_type,
            platforms=(found,),
            annotations=manifest.annotations,
        ),
    )


def _base(said: Mapping[str, str]) -> BaseImage | None:
    prefix = "org.opencontainers.image.base."
    if not any(key.startswith(prefix) for key in said):
        return None
    return BaseImage(name=said.get(f"{prefix}name"), digest=said.get(f"{prefix}digest"))


def index(
    children: Sequence[BuiltImage],
    *,
    family: Family = Family.OCI,
    annotations: Mapping[str, str] | None = None,
    attested: bool = False,
    predicates: Sequence[str] = (),
) -> BuiltImage:
    """An index (Docker: manifest list) over images and other indexes.

    With `attested`, the attestation manifest that BuildKit writes for each image
    follows after all of them (BuildKit docs: attestation storage). It has a statement
    of each of these types; without any, one that does not say its type.
    """
    entries = [_entry(child) for child in children]
    attachments = [one for child in children for one in child.truth.attachments]
    parts = list(children)
    for child in children:
        if attested and child.truth.source == "manifest":
            attesting = _attestation(child, predicates)
            parts.append(attesting)
            entries.append(_attestation_entry(attesting, child))
            attachments.append(
                Attachment(
                    kind=AttachmentKind.ATTESTATION,
                    artifact_type=None,
                    digest=attesting.root.digest,
                    subject=child.root.digest,
                    predicates=None,
                )
            )
    root = json_manifest(
        {"manifests": entries}, media_type=family.index, annotations=annotations
    )
    return BuiltImage(
        manifests=(*distinct(one for part in parts for one in part.manifests), root),
        blobs=distinct(blob for part in parts for blob in part.blobs),
        truth=Truth(
            digest=root.digest,
            media_type=root.media_type,
            platforms=tuple(one for child in children for one in child.truth.platforms),
            attachments=tuple(sorted(attachments, key=lambda one: one.digest)),
            annotations=root.annotations,
            source="index",
        ),
    )


def _entry(child: BuiltImage) -> dict[str, Any]:
    """How an index lists a child: with its platform, if it is one platform's."""
    entry = manifest_descriptor(child.root)
    if child.truth.source == "manifest":
        (known,) = child.truth.platforms
        platform = {
            "architecture": known.architecture,
            "os": known.os,
            "os.version": known.os_version,
            "variant": known.variant,
        }
        entry["platform"] = {key: value for key, value in platform.items() if value}
    return entry


def _attestation(child: BuiltImage, predicates: Sequence[str]) -> BuiltImage:
    """The attestation manifest of an image: an image of in-toto statements."""
    if predicates:
        return attestation(child.root, predicates)
    statement = layer(f"attestation of {child.root.digest}", media_type=_IN_TOTO)
    return image(
        f"attestation of {child.root.digest}",
        platform="unknown/unknown",
        layers=[statement],
        created=None,
    )


def _attestation_entry(attesting: BuiltImage, child: BuiltImage) -> dict[str, Any]:
    return {
        **manifest_descriptor(attesting.root),
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {
            "vnd.docker.reference.digest": child.root.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        },
    }
