"""What a manifest says of an image, put together from its parts. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from fnmatch import translate

from auditor.config import AttachmentMode, ImageConfigMode, Settings
from auditor.fast_dataclass import dataclass
from auditor.model import (
    Attachment,
    BaseImage,
    ConfigDetails,
    Layer,
    LayerTrait,
    PlatformRecord,
    Warn,
    WarningCode,
)
from auditor.oci.attachments import Evidence, attachment_from_descriptor, evidence_of
from auditor.oci.descriptor import MAX_SIZE, Descriptor
from auditor.oci.image_config import ImageConfig, layer_traits
from auditor.oci.manifest import ImageManifest, VerifiedManifest
from auditor.oci.platform import Platform, parse_platform, same_platform
from auditor.oci.schema1 import Schema1Manifest

# -- answers --
# Signed, has an SBOM, has provenance: asked of what is attached. Pure.


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplyChainStatus:
    """True or false where it is known; null where it was not looked everywhere."""

    signed: bool | None = None
    has_sbom: bool | None = None
    has_provenance: bool | None = None


UNKNOWN = SupplyChainStatus()


def at_mirror(answers: SupplyChainStatus) -> SupplyChainStatus:
    """The answers where the image came from a mirror: what is there, is there.

    A cache holds what was pulled through it, and many have no referrers: what is not
    there may well be at the registry.
    """
    return SupplyChainStatus(
        signed=answers.signed or None,
        has_sbom=answers.has_sbom or None,
        has_provenance=answers.has_provenance or None,
    )


def supply_chain_status(
    digest: str,
    platforms: Collection[str],
    attachments: Sequence[Attachment],
    *,
    everywhere: bool,
) -> SupplyChainStatus:
    """The answers for the image `digest` with the platforms of these digests.

    An image has what is attached to itself, or to each of its platforms: cosign and
    notation sign what a tag names, BuildKit attests each platform. `everywhere`: all
    that is attached is among `attachments`.
    """
    if not attachments and not everywhere:
        return UNKNOWN
    sure: dict[Evidence, set[str]] = {claim: set() for claim in Evidence}
    possible: dict[Evidence, set[str]] = {claim: set() for claim in Evidence}
    for attachment in attachments:
        # What an index holds without saying of what is about all of it.
        subject = attachment.subject or digest
        claims = evidence_of(attachment)
        for claim in claims.sure:
            sure[claim].add(subject)
        for claim in claims.possible:
            possible[claim].add(subject)

    def answer(claim: Evidence) -> bool | None:
        if _covers(sure[claim], digest, platforms):
            return True
        if not everywhere or _covers(sure[claim] | possible[claim], digest, platforms):
            return None
        return False

    return SupplyChainStatus(
        signed=answer(Evidence.SIGNATURE),
        has_sbom=answer(Evidence.SBOM),
        has_provenance=answer(Evidence.PROVENANCE),
    )


def _covers(subjects: set[str], digest: str, platforms: Collection[str]) -> bool:
    return digest in subjects or (bool(platforms) and subjects.issuperset(platforms))


_BASE_NAME = "org.opencontainers.image.base.name"
_BASE = "org.opencontainers.image.base.digest"
UNKNOWN_PLATFORM = Platform(os=None, architecture=None, variant=None, os_version=None)


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A layer or config as a manifest names it; `size` is bytes, null if unsaid."""

    digest: str
    size: int | None
    what: str


@dataclass(frozen=True, kw_only=True)
class ImageMetadata:
    """Everything of an image record that its digest alone decides.

    Every tag of the digest asks for all of it, so what is computed is computed once.

    `blobs` are what the registry should have, if they are to be verified; layers to
    be had from URLs of their own are not among them.
    """

    digest: str
    media_type: str
    schema_version: int
    artifact_type: str | None
    platforms: tuple[PlatformRecord, ...]
    platforms_left_out: int
    attachments: tuple[Attachment, ...]
    annotations: Mapping[str, str]
    warnings: tuple[Warn, ...]
    blobs: frozenset[NamedBlob] = frozenset()
    # What the attachments above answer, as far as they do.
    answers: SupplyChainStatus = UNKNOWN

    # `os/architecture[/variant]` of what is really there, sorted, unique.
    architectures: tuple[str, ...] = field(init=False, compare=False)
    # Compressed bytes of the distinct layers of all platforms.
    size: int | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "architectures", _architectures(self.platforms))
        object.__setattr__(self, "size", _size(self.platforms))


def _architectures(platforms: Iterable[PlatformRecord]) -> tuple[str, ...]:
    names = {
        platform_name(platform)
        for platform in platforms
        if platform.layers is not None and platform.architecture != "unknown"
    }
    return tuple(sorted(name for name in names if name is not None))


def _size(platforms: Iterable[PlatformRecord]) -> int | None:
    layers: list[Layer] = []
    for platform in platforms:
        if platform.layers is None:
            return None
        layers += platform.layers
    return distinct_size(layers)


def present(platforms: Iterable[PlatformRecord]) -> set[str]:
    """The digests of those that are there."""
    return {one.digest for one in platforms if one.layers is not None}


def platform_name(platform: PlatformRecord | Platform) -> str | None:
    """`os/architecture[/variant]`, or null where one of the two is not known."""
    if not platform.os or not platform.architecture:
        return None
    name = f"{platform.os}/{platform.architecture}"
    return f"{name}/{platform.variant}" if platform.variant else name


def distinct_size(layers: Iterable[Layer]) -> int | None:
    """The sum over distinct digests; null as soon as one size is not known, and where
    the sizes add up to more than an int64: then they are not true."""
    sizes: dict[str, int] = {}
    for layer in layers:
        if layer.size is None:
            return None
        sizes[layer.digest] = layer.size
    total = sum(sizes.values())
    return total if total <= MAX_SIZE else None


def image_platform(
    document: VerifiedManifest,
    manifest: ImageManifest,
    spec: Platform,
    config: ImageConfig | None,
    labels: Mapping[str, str] | None = None,
) -> PlatformRecord:
    """The platform entry of an OCI or Docker v2 manifest.

    `labels` are those of its config that were asked for, null where none were.
    """
    layers = tuple(
        [
            _layer(layer.digest, layer.size, layer.media_type)
            for layer in manifest.layers
        ]
    )
    return PlatformRecord(
        os=spec.os,
        architecture=spec.architecture,
        variant=spec.variant,
        os_version=spec.os_version,
        digest=document.digest,
        media_type=document.media_type,
        config_digest=manifest.config.digest,
        created=config.created if config else None,
        config=ConfigDetails(
            user=config.user,
            history=config.history_length,
            labels=None if labels is None else dict(labels),
        )
        if config
        else None,
        base=base_image(manifest.annotations, config.labels if config else {}),
        size=distinct_size(layers),
        layers=layers,
        layer_traits=_traits(manifest),
    )


# Images built on the same base share its layers: made once, some 300 bytes each.
@functools.lru_cache(maxsize=4096)
def _layer(digest: str, size: int, media_type: str | None) -> Layer:
    return Layer(digest=digest, size=size, media_type=media_type)


def _traits(manifest: ImageManifest) -> tuple[LayerTrait, ...]:
    found: set[LayerTrait] = set()
    plain: str | None = ""
    for layer in manifest.layers:
        if layer.media_type == plain and not layer.annotations:
            continue  # as the layer before it: in most images all are alike
        if traits := layer_traits(layer.media_type, layer.annotations):
            found |= traits
        else:
            plain = layer.media_type
    return tuple(sorted(found)) if found else ()


def base_image(
    annotations: Mapping[str, str], labels: Mapping[str, str]
) -> BaseImage | None:
    """What an image says it was built on (OCI image-spec annotations.md).

    Builders write it as annotations of the manifest, or as labels of the config.
    """
    if not annotations and not labels:
        return None
    name, digest = (
        annotations.get(key) or labels.get(key) or None for key in (_BASE_NAME, _BASE)
    )
    if name is None and digest is None:
        return None
    return BaseImage(name=name, digest=digest)


def schema1_platform(
    document: VerifiedManifest, manifest: Schema1Manifest
) -> PlatformRecord:
    """The platform entry of a schema 1 manifest: no sizes, no config."""
    return PlatformRecord(
        os=manifest.os,
        architecture=manifest.architecture,
        variant=manifest.variant,
        os_version=None,
        digest=document.digest,
        media_type=document.media_type,
        config_digest=None,
        created=manifest.created,
        config=None,
        base=None,
        size=None,
        layers=tuple(
            Layer(digest=digest, size=None, media_type=None)
            for digest in manifest.layers
        ),
        layer_traits=(),
    )


def missing_platform(child: Descriptor) -> PlatformRecord:
    """The entry of a platform that an index names and the registry does not have."""
    spec = child.platform or UNKNOWN_PLATFORM
    return PlatformRecord(
        os=spec.os,
        architecture=spec.architecture,
        variant=spec.variant,
        os_version=spec.os_version,
        digest=child.digest,
        media_type=child.media_type,
        config_digest=None,
        created=None,
        config=None,
        base=None,
        size=None,
        layers=None,
        layer_traits=(),
    )


def attachment_of(child: Descriptor) -> Attachment | None:
    """The attachment that a child of an index is, if it is no platform.

    BuildKit marks attestations by annotations; `unknown/unknown` is never a
    platform to run on.
    """
    subject = child.attests if child.annotations else None
    if subject is None and (child.platform is None or child.platform.is_real):
        return None
    return attachment_from_descriptor(child, subject or None)


def blobs_of(manifest: ImageManifest | Schema1Manifest) -> Iterator[NamedBlob]:
    """The blobs that the registry itself should have."""
    if isinstance(manifest, Schema1Manifest):
        for digest in manifest.layers:
            yield NamedBlob(digest, None, "layer")
        return
    yield NamedBlob(manifest.config.digest, manifest.config.size, "config")
    for layer in manifest.layers:
        if not layer.has_urls:
            yield NamedBlob(layer.digest, layer.size, "layer")


def layer_warnings(manifest: ImageManifest) -> list[Warn]:
    """Layers that point elsewhere: reported, never fetched."""
    return [
        Warn(
            code=WarningCode.FOREIGN_LAYER,
            detail=f"layer {layer.digest} is to be had from URLs of its own",
        )
        for layer in manifest.layers
        if layer.has_urls
    ]


def platform_warnings(digest: str, spec: Platform, config: ImageConfig) -> list[Warn]:
    """An index that describes a child otherwise than the child's own config."""
    own = config.platform
    if (spec.os, spec.architecture) == (own.os, own.architecture):
        return []
    return [
        Warn(
            code=WarningCode.PLATFORM_DIFFERS,
            detail=f"the index says {platform_name(spec)} of {digest}, its config"
            f" {platform_name(own)}",
        )
    ]


# -- wanted --
# What a run wants to know of each image: the options, ready for use.

# Of one platform. A label is a line of text; what holds more is a file in disguise.
# Kubernetes gives all annotations of an object four times as much.
MAX_LABELS_BYTES = 64 * 1024


class LabelPatterns:
    """Labels whose name matches a pattern: `*`, `?`, `[a-z]`, case counts."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        self._wanted = re.compile("|".join(map(translate, patterns)))

    def of(self, labels: Mapping[str, str]) -> tuple[dict[str, str], int]:
        """The wanted labels by name, and how many of them do not fit."""
        chosen: dict[str, str] = {}
        left_bytes, left_out = MAX_LABELS_BYTES, 0
        for name in sorted(filter(self._wanted.match, labels)):
            size = len(name.encode()) + len(labels[name].encode())
            if size > left_bytes:
                left_out += 1
                continue
            left_bytes -= size
            chosen[name] = labels[name]
        return chosen, left_out


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """What is wanted of an image. `platforms` are normalised; none means all.

    `labels` is null where none are wanted.
    """

    image_config: ImageConfigMode = ImageConfigMode.AUTO
    platforms: tuple[Platform, ...] = ()
    labels: LabelPatterns | None = None
    attachments: AttachmentMode = AttachmentMode.INDEX
    verify_blobs: bool = False

    @classmethod
    def of(cls, settings: Settings) -> ImageOptions:
        """What the settings say. The time of every image decides with `since`."""
        return cls(
            image_config=ImageConfigMode.ALWAYS
            if settings.since is not None
            else settings.image_config,
            platforms=tuple(map(parse_platform, settings.platforms)),
            labels=LabelPatterns(settings.labels) if settings.labels else None,
            attachments=settings.attachments,
            verify_blobs=settings.verify_blobs,
        )

    def platform(self, platform: Platform) -> bool:
        """Whether a platform is wanted."""
        return not self.platforms or any(
            same_platform(platform, wanted) for wanted in self.platforms
        )
