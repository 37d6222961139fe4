"""The platforms of an image as records, from manifests and configs. Pure.

Platforms that an index offers in several formats are one platform each
(`fold_alternatives`). To migrate to zstd, an index lists each platform with gzip and
with zstd (`podman manifest push --add-compression`); for lazy pulling it lists each
also with layers that are no tar archives (nydus-snapshotter docs/index_detection.md).
Clients that prefer another format search for it (containers/image#1789); all others
pull the first child for their platform, as image-spec image-index.md leaves open and
konflux-ci/architecture#357 relies on. So the first one is the platform, and what
follows in another format is an alternative.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

from auditor.model import (
    Alternative,
    BaseImage,
    ConfigDetails,
    Layer,
    LayerTrait,
    PlatformRecord,
    Warn,
    WarningCode,
)
from auditor.oci.descriptor import MAX_SIZE, Descriptor, essence
from auditor.oci.image_config import ImageConfig, layer_traits
from auditor.oci.manifest import ImageManifest, VerifiedManifest
from auditor.oci.platform import Platform, normalize, platform_text
from auditor.oci.schema1 import Schema1Manifest
from auditor.oci.strict_json import cut_name

UNKNOWN_PLATFORM = Platform(os=None, architecture=None, variant=None, os_version=None)
# OCI image-spec, annotations.md: the base image.
_BASE_NAME = "org.opencontainers.image.base.name"
_BASE_DIGEST = "org.opencontainers.image.base.digest"


def distinct_size(layers: Iterable[Layer]) -> int | None:
    """The sum of the sizes of distinct layers in bytes.

    None if a size is unknown, or if the sum exceeds an int64, which no real size does.
    """
    sizes: dict[str, int] = {}
    for layer in layers:
        if layer.size is None:
            return None
        sizes[layer.digest] = layer.size
    total = sum(sizes.values())
    return total if total <= MAX_SIZE else None


def image_platform(
    verified: VerifiedManifest,
    manifest: ImageManifest,
    platform: Platform,
    config: ImageConfig | None,
    labels: Mapping[str, str] | None = None,
) -> PlatformRecord:
    """The platform of an OCI or Docker v2 manifest.

    `labels` are the selected labels of its config, None if none are wanted.
    """
    layers = tuple(
        [_layer(one.digest, one.size, one.media_type) for one in manifest.layers]
    )
    details = None
    if config is not None:
        details = ConfigDetails(
            user=config.user,
            history=config.history_length,
            labels=None if labels is None else dict(labels),
        )
    return PlatformRecord(
        os=platform.os,
        architecture=platform.architecture,
        variant=platform.variant,
        os_version=platform.os_version,
        digest=verified.digest,
        media_type=verified.media_type,
        config_digest=manifest.config.digest,
        created=config.created if config else None,
        config=details,
        base=base_image(manifest.annotations, config.labels if config else {}),
        size=distinct_size(layers),
        layers=layers,
        layer_traits=_traits(manifest),
        manifest_size=verified.size,
        config_size=manifest.config.size,
    )


# Images built on the same base share its layers: one object each, some 300 bytes.
@functools.lru_cache(maxsize=4096)
def _layer(digest: str, size: int, media_type: str | None) -> Layer:
    return Layer(digest=digest, size=size, media_type=media_type)


def _traits(manifest: ImageManifest) -> tuple[LayerTrait, ...]:
    found: set[LayerTrait] = set()
    plain_type: str | None = ""
    for layer in manifest.layers:
        if layer.media_type == plain_type and not layer.annotations:
            continue  # in most images all layers have the same type
        if traits := layer_traits(layer.media_type, layer.annotations):
            found |= traits
        else:
            plain_type = layer.media_type
    return tuple(sorted(found)) if found else ()


def base_image(
    annotations: Mapping[str, str], labels: Mapping[str, str]
) -> BaseImage | None:
    """The image that this one was built on, as its builder recorded it.

    Builders write it as annotations of the manifest, or as labels of the config.
    """
    if not annotations and not labels:
        return None
    name, digest = (
        annotations.get(key) or labels.get(key) or None
        for key in (_BASE_NAME, _BASE_DIGEST)
    )
    return BaseImage(name=name, digest=digest) if name or digest else None


def with_base_of_index(
    platforms: tuple[PlatformRecord, ...], annotations: Mapping[str, str]
) -> tuple[PlatformRecord, ...]:
    """The platforms, those that name no base with that of the index's annotations."""
    base = base_image(annotations, {})
    if base is None:
        return platforms
    # Cut: an index can have hundreds of platforms, and each names it in the record.
    base = BaseImage(
        name=None if base.name is None else cut_name(base.name),
        digest=None if base.digest is None else cut_name(base.digest),
    )
    return tuple(
        replace(one, base=base) if one.base is None and one.is_present else one
        for one in platforms
    )


def schema1_platform(
    verified: VerifiedManifest, manifest: Schema1Manifest
) -> PlatformRecord:
    """The platform of a schema 1 manifest, which has no sizes and no config."""
    return PlatformRecord(
        os=manifest.os,
        architecture=manifest.architecture,
        variant=manifest.variant,
        os_version=None,
        digest=verified.digest,
        media_type=verified.media_type,
        created=manifest.created,
        layers=tuple(
            Layer(digest=digest, size=None, media_type=None)
            for digest in manifest.layers
        ),
        manifest_size=verified.content_size,
    )


def missing_platform(child: Descriptor) -> PlatformRecord:
    """The platform of a child that the registry does not have."""
    return PlatformRecord(
        **asdict(child.platform or UNKNOWN_PLATFORM),
        digest=child.digest,
        media_type=child.media_type,
    )


def platform_warnings(
    digest: str, in_index: Platform | None, config: ImageConfig | None
) -> list[Warn]:
    """A warning if the platform of an image is unknown, or stated in two ways."""
    if in_index is not None:
        return [] if config is None else _difference(digest, in_index, config.platform)
    if config is None:
        problem = "no config was read"
    elif not config.platform.is_real:
        problem = f"its config has {_missing_fields(config.platform)}"
    else:
        return []
    detail = f"the platform of {digest} is unknown: no index states it, and {problem}"
    return [Warn(code=WarningCode.PLATFORM_UNKNOWN, detail=detail)]


def schema1_warnings(digest: str, platform: Platform) -> list[Warn]:
    """A warning if the platform of a schema 1 manifest is unknown."""
    if platform.is_real:
        return []
    missing = _missing_fields(platform)
    detail = f"the platform of {digest} is unknown: its history has {missing}"
    return [Warn(code=WarningCode.PLATFORM_UNKNOWN, detail=detail)]


def _difference(digest: str, in_index: Platform, in_config: Platform) -> list[Warn]:
    expected, found = normalize(in_index), normalize(in_config)
    if (expected.os, expected.architecture) == (found.os, found.architecture):
        return []
    index_text = platform_text(in_index.os, in_index.architecture, in_index.variant)
    config_text = platform_text(found.os, found.architecture, found.variant)
    words = (
        f"its config has {_missing_fields(found)}"
        if config_text is None
        else f"{config_text} in its config"
    )
    detail = f"{digest} is {index_text} in the index, but {words}"
    return [Warn(code=WarningCode.PLATFORM_DIFFERS, detail=detail)]


def _missing_fields(platform: Platform) -> str:
    """What a config lacks to state a platform: "no architecture"."""
    values = {"os": platform.os, "architecture": platform.architecture}
    missing = [f"no {name}" for name, value in values.items() if not value]
    return " and ".join(missing) or "an unknown platform"


# -- alternatives ----------------------------------------------------------------------

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
