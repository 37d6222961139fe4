"""Assembles an image from its manifest, the manifests of its children and configs.

`MetadataAssembler.assemble` is called for every reference and does the work once per
digest. An `_Assembly` walks one image: an index leads to its children, a manifest to
its config where the options need one. Missing children and configs become warnings;
any other failure fails the image.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from auditor.audit.content_cache import ContentCache
from auditor.audit.image_metadata import (
    MAX_LABELS_BYTES,
    UNKNOWN_PLATFORM,
    ImageMetadata,
    ImageOptions,
    NamedBlob,
    blobs_of,
    child_attachment,
    image_platform,
    layer_warnings,
    missing_platform,
    platform_warnings,
    present_digests,
    schema1_platform,
    sort_attachments,
    supply_chain_status,
)
from auditor.config import AttachmentMode, ImageConfigMode
from auditor.errors import Failure, FailureKind
from auditor.model import (
    Attachment,
    ContentKind,
    PlatformRecord,
    Warn,
    WarningCode,
)
from auditor.oci.content_kind import index_kind, manifest_kind
from auditor.oci.descriptor import Descriptor
from auditor.oci.image_config import ImageConfig
from auditor.oci.manifest import ImageIndex, ImageManifest, VerifiedManifest
from auditor.oci.platform import Platform, platform_text
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

_ImageKey = tuple[str, str, str]  # registry, digest, media type
_Platforms = list[PlatformRecord] | Failure


class MetadataAssembler:
    """Assembles the metadata of images, once per registry and digest."""

    def __init__(self, content: ContentCache, options: ImageOptions) -> None:
        self._content = content
        self._options = options
        self._images: Lru[_ImageKey, ImageMetadata] = Lru(MAX_IMAGES)
        # Tags of one image follow each other, so that several arrive concurrently. By
        # repository: it may lack children that another repository has.
        self._flights: SingleFlight[tuple[_ImageKey, str], ImageMetadata | Failure] = (
            SingleFlight()
        )

    def cached(
        self, registry: Registry, verified: VerifiedManifest
    ) -> ImageMetadata | None:
        """The metadata of an image that was assembled before."""
        return self._images.get(_key(registry, verified))

    async def assemble(
        self, registry: Registry, repository: str, verified: VerifiedManifest
    ) -> ImageMetadata | Failure:
        """Assemble the metadata of the image with this manifest, if not `cached`."""
        key = _key(registry, verified)

        async def assemble() -> ImageMetadata | Failure:
            assembly = _Assembly(registry, repository, self._content, self._options)
            metadata = await assembly.metadata(verified)
            if isinstance(metadata, ImageMetadata) and not any(
                warning.code in _REPOSITORY_WARNINGS for warning in metadata.warnings
            ):
                self._images.put(key, metadata)
            return metadata

        return await self._flights.run((key, repository), assemble)


def _key(registry: Registry, verified: VerifiedManifest) -> _ImageKey:
    return registry.name, verified.digest, verified.media_type


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
        self._warnings: list[Warn] = []
        self._blobs: set[NamedBlob] = set()
        # Platforms that the options leave out: digest and platform, to its text.
        self._left_out: dict[tuple[str, Platform], str] = {}
        self._child_count = 0
        self._kinds: set[ContentKind] = set()
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
            found = await self._children(manifest, depth=1)
        else:
            found = await self._platform(verified, None)
        if isinstance(found, Failure):
            return found
        platforms = tuple(found)
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
        artifact_type: str | None = None
        annotations: Mapping[str, str] = {}
        subject: str | None = None
        if not isinstance(manifest, Schema1Manifest):
            artifact_type, annotations = manifest.artifact_type, manifest.annotations
            subject = manifest.subject
        return ImageMetadata(
            digest=verified.digest,
            media_type=verified.media_type,
            schema_version=1 if isinstance(manifest, Schema1Manifest) else 2,
            artifact_type=artifact_type,
            content=index_kind(self._kinds, subject=subject),
            platforms=platforms,
            platforms_left_out=len(self._left_out),
            attachments=attachments,
            annotations=annotations,
            warnings=tuple(
                sorted(set(self._warnings), key=lambda warn: (warn.code, warn.detail))
            ),
            blobs=frozenset(self._blobs),
            status=supply_chain_status(
                verified.digest,
                present_digests(platforms),
                attachments,
                is_complete=False,
            ),
        )

    async def _children(self, index: ImageIndex, *, depth: int) -> _Platforms:
        if depth > MAX_DEPTH:
            return _too_large(f"indexes are nested more than {MAX_DEPTH} levels deep")
        children = _distinct(index.children)
        self._child_count += len(children)
        if self._child_count > MAX_CHILDREN:
            return _too_large(f"the index has more than {MAX_CHILDREN} children")
        included = []
        for child in children:
            attachment = child_attachment(child)
            if attachment is not None:
                self._kinds.add(ContentKind.ATTACHMENT)
                if self._options.attachments is not AttachmentMode.NONE:
                    self._attachments.append(attachment)
            elif child.platform is None or self._includes(child.digest, child.platform):
                included.append(child)
        platforms: list[PlatformRecord] = []
        for result in await self._assemble_children(included, depth=depth):
            if isinstance(result, Failure):
                return result
            platforms += result
        if len({platform.digest for platform in platforms}) == len(platforms):
            return platforms  # the usual case: no duplicates
        # Digest and platform determine all other fields.
        return list(
            {
                (one.digest, one.os, one.architecture, one.variant, one.os_version): one
                for one in platforms
            }.values()
        )

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
        self._kinds.add(ContentKind.IMAGE)
        return False

    async def _assemble_children(
        self, children: list[Descriptor], *, depth: int
    ) -> list[_Platforms]:
        """The platforms of each child. Cached children need no tasks."""
        results: list[_Platforms] = []
        for child in children:
            verified = self._cached(child)
            if verified is None:
                break
            results.append(await self._assemble(child, verified, depth=depth))
        missing = children[len(results) :]
        if missing:
            results += await bounded_gather(
                lambda child: self._fetch_child(child, depth=depth),
                missing,
                limit=CONCURRENT_CHILDREN,
            )
        return results

    def _cached(self, child: Descriptor) -> VerifiedManifest | None:
        """The manifest of a child, if that and its config need no request."""
        if self._wants_config(child.platform):
            return None
        return self._content.fresh_manifest(self._registry.name, child.digest)

    async def _fetch_child(self, child: Descriptor, *, depth: int) -> _Platforms:
        verified = await self._content.manifest(
            self._registry, self._repository, child.digest
        )
        if isinstance(verified, Failure):
            if verified.kind is not FailureKind.NOT_FOUND:
                return _of_child(child, verified)
            self._warn(
                WarningCode.CHILD_MISSING,
                f"the registry does not have {child.digest}, which the index lists",
            )
            self._kinds.add(
                ContentKind.UNKNOWN if child.platform is None else ContentKind.IMAGE
            )
            return [missing_platform(child)]
        return await self._assemble(child, verified, depth=depth)

    async def _assemble(
        self, child: Descriptor, verified: VerifiedManifest, *, depth: int
    ) -> _Platforms:
        self._warnings.extend(verified.warnings)
        if isinstance(verified.manifest, ImageIndex):
            return await self._children(verified.manifest, depth=depth + 1)
        platforms = await self._platform(verified, child.platform)
        if isinstance(platforms, Failure):
            return _of_child(child, platforms)
        return platforms

    async def _platform(
        self, verified: VerifiedManifest, described: Platform | None
    ) -> _Platforms:
        """The platform of a manifest; empty if the options exclude it.

        `described` is its platform in the index.
        """
        manifest = verified.manifest
        if isinstance(manifest, Schema1Manifest):
            platform = Platform(
                os=manifest.os,
                architecture=manifest.architecture,
                variant=manifest.variant,
                os_version=None,
            )
            if not self._includes(verified.digest, platform):
                return []
            self._kinds.add(ContentKind.IMAGE)
            self._add_blobs(manifest)
            return [schema1_platform(verified, manifest)]
        assert isinstance(manifest, ImageManifest)
        config = None
        if manifest.has_image_config and self._wants_config(described):
            result = await self._config(manifest)
            if isinstance(result, Failure):
                return result
            config = result
        platform = described or (config.platform if config else UNKNOWN_PLATFORM)
        if described is None and not self._includes(verified.digest, platform):
            return []
        self._kinds.add(manifest_kind(manifest, platform))
        self._warnings.extend(layer_warnings(manifest))
        self._add_blobs(manifest)
        if described is not None and config is not None:
            self._warnings.extend(platform_warnings(verified.digest, described, config))
        if described is None and config is None and manifest.has_image_config:
            self._warn(
                WarningCode.PLATFORM_UNKNOWN,
                f"the platform of {verified.digest} is unknown: no index states it and"
                " no config was fetched",
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
        return [image_platform(verified, manifest, platform, config, labels)]

    def _add_blobs(self, manifest: ImageManifest | Schema1Manifest) -> None:
        if self._options.verify_blobs:
            self._blobs.update(blobs_of(manifest))

    def _wants_config(self, described: Platform | None) -> bool:
        return self._config_of_described if described else self._config_of_others

    async def _config(self, manifest: ImageManifest) -> ImageConfig | Failure | None:
        digest = manifest.config.digest
        config = await self._content.config(self._registry, self._repository, digest)
        if isinstance(config, Failure) and config.kind is FailureKind.NOT_FOUND:
            self._warn(
                WarningCode.CONFIG_MISSING,
                f"the registry does not have the config {digest} of the manifest",
            )
            return None
        return config

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
