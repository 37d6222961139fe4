"""Platforms that an index offers in several compressions, as one platform each. Pure.

To migrate to zstd, an index lists each platform with gzip and with zstd
(`podman manifest push --add-compression`). Clients that prefer zstd search for it
(containers/image#1789); all others pull the first child for their platform, as
image-spec image-index.md leaves open and konflux-ci/architecture#357 relies on. So the
first one is the platform, and what follows in another compression is an alternative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from auditor.model import Alternative, LayerTrait, PlatformRecord
from auditor.oci.platform import Platform, normalize

_Compression = frozenset[LayerTrait]


def fold_alternatives(
    platforms: Sequence[PlatformRecord],
) -> tuple[PlatformRecord, ...]:
    """The platforms in order, with their alternatives in them.

    Children for the same platform in the same compression remain separate platforms:
    nothing says what they are.
    """
    if not any(platform.layer_traits for platform in platforms):
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
            and _compression(platform) != _compression(chosen[index])
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


def _compression(platform: PlatformRecord) -> _Compression:
    return frozenset(platform.layer_traits) - {LayerTrait.NON_DISTRIBUTABLE}


def _alternative(platform: PlatformRecord) -> Alternative:
    return Alternative(
        digest=platform.digest,
        media_type=platform.media_type,
        config_digest=platform.config_digest,
        size=platform.size,
        layers=platform.layers or (),
        layer_traits=platform.layer_traits,
    )
