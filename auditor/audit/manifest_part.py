"""The part of a record that one manifest gives: platform, config, labels and layers.

`PartReader.read` is called for each manifest that is not an index: the image itself, or
a child of its index. It fetches the config where the options need one. A config that
is missing or cannot be read becomes a warning; any other failure is returned.
"""

from __future__ import annotations

from dataclasses import replace

from auditor.audit.content_cache import ContentCache
from auditor.audit.image_metadata import (
    MAX_LABELS_BYTES,
    ImageOptions,
    NamedBlob,
    blobs_of,
    layer_warnings,
)
from auditor.audit.memory_sizes import MAX_RECORD_BYTES, MIB, bounded_platform
from auditor.audit.platform_records import (
    UNKNOWN_PLATFORM,
    image_platform,
    platform_warnings,
    schema1_platform,
    schema1_warnings,
)
from auditor.config import ImageConfigMode
from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.model import Attachment, ContentKind, PlatformRecord, Warn, WarningCode
from auditor.oci.attachments import attachment_from_manifest
from auditor.oci.content_kind import listed_artifact_type, manifest_kind
from auditor.oci.descriptor import Descriptor
from auditor.oci.image_config import ImageConfig
from auditor.oci.manifest import ImageManifest, VerifiedManifest
from auditor.oci.platform import Platform, platform_text
from auditor.oci.schema1 import Schema1Manifest
from auditor.registry.client import Registry
from auditor.util.text import format_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A level of nested indexes. `max_bytes`: the share of one manifest in the record.

    It depends on the number of children alone: the same in every run.
    """

    depth: int
    max_bytes: int

    @property
    def max_warnings(self) -> int:
        """The number of warnings about layers of one manifest: some 200 bytes each."""
        return max(1, self.max_bytes // 200)

    @property
    def below(self) -> Level:
        """The next level."""
        return replace(self, depth=self.depth + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A manifest that is not an index: the image itself, or a child of its index.

    `attachment` is what it is in an index that has images, unless it is one of them.
    """

    kind: ContentKind
    platform: PlatformRecord
    attachment: Attachment | None = None
    blobs: frozenset[NamedBlob] = frozenset()


Parts = list["Part"] | Failure


class AssemblyNotes:
    """What is found out about an image besides its parts.

    `kinds` are those of all children, also of those that are not in the record.
    `left_out`: platforms that the options leave out, digest and platform to its text.
    """

    def __init__(self, options: ImageOptions) -> None:
        self._options = options
        self.kinds: set[ContentKind] = set()
        self.left_out: dict[tuple[str, Platform], str] = {}
        self.warnings: list[Warn] = []

    def warn(self, code: WarningCode, detail: str) -> None:
        """Add a warning."""
        self.warnings.append(Warn(code=code, detail=detail))

    def includes(self, digest: str, platform: Platform) -> bool:
        """Whether the record includes a platform; remembers excluded platforms.

        A manifest without a known platform, such as an artifact, is always included.
        """
        if self._options.includes(platform) or not platform.is_real:
            return True
        text = platform_text(platform.os, platform.architecture, platform.variant)
        if text is None:
            return True
        self.left_out[digest, platform] = text
        return False


class PartReader:
    """Reads the parts of one image of one repository; what else it finds is noted."""

    def __init__(
        self,
        registry: Registry,
        repository: str,
        content: ContentCache,
        options: ImageOptions,
        notes: AssemblyNotes,
    ) -> None:
        self._registry = registry
        self._repository = repository
        self._content = content
        self._options = options
        self._notes = notes
        # Whether to fetch the configs of children whose platform the index states, and
        # all other configs. Compared with `==`: callers of the API may pass strings.
        mode = options.image_config
        self._config_of_described = mode == ImageConfigMode.ALWAYS or (
            mode == ImageConfigMode.AUTO and options.labels is not None
        )
        self._config_of_others = mode != ImageConfigMode.NEVER

    async def read(
        self, verified: VerifiedManifest, child: Descriptor | None, level: Level
    ) -> Parts:
        """The part of a manifest; empty if the options exclude its platform.

        `child` is its descriptor in the index, if it is in one.
        """
        manifest, notes = verified.manifest, self._notes
        if isinstance(manifest, Schema1Manifest):
            platform = Platform(
                os=manifest.os,
                architecture=manifest.architecture,
                variant=manifest.variant,
                os_version=None,
            )
            notes.kinds.add(ContentKind.IMAGE)
            if not notes.includes(verified.digest, platform):
                return []
            notes.warnings += schema1_warnings(verified.digest, platform)
            return [
                Part(
                    kind=ContentKind.IMAGE,
                    platform=self._bounded(schema1_platform(verified, manifest), level),
                    blobs=self._blobs(manifest),
                )
            ]
        assert isinstance(manifest, ImageManifest)
        described = None if child is None else child.platform
        config = None
        if manifest.has_image_config and self.wants_config(described):
            result = await self._config(manifest)
            if isinstance(result, Failure):
                return result
            config = result
        platform = described or (config.platform if config else UNKNOWN_PLATFORM)
        listed_type = None if child is None else listed_artifact_type(child)
        kind = manifest_kind(manifest, platform, artifact_type=listed_type)
        notes.kinds.add(kind)
        if kind is ContentKind.IMAGE:
            if not notes.includes(verified.digest, platform):
                return []
            notes.warnings += platform_warnings(verified.digest, described, config)
        notes.warnings.extend(
            layer_warnings(verified.digest, manifest, at_most=level.max_warnings)
        )
        labels = None
        if config is not None and self._options.labels is not None:
            labels, too_long = self._options.labels.select(config.labels)
            if too_long:
                notes.warn(
                    WarningCode.LABELS_LEFT_OUT,
                    f"{format_count(too_long, 'label')} of {verified.digest} left out:"
                    f" more than {MAX_LABELS_BYTES // 1024} KiB of labels",
                )
        attachment = None
        if kind is not ContentKind.IMAGE:
            attachment = attachment_from_manifest(
                verified.digest,
                manifest.subject,
                manifest,
                size=verified.content_size,
                listed_type=listed_type,
            )
        record = image_platform(verified, manifest, platform, config, labels)
        return [
            Part(
                kind=kind,
                platform=self._bounded(record, level),
                attachment=attachment,
                blobs=self._blobs(manifest),
            )
        ]

    def _bounded(self, platform: PlatformRecord, level: Level) -> PlatformRecord:
        platform, left_out = bounded_platform(platform, level.max_bytes)
        if left_out:
            self._notes.warn(
                WarningCode.PARTS_LEFT_OUT,
                f"{' and '.join(left_out)} of {platform.digest} left out: longer than"
                f" {level.max_bytes} bytes, its share of {MAX_RECORD_BYTES // MIB} MiB",
            )
        return platform

    def _blobs(self, manifest: ImageManifest | Schema1Manifest) -> frozenset[NamedBlob]:
        """The blobs to verify, if the options ask for it."""
        return frozenset(blobs_of(manifest) if self._options.verify_blobs else ())

    def wants_config(self, described: Platform | None) -> bool:
        """Whether the config is needed; `described`: the platform in the index."""
        return self._config_of_described if described else self._config_of_others

    async def _config(self, manifest: ImageManifest) -> ImageConfig | Failure | None:
        """The config of an image; None, with a warning, if it cannot be read."""
        digest = manifest.config.digest
        if not manifest.config.is_verifiable:
            problem = f"{digest.partition(':')[0]} digests are not supported"
        else:
            config = await self._content.config(
                self._registry, self._repository, digest
            )
            if isinstance(config, ImageConfig):
                if config.problem is None:
                    return config
                problem = config.problem
            elif config.kind is FailureKind.TOO_LARGE:
                problem = config.detail
            elif config.kind is FailureKind.NOT_FOUND:
                self._notes.warn(
                    WarningCode.CONFIG_MISSING,
                    f"the registry does not have the config {digest} of the manifest",
                )
                return None
            else:
                return config
        self._notes.warn(
            WarningCode.CONFIG_UNREADABLE,
            f"the config {digest} was not read: {problem}",
        )
        return None
