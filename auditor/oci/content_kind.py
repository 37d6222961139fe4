"""What a manifest is: an image, an attachment, another artifact, or unknown.

The one definition for all that an index lists and all that a tag names. In this order:

1. A child that the index marks as attached (`vnd.docker.reference.type` of any value,
   or the platform `unknown/unknown`) is an attachment.
2. A child of an unknown media type, or with a digest of an unknown algorithm, cannot be
   read: an artifact if its descriptor says so, else unknown.
3. A manifest with the config of an image is an image, unless its layers are all
   signatures, statements or SBOMs (cosign and BuildKit write such attachments), or it
   has an `artifactType` and no platform.
4. Any other manifest is an attachment if it has a subject, else an artifact.

An index is an image if one of its children is. A tag named after a digest is that of an
attachment, unless it names an image.

Sources: OCI image-spec v1.1 manifest.md ("Guidelines for Artifact Usage") and
image-index.md (an unknown media type "MUST NOT generate an error"); BuildKit
docs/attestations/attestation-storage.md; containerd core/images, which pulls only known
types; cosign specs/SIGNATURE_SPEC.md; OCI distribution-spec, "Referrers Tag Schema".
"""

from __future__ import annotations

from collections.abc import Collection

from auditor.model import ContentKind
from auditor.oci.attachments import digest_tag_suffix, is_attachment_type
from auditor.oci.descriptor import (
    DEFAULTED_CONFIG_TYPES,
    IMAGE_CONFIG_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    essence,
)
from auditor.oci.manifest import ImageIndex, ImageManifest, Manifest
from auditor.oci.platform import Platform
from auditor.oci.schema1 import Schema1Manifest

# Artifact manifests of OCI 1.1 release candidates and of ORAS, which name themselves.
_ARTIFACT_MANIFESTS = frozenset(
    {
        "application/vnd.oci.artifact.manifest.v1+json",
        "application/vnd.cncf.oras.artifact.manifest.v1+json",
    }
)
# Digest tags of images: imgpkg gives one to each image that it copies.
_IMAGE_SUFFIXES = frozenset({"", ".imgpkg"})


def listed_artifact_type(child: Descriptor) -> str | None:
    """The artifact type in a descriptor; None for that of an image.

    Registries and tools copy the type of the config there (regclient#359).
    """
    if essence(child.artifact_type) in IMAGE_CONFIG_TYPES:
        return None
    return child.artifact_type


def child_kind(child: Descriptor) -> ContentKind | None:
    """What a child of an index is by its descriptor; None if its manifest decides."""
    if child.reference_type:
        return ContentKind.ATTACHMENT
    if child.platform is not None and not child.platform.is_real:
        return ContentKind.ATTACHMENT
    media_type = essence(child.media_type)
    if (media_type is None or media_type in MANIFEST_TYPES) and child.is_verifiable:
        return None
    if media_type in _ARTIFACT_MANIFESTS or listed_artifact_type(child) is not None:
        return ContentKind.ARTIFACT
    return ContentKind.UNKNOWN


def manifest_kind(
    manifest: ImageManifest | Schema1Manifest,
    platform: Platform | None,
    *,
    artifact_type: str | None = None,
) -> ContentKind:
    """What a manifest is.

    `platform` is what the index or the config states; `artifact_type` what the
    descriptor in the index states.
    """
    if isinstance(manifest, Schema1Manifest):
        return ContentKind.IMAGE
    has_platform = platform is not None and platform.is_real
    if manifest.has_image_config:
        if manifest.layers and all(
            is_attachment_type(layer.media_type) for layer in manifest.layers
        ):
            return ContentKind.ATTACHMENT
        declared = essence(manifest.artifact_type or artifact_type)
        if declared is None or declared in IMAGE_CONFIG_TYPES or has_platform:
            return ContentKind.IMAGE
    config_type = essence(manifest.config.media_type)
    if has_platform and (config_type is None or config_type in DEFAULTED_CONFIG_TYPES):
        return ContentKind.IMAGE  # a registry lost the type
    return ContentKind.ARTIFACT if manifest.subject is None else ContentKind.ATTACHMENT


def is_image(manifest: Manifest) -> bool:
    """Whether a manifest is not an index, and an image by itself."""
    return (
        not isinstance(manifest, ImageIndex)
        and manifest_kind(manifest, None) is ContentKind.IMAGE
    )


def referrers_of(index: ImageIndex) -> list[Descriptor]:
    """The referrers that a fallback tag lists.

    It can also name an index of images, which some tools keep under such a tag.
    """
    return [
        child
        for child in index.children
        if child.platform is None
        or listed_artifact_type(child) is not None
        or child_kind(child) is not None
    ]


def index_kind(
    children: Collection[ContentKind], *, subject: str | None
) -> ContentKind:
    """What an index is whose children are of these kinds."""
    for kind in (ContentKind.IMAGE, ContentKind.ARTIFACT, ContentKind.ATTACHMENT):
        if kind in children:
            is_attached = kind is ContentKind.ARTIFACT and subject is not None
            return ContentKind.ATTACHMENT if is_attached else kind
    return ContentKind.UNKNOWN


def tagged_kind(kind: ContentKind, tag: str | None) -> ContentKind:
    """What a tag names, if what it points to is of this kind."""
    suffix = None if tag is None else digest_tag_suffix(tag)
    if suffix is None or (kind is ContentKind.IMAGE and suffix in _IMAGE_SUFFIXES):
        return kind
    return ContentKind.ATTACHMENT
