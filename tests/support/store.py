"""Writes images into the storage of a real registry, without pushing them.

The layout of distribution's filesystem driver, 2.x and 3.x
(`registry/storage/paths.go`):

    docker/registry/v2/blobs/sha256/ab/abcd.../data
    docker/registry/v2/repositories/<name>/_manifests/revisions/sha256/abcd.../link
    docker/registry/v2/repositories/<name>/_manifests/tags/<tag>/current/link
    docker/registry/v2/repositories/<name>/_manifests/tags/<tag>/index/sha256/.../link
    docker/registry/v2/repositories/<name>/_layers/sha256/abcd.../link

Layers have no bytes and are not stored: the registry does not have their blobs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import field
from pathlib import Path

from auditor.demo.image_builder import PlacedImage
from auditor.fast_dataclass import dataclass


@dataclass(slots=True, kw_only=True)
class Stored:
    """Counts of distinct manifests and configs, tags and repositories written."""

    manifests: int = 0
    configs: int = 0
    tags: int = 0
    repositories: int = 0


def write_store(root: Path, images: Iterable[PlacedImage]) -> Stored:
    """Write images below `root`, the registry's `rootdirectory`.

    The images may come in any order. Existing files are overwritten. Raises OSError.
    """
    writer = _Writer(root / "docker" / "registry" / "v2")
    for placed in images:
        writer.place(placed)
    return writer.stored


@dataclass(slots=True)
class _Writer:
    root: Path
    stored: Stored = field(default_factory=Stored)
    _blobs: set[str] = field(default_factory=set)
    _repositories: set[str] = field(default_factory=set)

    def place(self, placed: PlacedImage) -> None:
        repository = f"{self.root}/repositories/{placed.repository}"
        if placed.repository not in self._repositories:
            self._repositories.add(placed.repository)
            self.stored.repositories += 1
            # The catalog of 2.8 lists directories that have this one, even empty.
            os.makedirs(f"{repository}/_layers", exist_ok=True)  # noqa: PTH103
        for manifest in placed.image.manifests:
            self.stored.manifests += self._blob(manifest.digest, manifest.payload)
            revision = f"{repository}/_manifests/revisions/{_path(manifest.digest)}"
            _link(revision, manifest.digest)
        for blob in placed.image.blobs:
            self.stored.configs += self._blob(blob.digest, blob.content)
            _link(f"{repository}/_layers/{_path(blob.digest)}", blob.digest)
        root = placed.image.root.digest
        for tag in placed.tags:
            self.stored.tags += 1
            _link(f"{repository}/_manifests/tags/{tag}/current", root)
            _link(f"{repository}/_manifests/tags/{tag}/index/{_path(root)}", root)

    def _blob(self, digest: str, content: bytes) -> bool:
        """Write a blob once; whether it was new."""
        if digest in self._blobs:
            return False
        self._blobs.add(digest)
        algorithm, _, encoded = digest.partition(":")
        _write(f"{self.root}/blobs/{algorithm}/{encoded[:2]}/{encoded}/data", content)
        return True


def _path(digest: str) -> str:
    return digest.replace(":", "/")


def _link(directory: str, digest: str) -> None:
    _write(f"{directory}/link", digest.encode())


def _write(path: str, content: bytes) -> None:
    # Strings, not Path: the whole workload is some 70,000 files.
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(content)
