"""Assembles an image from its manifest, the manifests of its children and configs.

`MetadataAssembler.assemble` is called for every reference and does the work once per
digest. An `_Assembly` walks one image: an index leads to its children, a manifest to
its config where the options need one. Children and configs that are missing, or of a
kind that cannot be read, become warnings; any other failure fails the image.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

from auditor.audit.alternatives import fold_alternatives, platform_of
from auditor.audit.content_cache import ContentCache
from auditor.audit.image_metadata import (
    MAX_LABELS_BYTES,
    UNKNOWN_PLATFORM,
    ImageMetadata,
    ImageOptions,
    NamedBlob,
    blobs_of,
    image_platform,
    layer_warnings,
    missing_platform,
    platform_warnings,
    present_digests,
    schema1_platform,
    sort_attachments,
    supply_chain_status,
    with_base_of_index,
)
from auditor.audit.memory_sizes import (
    ATTACHMENTS_LEFT_OUT,
    MAX_ATTACHMENTS_BYTES,
    MAX_IMAGES_BYTES,
    MAX_RECORD_BYTES,
    MIB,
    attachment_json_bytes,
    bounded_platform,
    mapping_json_bytes,
)
from auditor.config import AttachmentMode, ImageConfigMode
from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.model import (
    Attachment,
    ChildManifest,
    ContentKind,
    PlatformRecord,
    Warn,
    WarningCode,
)
from auditor.oci.attachments import attachment_from_descriptor, attachment_from_manifest
from auditor.oci.content_kind import (
    child_kind,
    index_kind,
    listed_artifact_type,
    manifest_kind,
)
from auditor.oci.descriptor import Descriptor
from auditor.oci.image_config import ImageConfig
from auditor.oci.manifest import ImageIndex, ImageManifest, VerifiedManifest
from auditor.oci.platform import Platform, normalize, platform_text
from auditor.oci.schema1 import Schema1Manifest
from auditor.registry.client import Registry
from auditor.util.lru import Lru
from auditor.util.single_flight import SingleFlight, bounded_gather
from auditor.util.text import format_count

# Assembled images kept, so that the tags of one digest are assembled once. Some 10 KiB
# each for an index of eight platforms: 20 MiB.
MAX_IMAGES = 2048
# An index of indexes is rare, and nothing in use nests deeper than two.
MAX_DEPTH = 4
# 4 MiB, the size limit of a manifest, over some 400 bytes, the usual size of a
# descriptor with a platform and annotations.
MAX_CHILDREN = 10_000
# Children of one index fetched concurrently; the host's limit is the effective one.
CONCURRENT_CHILDREN = 16

# Warnings about the repository, not about the digest.
_REPOSITORY_WARNINGS = frozenset(
    {WarningCode.CHILD_MISSING, WarningCode.CONFIG_MISSING}
)

_ImageKey = tuple[str, str, str, str]  # registry, repository, digest, media type
_Parts = list["_Part"] | Failure


class MetadataAssembler:
    """Assembles the metadata of images, once per registry and digest."""

    def __init__(self, content: ContentCache, options: ImageOptions) -> None:
        self._content = content
        self._options = options
        self._images: Lru[_ImageKey, ImageMetadata] = Lru(MAX_IMAGES, MAX_IMAGES_BYTES)
        # Tags of one image follow each other, so that several arrive concurrently. By
        # repository: it may lack children that another repository has.
        self._flights: SingleFlight[tuple[_ImageKey, str], ImageMetadata | Failure] = (
            SingleFlight()
        )

    def cached(
        self, registry: Registry, repository: str, verified: VerifiedManifest
    ) -> ImageMetadata | None:
        """The metadata of an image that was assembled before."""
        return self._images.get(self._key(registry, repository, verified))

    def _key(
        self, registry: Registry, repository: str, verified: VerifiedManifest
    ) -> _ImageKey:
        place = repository if self._content.for_each_repository else ""
        return registry.name, place, verified.digest, verified.media_type

    async def assemble(
        self, registry: Registry, repository: str, verified: VerifiedManifest
    ) -> ImageMetadata | Failure:
        """Assemble the metadata of the image with this manifest, if not `cached`."""
        key = self._key(registry, repository, verified)

        async def assemble() -> ImageMetadata | Failure:
            assembly = _Assembly(registry, repository, self._content, self._options)
            metadata = await assembly.metadata(verified)
            if _is_complete(metadata):
                self._images.put(key, metadata, metadata.memory_bytes)
            return metadata

        return await self._flights.run(
            (key, repository), assemble, is_certain=_is_complete
        )


def _is_complete(metadata: ImageMetadata | Failure) -> TypeGuard[ImageMetadata]:
    """Whether no request of the assembly failed."""
    return isinstance(metadata, ImageMetadata) and not any(
        warning.code in _REPOSITORY_WARNINGS for warning in metadata.warnings
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
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
    def below(self) -> _Level:
        """The next level."""
        return replace(self, depth=self.depth + 1)


_WHOLE = _Level(depth=0, max_bytes=MAX_RECORD_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A manifest that is not an index: the image itself, or a child of its index.

    `attachment` is what it is in an index that has images, unless it is one of them.
    """

    kind: ContentKind
    platform: PlatformRecord
    attachment: Attachment | None = None
    blobs: frozenset[NamedBlob] = frozenset()


class _Assembly:
    """The assembly of one image of one repository; used once."""

    def __init__(
        self,
        registry: Registry,
        repository: str,
        content: ContentCache,
        options: ImageOptions,
    ) -> None:
        self._registry = registry
        self._repository = repository
        self._content = content
        self._options = options
        self._attachments: list[Attachment] = []
        self._attachments_bytes = 0
        self._warnings: list[Warn] = []
        # Platforms that the options leave out: digest and platform, to its text.
        self._left_out: dict[tuple[str, Platform], str] = {}
        self._child_count = 0
        # Of all children, also of those that are not in the record.
        self._kinds: set[ContentKind] = set()
        self._listed: dict[str, Descriptor] = {}
        # Whether to fetch the configs of children whose platform the index states, and
        # all other configs. Compared with `==`: callers of the API may pass strings.
        mode = options.image_config
        self._config_of_described = mode == ImageConfigMode.ALWAYS or (
            mode == ImageConfigMode.AUTO and options.labels is not None
        )
        self._config_of_others = mode != ImageConfigMode.NEVER

    async def metadata(self, verified: VerifiedManifest) -> ImageMetadata | Failure:
        manifest = verified.manifest
        if isinstance(manifest, ImageIndex):
            found = await self._children(manifest, _WHOLE.below)
        else:
            found = await self._part(verified, None, _WHOLE)
        if isinstance(found, Failure):
            return found
        parts = found
        if isinstance(manifest, ImageIndex):
            parts = self._recorded(found)
        platforms = fold_alternatives([part.platform for part in parts])
        if self._left_out and not platforms:
            names = ", ".join(sorted(set(self._left_out.values())))
            self._warn(
                WarningCode.NO_WANTED_PLATFORM,
                f"has no image for the requested platforms, only for {names}",
            )
        left_out = {digest for digest, _ in self._left_out}
        # Sorted: children are fetched concurrently, and two runs must agree.
        attachments = sort_attachments(
            {one for one in self._attachments if one.subject not in left_out}
        )
        if self._options.attachments is AttachmentMode.NONE:
            attachments = ()
        elif self._attachments_bytes > MAX_ATTACHMENTS_BYTES:
            self._warn(WarningCode.PARTS_LEFT_OUT, ATTACHMENTS_LEFT_OUT)
        artifact_type: str | None = None
        annotations: Mapping[str, str] = {}
        subject: str | None = None
        if not isinstance(manifest, Schema1Manifest):
            artifact_type, annotations = manifest.artifact_type, manifest.annotations
            subject = manifest.subject
            platforms = with_base_of_index(platforms, annotations)
        if (size := mapping_json_bytes(annotations)) > MAX_RECORD_BYTES:
            self._warn(
                WarningCode.PARTS_LEFT_OUT,
                f"{format_count(len(annotations), 'annotation')} of {verified.digest}"
                f" left out: {size} bytes, more than {MAX_RECORD_BYTES // MIB} MiB",
            )
            annotations = {}
        return ImageMetadata(
            digest=verified.digest,
            media_type=verified.media_type,
            schema_version=1 if isinstance(manifest, Schema1Manifest) else 2,
            artifact_type=artifact_type,
            content=index_kind(self._kinds, subject=subject),
            platforms=platforms,
            platforms_left_out=len({normalize(one) for _, one in self._left_out}),
            attachments=attachments,
            annotations=annotations,
            subject=subject,
            manifest_size=verified.content_size,
            other_children=self._other_children(platforms, attachments),
            warnings=tuple(
                sorted(set(self._warnings), key=lambda warn: (warn.code, warn.detail))
            ),
            blobs=frozenset(blob for part in parts for blob in part.blobs),
            status=supply_chain_status(
                verified.digest,
                present_digests(platforms),
                attachments,
                is_complete=False,
            ),
        )

    def _other_children(
        self, platforms: Sequence[PlatformRecord], attachments: Sequence[Attachment]
    ) -> tuple[ChildManifest, ...]:
        """The children, of all levels, that nothing else in the record names."""
        if not self._listed:
            return ()
        named = {one.digest for one in attachments}
        for platform in platforms:
            named.add(platform.digest)
            named.update(one.digest for one in platform.alternatives)
        return tuple(
            ChildManifest(
                digest=digest,
                media_type=self._listed[digest].media_type,
                size=self._listed[digest].size,
            )
            for digest in sorted(self._listed.keys() - named)
        )

    def _recorded(self, parts: list[_Part]) -> list[_Part]:
        """The children in the record of an index.

        Beside images, artifacts are attachments. An index of artifacts alone, which can
        be one for each platform, is recorded like one of images. What the options left
        out unread was an image unless the others are artifacts for platforms.
        """
        if self._left_out and not any(
            part.kind is ContentKind.ARTIFACT and platform_of(part.platform).is_real
            for part in parts
        ):
            self._kinds.add(ContentKind.IMAGE)
        if ContentKind.IMAGE not in self._kinds:
            return [
                part
                for part in parts
                if self._includes(part.platform.digest, platform_of(part.platform))
            ]
        for part in parts:
            if part.attachment is not None:
                self._attach(part.attachment)
        return [part for part in parts if part.attachment is None]

    async def _children(self, index: ImageIndex, level: _Level) -> _Parts:
        if level.depth > MAX_DEPTH:
            return _too_large(f"indexes are nested more than {MAX_DEPTH} levels deep")
        children = _distinct(index.children)
        self._child_count += len(children)
        if self._child_count > MAX_CHILDREN:
            return _too_large(f"the index has more than {MAX_CHILDREN} children")
        self._listed.update((child.digest, child) for child in children)
        included = [child for child in children if self._is_read(child)]
        parts: list[_Part] = []
        level = replace(level, max_bytes=level.max_bytes // max(1, len(included)))
        for result in await self._assemble_children(included, level):
            if isinstance(result, Failure):
                return result
            parts += result
        if len({part.platform.digest for part in parts}) == len(parts):
            return parts  # the usual case: no duplicates
        # Digest and platform determine all other fields.
        return list(
            {
                (part.platform.digest, platform_of(part.platform)): part
                for part in parts
            }.values()
        )

    def _is_read(self, child: Descriptor) -> bool:
        """Whether the manifest of a child is needed; notes what the others are."""
        kind = child_kind(child)
        if kind is None:
            # The options select platforms of images; whether it is one is in doubt.
            return (
                child.platform is None
                or listed_artifact_type(child) is not None
                or self._includes(child.digest, child.platform)
            )
        if kind is not ContentKind.UNKNOWN:
            self._kinds.add(kind)
            self._attach(attachment_from_descriptor(child, child.reference_digest))
        elif child.platform is None or self._includes(child.digest, child.platform):
            problem = f"manifests of type {ascii(child.media_type)[:80]}"
            if not child.is_verifiable:
                problem = f"{child.digest.partition(':')[0]} digests"
            self._unsupported(child, f"{problem} are not supported")
        return False

    def _attach(self, attachment: Attachment) -> None:
        """Add an attachment; beyond the limit a record has none of them."""
        self._attachments_bytes += attachment_json_bytes(attachment)
        if self._attachments_bytes <= MAX_ATTACHMENTS_BYTES:
            self._attachments.append(replace(attachment, in_index=True))
        else:
            self._attachments.clear()

    def _includes(self, digest: str, platform: Platform) -> bool:
        """Whether the record includes a platform; remembers excluded platforms.

        A manifest without a known platform, such as an artifact, is always included.
        """
        if self._options.includes(platform) or not platform.is_real:
            return True
        text = platform_text(platform.os, platform.architecture, platform.variant)
        if text is None:
            return True
        self._left_out[digest, platform] = text
        return False

    async def _assemble_children(
        self, children: list[Descriptor], level: _Level
    ) -> list[_Parts]:
        """The parts of each child. Cached children need no tasks."""
        results: list[_Parts] = []
        for child in children:
            verified = self._cached(child)
            if verified is None:
                break
            results.append(await self._assemble(child, verified, level))
        missing = children[len(results) :]
        if missing:
            results += await bounded_gather(
                lambda child: self._fetch_child(child, level),
                missing,
                limit=CONCURRENT_CHILDREN,
            )
        return results

    def _cached(self, child: Descriptor) -> VerifiedManifest | None:
        """The manifest of a child, if that and its config need no request."""
        if self._wants_config(child.platform):
            return None
        return self._content.usable_manifest(
            self._registry.name, self._repository, child.digest
        )

    async def _fetch_child(self, child: Descriptor, level: _Level) -> _Parts:
        verified = await self._content.manifest(
            self._registry, self._repository, child.digest
        )
        if not isinstance(verified, Failure):
            return await self._assemble(child, verified, level)
        if verified.kind is FailureKind.UNSUPPORTED_MEDIA_TYPE:
            self._unsupported(child, verified.detail)
            return []
        if verified.kind is not FailureKind.NOT_FOUND:
            return _of_child(child, verified)
        self._warn(
            WarningCode.CHILD_MISSING,
            f"the registry does not have {child.digest}, which the index lists",
        )
        kind = ContentKind.IMAGE
        if listed_artifact_type(child) is not None:
            kind = ContentKind.ARTIFACT
        elif child.platform is None:
            kind = ContentKind.UNKNOWN
        self._kinds.add(kind)
        attachment = None
        if kind is ContentKind.ARTIFACT:
            attachment = attachment_from_descriptor(child, None)
        platform = missing_platform(child)
        return [_Part(kind=kind, platform=platform, attachment=attachment)]

    def _unsupported(self, child: Descriptor, problem: str) -> None:
        """Note a child that cannot be read and is left out of the record."""
        self._kinds.add(ContentKind.UNKNOWN)
        self._warn(
            WarningCode.CHILD_UNSUPPORTED,
            f"left out {child.digest}, which the index lists: {problem}",
        )

    async def _assemble(
        self, child: Descriptor, verified: VerifiedManifest, level: _Level
    ) -> _Parts:
        self._warnings.extend(verified.warnings)
        if isinstance(verified.manifest, ImageIndex):
            return await self._children(verified.manifest, level.below)
        parts = await self._part(verified, child, level)
        if isinstance(parts, Failure):
            return _of_child(child, parts)
        return parts

    async def _part(
        self, verified: VerifiedManifest, child: Descriptor | None, level: _Level
    ) -> _Parts:
        """The part of a manifest; empty if the options exclude its platform.

        `child` is its descriptor in the index, if it is in one.
        """
        manifest = verified.manifest
        if isinstance(manifest, Schema1Manifest):
            platform = Platform(
                os=manifest.os,
                architecture=manifest.architecture,
                variant=manifest.variant,
                os_version=None,
            )
            self._kinds.add(ContentKind.IMAGE)
            if not self._includes(verified.digest, platform):
                return []
            return [
                _Part(
                    kind=ContentKind.IMAGE,
                    platform=self._bounded(schema1_platform(verified, manifest), level),
                    blobs=self._blobs(manifest),
                )
            ]
        assert isinstance(manifest, ImageManifest)
        described = None if child is None else child.platform
        config = None
        if manifest.has_image_config and self._wants_config(described):
            result = await self._config(manifest)
            if isinstance(result, Failure):
                return result
            config = result
        platform = described or (config.platform if config else UNKNOWN_PLATFORM)
        listed_type = None if child is None else listed_artifact_type(child)
        kind = manifest_kind(manifest, platform, artifact_type=listed_type)
        self._kinds.add(kind)
        if kind is ContentKind.IMAGE:
            if not self._includes(verified.digest, platform):
                return []
            self._warnings += platform_warnings(verified.digest, described, config)
        self._warnings.extend(
            layer_warnings(verified.digest, manifest, at_most=level.max_warnings)
        )
        labels = None
        if config is not None and self._options.labels is not None:
            labels, too_long = self._options.labels.select(config.labels)
            if too_long:
                self._warn(
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
            _Part(
                kind=kind,
                platform=self._bounded(record, level),
                attachment=attachment,
                blobs=self._blobs(manifest),
            )
        ]

    def _bounded(self, platform: PlatformRecord, level: _Level) -> PlatformRecord:
        platform, left_out = bounded_platform(platform, level.max_bytes)
        if left_out:
            self._warn(
                WarningCode.PARTS_LEFT_OUT,
                f"{' and '.join(left_out)} of {platform.digest} left out: longer than"
                f" {level.max_bytes} bytes, its share of {MAX_RECORD_BYTES // MIB} MiB",
            )
        return platform

    def _blobs(self, manifest: ImageManifest | Schema1Manifest) -> frozenset[NamedBlob]:
        """The blobs to verify, if the options ask for it."""
        return frozenset(blobs_of(manifest) if self._options.verify_blobs else ())

    def _wants_config(self, described: Platform | None) -> bool:
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
                self._warn(
                    WarningCode.CONFIG_MISSING,
                    f"the registry does not have the config {digest} of the manifest",
                )
                return None
            else:
                return config
        self._warn(
            WarningCode.CONFIG_UNREADABLE,
            f"the config {digest} was not read: {problem}",
        )
        return None

    def _warn(self, code: WarningCode, detail: str) -> None:
        self._warnings.append(Warn(code=code, detail=detail))


def _distinct(children: Sequence[Descriptor]) -> Collection[Descriptor]:
    """Children by digest and platform; the last duplicate is kept."""
    if len({child.digest for child in children}) == len(children):
        return children  # the usual case
    return {(child.digest, child.platform): child for child in children}.values()


def _too_large(detail: str) -> Failure:
    return Failure(kind=FailureKind.TOO_LARGE, detail=detail)


def _of_child(child: Descriptor, failure: Failure) -> Failure:
    return replace(failure, detail=f"child {child.digest}: {failure.detail}")
