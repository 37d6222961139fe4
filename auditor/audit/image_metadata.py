"""The manifests and configs of an image as parts of its record. Pure.

`ImageOptions` selects what a run includes in each record. `ImageMetadata` has the parts
of an image record that depend on the digest alone. assemble.py builds it from the
functions here: platforms, warnings and blobs of one manifest.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from fnmatch import translate
from typing import TYPE_CHECKING

from auditor.audit.memory_sizes import children_bytes, image_bytes
from auditor.config import (
    AttachmentMode,
    ImageConfigMode,
    Settings,
    signature_policy_of,
)
from auditor.fast_dataclass import dataclass
from auditor.model import (
    Attachment,
    AttachmentKind,
    BaseImage,
    ChildManifest,
    ConfigDetails,
    ContentKind,
    Layer,
    LayerTrait,
    PlatformRecord,
    Warn,
    WarningCode,
)
from auditor.oci.attachments import Evidence, evidence_of
from auditor.oci.descriptor import MAX_SIZE, Descriptor
from auditor.oci.encoding import cut_name
from auditor.oci.image_config import ImageConfig, layer_traits
from auditor.oci.manifest import ImageManifest, VerifiedManifest
from auditor.oci.platform import (
    Platform,
    normalize,
    parse_platform,
    platform_text,
    same_platform,
)
from auditor.oci.schema1 import Schema1Manifest
from auditor.util.text import format_count

if TYPE_CHECKING:
    from auditor.config.signature_policy import SignaturePolicy

# Bytes of the names and values of one platform's labels in a record. A label is a line
# of text; Kubernetes allows all annotations of an object four times as much.
MAX_LABELS_BYTES = 64 * 1024
UNKNOWN_PLATFORM = Platform(os=None, architecture=None, variant=None, os_version=None)
# OCI image-spec, annotations.md: the base image.
_BASE_NAME = "org.opencontainers.image.base.name"
_BASE_DIGEST = "org.opencontainers.image.base.digest"


# -- Options -----------------------------------------------------------------------


class LabelPatterns:
    """Selects labels by patterns of their names: `*`, `?`, `[a-z]`, case-sensitive."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._matches = re.compile("|".join(map(translate, patterns))).match

    def select(self, labels: Mapping[str, str]) -> tuple[dict[str, str], int]:
        """The selected labels by name, and the number of those that are too long."""
        selected: dict[str, str] = {}
        left_bytes, too_long = MAX_LABELS_BYTES, 0
        for name in sorted(filter(self._matches, labels)):
            size = len(name.encode()) + len(labels[name].encode())
            if size > left_bytes:
                too_long += 1
                continue
            left_bytes -= size
            selected[name] = labels[name]
        return selected, too_long


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """What a run includes in the record of each image.

    `platforms` are normalised; empty means all. `labels` is None if none are wanted.
    """

    image_config: ImageConfigMode = ImageConfigMode.AUTO
    platforms: tuple[Platform, ...] = ()
    labels: LabelPatterns | None = None
    attachments: AttachmentMode = AttachmentMode.INDEX
    verify_blobs: bool = False
    signatures: SignaturePolicy | None = None

    @classmethod
    def of(
        cls, settings: Settings, signatures: SignaturePolicy | None = None
    ) -> ImageOptions:
        """The options of a run; `since` needs creation times, so all configs.

        `signatures` is the signature policy of the settings; if it is not given, it is
        read. Raises `ConfigError` if it cannot be used.
        """
        return cls(
            image_config=ImageConfigMode.ALWAYS
            if settings.since is not None
            else settings.image_config,
            platforms=tuple(map(parse_platform, settings.platforms)),
            labels=LabelPatterns(settings.labels) if settings.labels else None,
            attachments=settings.attachments,
            verify_blobs=settings.verify_blobs,
            signatures=signatures or signature_policy_of(settings),
        )

    def includes(self, platform: Platform) -> bool:
        """Whether the record includes a platform."""
        return not self.platforms or any(
            same_platform(platform, wanted) for wanted in self.platforms
        )


# -- Supply chain ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplyChainStatus:
    """Whether an image is signed, has an SBOM, has provenance; None if unknown."""

    signed: bool | None = None
    has_sbom: bool | None = None
    has_provenance: bool | None = None


UNKNOWN_STATUS = SupplyChainStatus()


def status_at_mirror(status: SupplyChainStatus) -> SupplyChainStatus:
    """The status of an image from a mirror: False becomes None.

    A pull-through cache contains only what clients have pulled, and many caches have no
    referrers API: a missing attachment may exist at the registry.
    """
    return SupplyChainStatus(
        signed=status.signed or None,
        has_sbom=status.has_sbom or None,
        has_provenance=status.has_provenance or None,
    )


def supply_chain_status(
    digest: str,
    platforms: Collection[str],
    attachments: Sequence[Attachment],
    *,
    is_complete: bool,
) -> SupplyChainStatus:
    """The status of the image `digest` with the platforms of these digests.

    An attachment counts if it is attached to the image itself, or to each of its
    platforms: cosign and notation sign what a tag names, BuildKit attests each
    platform. `is_complete`: `attachments` contains all attachments.
    """
    if not attachments and not is_complete:
        return UNKNOWN_STATUS
    certain: dict[Evidence, set[str]] = {evidence: set() for evidence in Evidence}
    possible: dict[Evidence, set[str]] = {evidence: set() for evidence in Evidence}
    for attachment in attachments:
        # What an index lists without a subject is about the whole index, unless its
        # manifest was not read, which can name a subject, or it is an attestation: that
        # is one of a platform, and a tool has lost which.
        subject = attachment.subject or digest
        is_lost = (
            attachment.subject is None
            and len(platforms) > 1
            and (
                attachment.predicates is None
                or attachment.kind is AttachmentKind.ATTESTATION
            )
        )
        found = evidence_of(attachment)
        for evidence in () if is_lost else found.certain:
            certain[evidence].add(subject)
        for evidence in (*found.certain, *found.possible):
            possible[evidence].add(subject)

    def covers(subjects: set[str]) -> bool:
        return digest in subjects or (
            bool(platforms) and subjects.issuperset(platforms)
        )

    def status(evidence: Evidence) -> bool | None:
        if covers(certain[evidence]):
            return True
        return None if not is_complete or covers(possible[evidence]) else False

    return SupplyChainStatus(
        signed=status(Evidence.SIGNATURE),
        has_sbom=status(Evidence.SBOM),
        has_provenance=status(Evidence.PROVENANCE),
    )


def sort_attachments(attachments: Iterable[Attachment]) -> tuple[Attachment, ...]:
    """In the order of the record, which does not depend on that of the responses."""
    return tuple(
        sorted(attachments, key=lambda one: (one.digest, one.kind, one.subject or ""))
    )


# -- Image -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A layer or config in a manifest; `size` is bytes, None if not stated."""

    digest: str
    size: int | None
    kind: str


@dataclass(frozen=True, kw_only=True)
class ImageMetadata:
    """The parts of an image record that depend on its digest alone.

    `blobs` are those to verify, without layers that have URLs of their own. `status`
    follows from `attachments`, which are only those of the image's own index.
    """

    digest: str
    media_type: str
    schema_version: int
    artifact_type: str | None
    content: ContentKind
    platforms: tuple[PlatformRecord, ...]
    platforms_left_out: int
    attachments: tuple[Attachment, ...]
    annotations: Mapping[str, str]
    warnings: tuple[Warn, ...]
    subject: str | None = None
    manifest_size: int | None = None
    other_children: tuple[ChildManifest, ...] = ()
    blobs: frozenset[NamedBlob] = frozenset()
    status: SupplyChainStatus = UNKNOWN_STATUS

    @property
    def memory_bytes(self) -> int:
        """The memory that it takes, nearly."""
        return (
            300 * len(self.blobs)
            + image_bytes(
                self.platforms, self.annotations, self.attachments, self.warnings
            )
            + (children_bytes(self.other_children) if self.other_children else 0)
        )

    # Cached: every tag of the digest reads them.
    @functools.cached_property
    def architectures(self) -> tuple[str, ...]:
        """The architectures of the platforms that the registry has, sorted."""
        names = {
            platform_text(platform.os, platform.architecture, platform.variant)
            for platform in self.platforms
            if platform.is_present and platform.architecture != "unknown"
        }
        return tuple(sorted(filter(None, names)))

    @functools.cached_property
    def size(self) -> int | None:
        """The compressed bytes of the distinct layers of all platforms."""
        if not self.platforms and any(
            warn.code is WarningCode.CHILD_UNSUPPORTED for warn in self.warnings
        ):
            return None
        layers: list[Layer] = []
        for platform in self.platforms:
            if platform.layers is None:
                return platform.size if len(self.platforms) == 1 else None
            layers += platform.layers
        return distinct_size(layers)


def present_digests(platforms: Iterable[PlatformRecord]) -> set[str]:
    """The digests of the manifests that the registry has, one or more a platform."""
    return {
        digest
        for platform in platforms
        if platform.is_present
        for digest in (platform.digest, *(one.digest for one in platform.alternatives))
    }


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


# -- One manifest ------------------------------------------------------------------


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


def layer_warnings(digest: str, manifest: ImageManifest, *, at_most: int) -> list[Warn]:
    """Warnings about layers with URLs of their own, which are never fetched.

    If there are more than `at_most`, the last one counts the others.
    """
    foreign = [layer for layer in manifest.layers if layer.has_urls]
    named = foreign if len(foreign) <= at_most else foreign[: at_most - 1]
    details = [
        f"layer {layer.digest} is stored elsewhere: it has URLs of its own"
        for layer in named
    ]
    if more := len(foreign) - len(named):
        details.append(
            f"{format_count(more, 'more layer')} of {digest} are stored elsewhere"
        )
    return [Warn(code=WarningCode.FOREIGN_LAYER, detail=detail) for detail in details]


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
