"""What an in-memory registry holds: repositories of manifests, tags and blobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from auditor.fast_dataclass import dataclass
from auditor.sandbox.built import Blob, BuiltImage, BuiltManifest, Placed


@dataclass(slots=True)
class Repository:
    """One repository. Change its dictionaries freely: every request reads them."""

    manifests: dict[str, BuiltManifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, Blob] = field(default_factory=dict)
    # Layers have sizes here and no bytes.
    layer_sizes: dict[str, int] = field(default_factory=dict)

    def add(self, image: BuiltImage, tags: Iterable[str] = ()) -> BuiltImage:
        """Put an image here, under these tags; returns it."""
        self.manifests.update((one.digest, one) for one in image.manifests)
        self.blobs.update((one.digest, one) for one in image.blobs)
        self.tags.update(dict.fromkeys(tags, image.root.digest))
        self.layer_sizes.update(
            (layer.digest, layer.size or 0)
            for platform in image.truth.platforms
            for layer in platform.layers or ()
        )
        return image

    def find(self, reference: str) -> BuiltManifest | None:
        """The manifest of a tag or a digest."""
        return self.manifests.get(self.tags.get(reference, reference))

    def referrers(self, digest: str) -> list[BuiltManifest]:
        """The manifests whose subject is this digest, in the order they were added."""
        return [one for one in self.manifests.values() if one.subject == digest]


@dataclass(slots=True)
class Content:
    """Everything that one registry holds, by repository name."""

    repositories: dict[str, Repository] = field(default_factory=dict)

    @classmethod
    def of(cls, *sets: Iterable[Placed]) -> Content:
        """A registry that holds these images."""
        content = cls()
        for placed in sets:
            content.place(placed)
        return content

    def repository(self, name: str) -> Repository:
        """The repository of this name, made if it is new."""
        return self.repositories.setdefault(name, Repository())

    def add(self, repository: str, image: BuiltImage, *tags: str) -> BuiltImage:
        """Put an image into a repository, under tags; returns it."""
        return self.repository(repository).add(image, tags)

    def place(self, images: Iterable[Placed]) -> None:
        """Put many images into their repositories."""
        for one in images:
            self.add(one.repository, one.image, *one.tags)
