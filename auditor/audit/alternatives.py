"""Platforms that an index offers in several formats, as one platform each. Pure.

To migrate to zstd, an index lists each platform with gzip and with zstd
(`podman manifest push --add-compression`); for lazy pulling it lists each also with
layers that are no tar archives (nydus-snapshotter docs/index_detection.md). Clients
that prefer another format search for it (containers/image#1789); all others pull the
first child for their platform, as image-spec image-index.md leaves open and
konflux-ci/architecture#357 relies on. So the first one is the platform, and what
follows in another format is an alternative.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

from auditor.model import Alternative, LayerTrait, PlatformRecord
from auditor.oci.descriptor import essence
from auditor.oci.platform import Platform, normalize

# Traits of layers, and media types of layers that are no tar archives.
_Format = frozenset[str]


def fold_alternatives(
    platforms: Sequence[PlatformRecord],
) -> tuple[PlatformRecord, ...]:
    """The platforms in order, with their alternatives in them.

    Children for the same platform in the same format remain separate platforms: nothing
    says what they are.
    """
    formats = {platform.digest: _format(platform) for platform in platforms}
    if len(set(formats.values())) < 2:
        return tuple(platforms)  # the usual case: gzip only
    chosen: list[PlatformRecord] = []
    alternatives: dict[int, list[Alternative]] = {}
    first: dict[Platform, int] = {}
    for platform in platforms:
        key = platform_of(platform)
        index = first.setdefault(normalize(key), len(chosen))
        if (
            index < len(chosen)
            and key.is_real
            and platform.layers is not None
            and chosen[index].layers is not None
            and formats[platform.digest] != formats[chosen[index].digest]
        ):
            alternatives.setdefault(index, []).append(_alternative(platform))
        else:
            chosen.append(platform)
    return tuple(
        replace(platform, alternatives=tuple(alternatives[index]))
        if index in alternatives
        else platform
        for index, platform in enumerate(chosen)
    )


def platform_of(record: PlatformRecord) -> Platform:
    """The platform of a record."""
    return Platform(
        os=record.os,
        architecture=record.architecture,
        variant=record.variant,
        os_version=record.os_version,
    )


def _format(platform: PlatformRecord) -> _Format:
    types = {layer.media_type or "" for layer in platform.layers or ()}
    return frozenset(
        (*platform.layer_traits, *(name for name in types if _is_other_format(name)))
    ) - {LayerTrait.NON_DISTRIBUTABLE}


@functools.lru_cache(maxsize=256)  # few are in use; a hostile registry can send many
def _is_other_format(media_type: str) -> bool:
    """Whether this is a vendor's type of layers, such as Nydus's or that of EROFS."""
    name = essence(media_type) or ""
    return name.startswith("application/vnd.") and ".tar" not in name


def _alternative(platform: PlatformRecord) -> Alternative:
    return Alternative(
        digest=platform.digest,
        media_type=platform.media_type,
        config_digest=platform.config_digest,
        size=platform.size,
        layers=platform.layers or (),
        layer_traits=platform.layer_traits,
        manifest_size=platform.manifest_size,
        config_size=platform.config_size,
    )
