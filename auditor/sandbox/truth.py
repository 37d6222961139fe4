"""What an audit must find in a generated image.

A `Truth` is filled in by the generator from its own inputs, never by reading a
manifest back, so that it can contradict the code that reads manifests. Its parts
are the report's value types (`auditor.records`), so that they compare with `==`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal

from auditor.fast_dataclass import dataclass
from auditor.model import Attachment, Layer, Platform

ImageConfig = Literal["auto", "always", "never"]


def total_size(layers: tuple[Layer, ...] | None) -> int | None:
    """Compressed bytes of the distinct layers; None where a size is not known."""
    if layers is None:
        return None
    sizes = {layer.digest: layer.size for layer in layers}
    total = 0
    for size in sizes.values():
        if size is None:
            return None
        total += size
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The expected content of one image, with everything its configs tell.

    `platforms` stand in the order of the index, nested indexes in place;
    `attachments` are sorted by digest. An artifact has one platform without os and
    architecture: its layers. `source` decides what can be seen without the configs.
    """

    digest: str
    media_type: str
    schema_version: int = 2
    artifact_type: str | None = None
    platforms: tuple[Platform, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    source: Literal["index", "manifest", "artifact", "schema1"] = "manifest"

    @property
    def architectures(self) -> tuple[str, ...]:
        """`os/architecture[/variant]`, sorted and unique."""
        return tuple(
            sorted(
                {
                    "/".join(filter(None, (one.os, one.architecture, one.variant)))
                    for one in self.platforms
                    if one.os and one.architecture
                }
            )
        )

    @property
    def size(self) -> int | None:
        """Compressed bytes of the distinct layers of all platforms."""
        layers: list[Layer] = []
        for platform in self.platforms:
            if platform.layers is None:
                return None
            layers.extend(platform.layers)
        return total_size(tuple(layers))

    def seen_with(self, image_config: ImageConfig) -> Truth:
        """The same truth as an audit with this `--image-config` can see it.

        A config is read for every platform (`always`), for a manifest that no index
        describes (`auto`), or not at all (`never`). Schema 1 holds its own config.
        """
        if image_config == "always" or self.source in {"artifact", "schema1"}:
            return self
        if self.source == "index":
            hidden = [replace(one, created=None, config=None) for one in self.platforms]
        elif image_config == "auto":
            return self
        else:
            hidden = [
                replace(
                    one,
                    os=None,
                    architecture=None,
                    variant=None,
                    os_version=None,
                    created=None,
                    config=None,
                )
                for one in self.platforms
            ]
        return replace(self, platforms=tuple(hidden))
