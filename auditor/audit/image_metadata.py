"""The manifests and configs of an image as parts of its record. Pure.

`ImageOptions` selects what a run includes in each record. `ImageMetadata` has the parts
of an image record that depend on the digest alone. assemble.py builds it from the
functions here and in platform_records.py.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from typing import TYPE_CHECKING

from auditor.audit.memory_sizes import children_bytes, image_bytes
from auditor.audit.platform_records import distinct_size
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
    ChildManifest,
    ContentKind,
    Layer,
    PlatformRecord,
    Warn,
    WarningCode,
)
from auditor.oci.attachments import Evidence, evidence_of
from auditor.oci.manifest import ImageManifest
from auditor.oci.platform import Platform, parse_platform, platform_text, same_platform
from auditor.oci.schema1 import Schema1Manifest
from auditor.util.text import format_count

if TYPE_CHECKING:
    from auditor.config.signature_policy import SignaturePolicy

# Bytes of the names and values of one platform's labels in a record. A label is a line
# of text; Kubernetes allows all annotations of an object four times as much.
MAX_LABELS_BYTES = 64 * 1024


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


# -- One manifest ------------------------------------------------------------------


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
