"""The values that the generators return, and how their JSON is put together.

OCI image spec 1.1: descriptor, manifest, index; distribution's digest grammar.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import Enum
from typing import Any, TypeVar

import orjson

from auditor.fast_dataclass import dataclass
from auditor.model import Layer
from auditor.sandbox.truth import Truth


class Family(Enum):
    """Which standard's media types: index, manifest, config, layer."""

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
    """A manifest's bytes as served. `payload` is what its digest is over.

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
class Blob:
    """A config (or another small blob) and its digest."""

    digest: str
    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image: its manifests (children first, `root` last), configs, and truth."""

    manifests: tuple[BuiltManifest, ...]
    blobs: tuple[Blob, ...]
    truth: Truth

    @property
    def root(self) -> BuiltManifest:
        """The manifest that a tag points to."""
        return self.manifests[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An image in a repository, under tags (none: reachable by digest only)."""

    repository: str
    tags: tuple[str, ...]
    image: BuiltImage


def sha256(content: bytes) -> str:
    """The digest `sha256:<hex>` of bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def json_blob(document: Mapping[str, Any], media_type: str) -> Blob:
    """A blob that holds a JSON document."""
    content = orjson.dumps(document)
    return Blob(digest=sha256(content), content=content, media_type=media_type)


def json_manifest(
    document: Mapping[str, Any],
    *,
    media_type: str,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str | None = None,
    subject: str | None = None,
) -> BuiltManifest:
    """A manifest of `schemaVersion` 2 that holds this document.

    `artifact_type` and `subject` are what the referrers API tells of it; a document
    that shall say them itself holds them.
    """
    whole = {"schemaVersion": 2, "mediaType": media_type, **document}
    if annotations:
        whole["annotations"] = dict(annotations)
    raw = orjson.dumps(whole, option=orjson.OPT_INDENT_2)
    return BuiltManifest(
        raw=raw,
        payload=raw,
        digest=sha256(raw),
        media_type=media_type,
        artifact_type=artifact_type,
        subject=subject,
        annotations=dict(annotations or {}),
    )


def blob_descriptor(blob: Blob) -> dict[str, Any]:
    """The OCI descriptor of a blob."""
    return {
        "mediaType": blob.media_type,
        "digest": blob.digest,
        "size": len(blob.content),
    }


def manifest_descriptor(manifest: BuiltManifest) -> dict[str, Any]:
    """The OCI descriptor of a manifest; its size is that of the digested bytes."""
    return {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": len(manifest.payload),
    }


def layer_descriptor(layer: Layer) -> dict[str, Any]:
    """The OCI descriptor of a layer."""
    return {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}


_Part = TypeVar("_Part", Blob, BuiltManifest)


def distinct(parts: Iterable[_Part]) -> tuple[_Part, ...]:
    """Each digest once, at its first place."""
    return tuple({part.digest: part for part in reversed(list(parts))}.values())[::-1]
