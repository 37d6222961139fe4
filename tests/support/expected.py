"""What an audit must report of a built image (`ImageContent`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from auditor.demo.image_builder import ImageContent, total_size
from auditor.model import Layer

ImageConfig = Literal["auto", "always", "never"]


def expected_architectures(content: ImageContent) -> tuple[str, ...]:
    """`os/architecture[/variant]`, normalised, sorted and unique."""
    names = {
        "/".join(filter(None, (one.os, one.architecture, one.variant)))
        for one in content.platforms
        if one.os and one.architecture
    }
    return tuple(sorted({name.replace("/arm64/v8", "/arm64") for name in names}))


def expected_size(content: ImageContent) -> int | None:
    """Compressed bytes of the distinct layers of all platforms."""
    layers: list[Layer] = []
    for platform in content.platforms:
        if platform.layers is None:
            return None
        layers.extend(platform.layers)
    return total_size(layers)


def visible_content(content: ImageContent, image_config: ImageConfig) -> ImageContent:
    """The part of the content that an audit with this `--image-config` can see.

    A config is read for every platform (`always`), for a manifest that is not in an
    index (`auto`), or not at all (`never`). Schema 1 contains its own config.
    """
    if image_config == "always" or content.source in {"artifact", "schema1"}:
        return content
    if content.source == "index":
        hidden = [replace(one, created=None, config=None) for one in content.platforms]
    elif image_config == "auto":
        return content
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
            for one in content.platforms
        ]
    return replace(content, platforms=tuple(hidden))
