"""The references to read: all official images, or those of some repositories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.demo.demo_images import official_images, official_repositories
from auditor.demo.image_builder import PlacedImage
from tests.support.store import write_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """`names` are `repository:tag`; `paths` is the minimum of requests for all of them:
    each tag once, and each other manifest once."""

    images: tuple[PlacedImage, ...]
    names: tuple[str, ...]
    paths: tuple[str, ...]

    def store(self, root: Path) -> None:
        """Write the images below the root directory of a registry."""
        write_store(root, self.images)


def workload(repositories: Sequence[str] | None = None) -> Workload:
    """All official images, or those of some repositories."""
    images = tuple(official_images(repositories))
    names = tuple(f"{one.repository}:{tag}" for one in images for tag in one.tags)
    roots = {one.image.root.digest for one in images}
    children = {
        manifest.digest: one.repository
        for one in images
        for manifest in one.image.manifests
        if manifest.digest not in roots
    }
    paths = [
        f"/v2/{repository}/manifests/{tag}"
        for repository, _, tag in (name.rpartition(":") for name in names)
    ]
    paths += [f"/v2/{where}/manifests/{digest}" for digest, where in children.items()]
    return Workload(images=images, names=names, paths=tuple(paths))


def some_repositories(count: int) -> tuple[str, ...]:
    """`count` repositories, evenly spread over all of them."""
    every = official_repositories()
    return every[:: max(1, len(every) // count)][:count]
