"""Assembles an image from its manifest, the manifests of its children and configs.

`MetadataAssembler.assemble` is called for every reference and does the work once per
digest. An `_Assembly` walks one image: an index leads to its children, each manifest
gives a part (manifest_part.py). Children that are missing, or of a kind that cannot be
read, become warnings; any other failure fails the image.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

from auditor.audit.content_cache import ContentCache
from auditor.audit.image_metadata import (
    ImageMetadata,
    ImageOptions,
    present_digests,
    sort_attachments,
    supply_chain_status,
)
from auditor.audit.manifest_part import AssemblyNotes, Level, Part, PartReader, Parts
from auditor.audit.memory_sizes import (
    ATTACHMENTS_LEFT_OUT,
    MAX_ATTACHMENTS_BYTES,
    MAX_IMAGES_BYTES,
    MAX_RECORD_BYTES,
    MIB,
    attachment_json_bytes,
    mapping_json_bytes,
)
from auditor.audit.platform_records import (
    fold_alternatives,
    missing_platform,
    platform_of,
    with_base_of_index,
)
from auditor.config import AttachmentMode
from auditor.errors import Failure, FailureKind
from auditor.model import (
    Attachment,
    ChildManifest,
    ContentKind,
    PlatformRecord,
    WarningCode,
)
from auditor.oci.attachments import attachment_from_descriptor
from auditor.oci.content_kind import child_kind, index_kind, listed_artifact_type
from auditor.oci.descriptor import Descriptor
from auditor.oci.manifest import ImageIndex, VerifiedManifest
from auditor.oci.platform import normalize
from auditor.oci.schema1 import Schema1Manifest
from auditor.registry.client import Registry
from auditor.util.lru import Lru
from auditor.util.tasks import SingleFlight, bounded_gather
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


_WHOLE = Level(depth=0, max_bytes=MAX_RECORD_BYTES)


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
        self._child_count = 0
        self._listed: dict[str, Descriptor] = {}
        self._notes = AssemblyNotes(options)
        self._reader = PartReader(registry, repository, content, options, self._notes)

    async def metadata(self, verified: VerifiedManifest) -> ImageMetadata | Failure:
        manifest, notes = verified.manifest, self._notes
        if isinstance(manifest, ImageIndex):
            found = await self._children(manifest, _WHOLE.below)
        else:
            found = await self._reader.read(verified, None, _WHOLE)
        if isinstance(found, Failure):
            return found
        parts = found
        if isinstance(manifest, ImageIndex):
            parts = self._recorded(found)
        platforms = fold_alternatives([part.platform for part in parts])
        if notes.left_out and not platforms:
            names = ", ".join(sorted(set(notes.left_out.values())))
            notes.warn(
                WarningCode.NO_WANTED_PLATFORM,
                f"has no image for the requested platforms, only for {names}",
            )
        left_out = {digest for digest, _ in notes.left_out}
        # Sorted: children are fetched concurrently, and two runs must agree.
        attachments = sort_attachments(
            {one for one in self._attachments if one.subject not in left_out}
        )
        if self._options.attachments is AttachmentMode.NONE:
            attachments = ()
        elif self._attachments_bytes > MAX_ATTACHMENTS_BYTES:
            notes.warn(WarningCode.PARTS_LEFT_OUT, ATTACHMENTS_LEFT_OUT)
        artifact_type: str | None = None
        annotations: Mapping[str, str] = {}
        subject: str | None = None
        if not isinstance(manifest, Schema1Manifest):
            artifact_type, annotations = manifest.artifact_type, manifest.annotations
            subject = manifest.subject
            platforms = with_base_of_index(platforms, annotations)
        if (size := mapping_json_bytes(annotations)) > MAX_RECORD_BYTES:
            notes.warn(
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
            content=index_kind(notes.kinds, subject=subject),
            platforms=platforms,
            platforms_left_out=len({normalize(one) for _, one in notes.left_out}),
            attachments=attachments,
            annotations=annotations,
            subject=subject,
            manifest_size=verified.content_size,
            other_children=self._other_children(platforms, attachments),
            warnings=tuple(
                sorted(set(notes.warnings), key=lambda warn: (warn.code, warn.detail))
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

    def _recorded(self, parts: list[Part]) -> list[Part]:
        """The children in the record of an index.

        Beside images, artifacts are attachments. An index of artifacts alone, which can
        be one for each platform, is recorded like one of images. What the options left
        out unread was an image unless the others are artifacts for platforms.
        """
        notes = self._notes
        if notes.left_out and not any(
            part.kind is ContentKind.ARTIFACT and platform_of(part.platform).is_real
            for part in parts
        ):
            notes.kinds.add(ContentKind.IMAGE)
        if ContentKind.IMAGE not in notes.kinds:
            return [
                part
                for part in parts
                if notes.includes(part.platform.digest, platform_of(part.platform))
            ]
        for part in parts:
            if part.attachment is not None:
                self._attach(part.attachment)
        return [part for part in parts if part.attachment is None]

    async def _children(self, index: ImageIndex, level: Level) -> Parts:
        if level.depth > MAX_DEPTH:
            return _too_large(f"indexes are nested more than {MAX_DEPTH} levels deep")
        children = _distinct(index.children)
        self._child_count += len(children)
        if self._child_count > MAX_CHILDREN:
            return _too_large(f"the index has more than {MAX_CHILDREN} children")
        self._listed.update((child.digest, child) for child in children)
        included = [child for child in children if self._is_read(child)]
        parts: list[Part] = []
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
                or self._notes.includes(child.digest, child.platform)
            )
        if kind is not ContentKind.UNKNOWN:
            self._notes.kinds.add(kind)
            self._attach(attachment_from_descriptor(child, child.reference_digest))
        elif child.platform is None or self._notes.includes(
            child.digest, child.platform
        ):
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

    async def _assemble_children(
        self, children: list[Descriptor], level: Level
    ) -> list[Parts]:
        """The parts of each child. Cached children need no tasks."""
        results: list[Parts] = []
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
        if self._reader.wants_config(child.platform):
            return None
        return self._content.usable_manifest(
            self._registry.name, self._repository, child.digest
        )

    async def _fetch_child(self, child: Descriptor, level: Level) -> Parts:
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
        self._notes.warn(
            WarningCode.CHILD_MISSING,
            f"the registry does not have {child.digest}, which the index lists",
        )
        kind = ContentKind.IMAGE
        if listed_artifact_type(child) is not None:
            kind = ContentKind.ARTIFACT
        elif child.platform is None:
            kind = ContentKind.UNKNOWN
        self._notes.kinds.add(kind)
        attachment = None
        if kind is ContentKind.ARTIFACT:
            attachment = attachment_from_descriptor(child, None)
        platform = missing_platform(child)
        return [Part(kind=kind, platform=platform, attachment=attachment)]

    def _unsupported(self, child: Descriptor, problem: str) -> None:
        """Note a child that cannot be read and is left out of the record."""
        self._notes.kinds.add(ContentKind.UNKNOWN)
        self._notes.warn(
            WarningCode.CHILD_UNSUPPORTED,
            f"left out {child.digest}, which the index lists: {problem}",
        )

    async def _assemble(
        self, child: Descriptor, verified: VerifiedManifest, level: Level
    ) -> Parts:
        self._notes.warnings.extend(verified.warnings)
        if child.size != verified.size and not isinstance(
            verified.manifest, Schema1Manifest
        ):
            self._notes.warn(
                WarningCode.CHILD_SIZE_DIFFERS,
                f"{child.digest} has {verified.size} bytes, but {child.size} in the"
                " index",
            )
        if isinstance(verified.manifest, ImageIndex):
            return await self._children(verified.manifest, level.below)
        parts = await self._reader.read(verified, child, level)
        if isinstance(parts, Failure):
            return _of_child(child, parts)
        return parts


def _distinct(children: Sequence[Descriptor]) -> Collection[Descriptor]:
    """Children by digest and platform; the last duplicate is kept."""
    if len({child.digest for child in children}) == len(children):
        return children  # the usual case
    return {(child.digest, child.platform): child for child in children}.values()


def _too_large(detail: str) -> Failure:
    return Failure(kind=FailureKind.TOO_LARGE, detail=detail)


def _of_child(child: Descriptor, failure: Failure) -> Failure:
    return replace(failure, detail=f"child {child.digest}: {failure.detail}")
