"""What is in a store: its names, manifests and blobs.

An OCI layout (image-spec, image-layout.md) has the manifests themselves. An archive of
docker save has none: the manifest is made as containers/image makes it
(docker/internal/tarfile, `GetManifest`), of schema 2 with the uncompressed layers, so
that its digest is the one that `skopeo inspect docker-archive:` knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import orjson

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.descriptor import OCI_INDEX, Descriptor, is_digest, sha256_digest
from auditor.oci.manifest import ImageIndex, parse_manifest
from auditor.oci.reference import parse_reference
from auditor.oci.strict_json import parse_json
from auditor.registry.stores.store_files import (
    ArchiveFiles,
    StoreError,
    StoreFiles,
)
from auditor.util.text import safe_text

# OCI image-spec annotations.md, "Pre-Defined Annotation Keys".
_REF_NAME = "org.opencontainers.image.ref.name"
# Manifests of an index.json; each takes some 200 bytes there.
MAX_MANIFESTS = 100_000
_SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"
_SCHEMA2_CONFIG = "application/vnd.docker.container.image.v1+json"
_SCHEMA2_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedManifest:
    """A manifest that the store lists; `name` is None for one without a name."""

    name: str | None
    digest: str
    media_type: str | None


class Contents(Protocol):
    """The content of one store. Methods raise `StoreError`."""

    listed: tuple[NamedManifest, ...]

    def named(self, name: str) -> list[NamedManifest]:
        """The manifests of this name."""

    def read(self, digest: str, max_bytes: int) -> bytes | None:
        """A manifest or config, not verified; None if it does not exist."""

    def size(self, digest: str) -> int | None:
        """The bytes of a blob; None if it does not exist."""

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """The listed manifests that have this digest as their subject."""


class LayoutContents:
    """An OCI layout. Raises `StoreError` if it is none."""

    def __init__(self, files: StoreFiles, where: str, max_bytes: int) -> None:
        self._files = files
        self._max_bytes = max_bytes
        raw = files.read("index.json", max_bytes)
        if raw is None or files.size("oci-layout") is None:
            name = "index.json" if raw is None else "oci-layout"
            raise StoreError(
                f"{where}: not an OCI layout: it has no {name}", FailureKind.NOT_FOUND
            )
        try:
            index = parse_manifest(raw, OCI_INDEX)
        except ProtocolError as error:
            raise StoreError(
                f"{where}: index.json: {error.detail}", error.kind
            ) from None
        if not isinstance(index, ImageIndex) or len(index.children) > MAX_MANIFESTS:
            raise StoreError(
                f"{where}: index.json is not an image index of at most {MAX_MANIFESTS}"
                " manifests",
                FailureKind.PROTOCOL_VIOLATION,
            )
        self._children = index.children
        self._subjects: dict[str, list[Descriptor]] | None = None
        self.listed = tuple(
            NamedManifest(
                name=child.annotations.get(_REF_NAME) or None,
                digest=child.digest,
                media_type=child.media_type,
            )
            for child in index.children
        )

    def named(self, name: str) -> list[NamedManifest]:
        """See `Contents`."""
        return [one for one in self.listed if one.name == name]

    def read(self, digest: str, max_bytes: int) -> bytes | None:
        """See `Contents`."""
        path = _blob_path(digest)
        return None if path is None else self._files.read(path, max_bytes)

    def size(self, digest: str) -> int | None:
        """See `Contents`."""
        path = _blob_path(digest)
        return None if path is None else self._files.size(path)

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """See `Contents`."""
        if self._subjects is None:
            subjects: dict[str, list[Descriptor]] = {}
            for child in self._children:
                subject = self._subject(child)
                if subject is not None:
                    subjects.setdefault(subject, []).append(child)
            self._subjects = subjects
        return tuple(self._subjects.get(digest, ()))

    def _subject(self, child: Descriptor) -> str | None:
        try:
            raw = self.read(child.digest, self._max_bytes)
            manifest = None if raw is None else parse_manifest(raw, child.media_type)
        except (ProtocolError, StoreError):
            return None  # it fails by itself, if it is audited
        return getattr(manifest, "subject", None)


class DockerArchiveContents:
    """The images of docker save. Raises `StoreError` if it is no such archive."""

    def __init__(self, files: ArchiveFiles, where: str, max_bytes: int) -> None:
        self._files = files
        self._where = where
        self._documents: dict[str, bytes] = {}
        self._sizes: dict[str, int] = {}
        self._layer_sizes: dict[str, int] = {}
        raw = files.read("manifest.json", max_bytes)
        if raw is None:
            raise StoreError(
                f"{where}: not an archive of docker save: it has no manifest.json",
                FailureKind.NOT_FOUND,
            )
        try:
            images = parse_json(raw, "manifest.json")
            self.listed = tuple(
                named for image in images for named in self._image(image, max_bytes)
            )
        except ProtocolError as error:
            raise StoreError(f"{where}: {error.detail}", error.kind) from None
        except (TypeError, KeyError, AttributeError, IndexError):
            raise self._broken("manifest.json is not of docker save") from None

    def _image(
        self, image: dict[str, object], max_bytes: int
    ) -> Iterator[NamedManifest]:
        """The names of one image of manifest.json; keeps its manifest and config."""
        config_path, layers = str(image["Config"]), image["Layers"]
        config = self._files.read(config_path, max_bytes)
        if config is None:
            raise self._broken(f"it has no {safe_text(config_path, 100)}")
        document = parse_json(config, "the image config")
        diff_ids = document["rootfs"]["diff_ids"]
        if not isinstance(layers, list) or len(layers) != len(diff_ids):
            raise self._broken("the numbers of layers and of diff_ids differ")
        described = []
        for path, diff_id in zip(layers, diff_ids, strict=True):
            if not isinstance(diff_id, str) or not is_digest(diff_id):
                raise self._broken("a diff_id is no digest")
            size = self._layer_size(str(path))
            self._sizes[diff_id] = size
            described.append(
                {"mediaType": _SCHEMA2_LAYER, "size": size, "digest": diff_id}
            )
        digest = sha256_digest(config)
        manifest = orjson.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _SCHEMA2,
                "config": {
                    "mediaType": _SCHEMA2_CONFIG,
                    "size": len(config),
                    "digest": digest,
                },
                "layers": described,
            }
        )
        self._documents[digest] = config
        self._documents[sha256_digest(manifest)] = manifest
        names = image.get("RepoTags") or [None]
        if not isinstance(names, list):
            raise self._broken("RepoTags is no list")
        for name in names:
            yield NamedManifest(
                name=None if name is None else str(name),
                digest=sha256_digest(manifest),
                media_type=_SCHEMA2,
            )

    def _layer_size(self, path: str) -> int:
        """The uncompressed bytes of a layer."""
        if path not in self._layer_sizes:  # images share layers
            size = self._files.unpacked_size(path)
            if size is None:
                raise self._broken(f"it has no layer {safe_text(path, 100)}")
            self._layer_sizes[path] = size
        return self._layer_sizes[path]

    def _broken(self, reason: str) -> StoreError:
        return StoreError(f"{self._where}: {reason}", FailureKind.PROTOCOL_VIOLATION)

    def named(self, name: str) -> list[NamedManifest]:
        """See `Contents`. `alpine` is `docker.io/library/alpine:latest`."""
        wanted = _canonical(name)
        return [
            one for one in self.listed if one.name and _canonical(one.name) == wanted
        ]

    def read(self, digest: str, _max_bytes: int) -> bytes | None:
        """See `Contents`."""
        return self._documents.get(digest)

    def size(self, digest: str) -> int | None:
        """See `Contents`."""
        document = self._documents.get(digest)
        return self._sizes.get(digest) if document is None else len(document)

    def referrers(self, _digest: str) -> tuple[Descriptor, ...]:
        """See `Contents`: docker save keeps none."""
        return ()


def _canonical(name: str) -> str:
    try:
        return str(parse_reference(name))
    except ProtocolError:
        return name


def _blob_path(digest: str) -> str | None:
    """The path of a blob: the parts of a valid digest are safe in a path."""
    if not is_digest(digest):
        return None
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"
