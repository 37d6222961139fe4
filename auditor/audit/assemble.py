"""One image, put together from its manifest, children and configs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from auditor.audit.content_cache import ContentCache
from auditor.audit.image_metadata import (
    UNKNOWN_PLATFORM,
    ImageMetadata,
    ImageOptions,
    NamedBlob,
    attachment_of,
    blobs_of,
    image_platform,
    layer_warnings,
    missing_platform,
    platform_name,
    platform_warnings,
    present,
    schema1_platform,
    supply_chain_status,
)
from auditor.config import AttachmentMode, ImageConfigMode
from auditor.errors import Failure, FailureKind
from auditor.model import Attachment, PlatformRecord, Warn, WarningCode
from auditor.oci.descriptor import Descriptor
from auditor.oci.image_config import ImageConfig
from auditor.oci.manifest import ImageIndex, ImageManifest, VerifiedManifest
from auditor.oci.platform import Platform
from auditor.oci.schema1 import Schema1Manifest
from auditor.registry.client import Registry
from auditor.util.single_flight import bounded_gather

# An index of indexes is rare, and nothing in use nests deeper than two.
MAX_DEPTH = 4
# 4 MiB, the size cap of a manifest, over some 400 bytes, the usual size of a
# descriptor with a platform and annotations.
MAX_CHILDREN = 10_000
# Children of one index asked for at once; the host's slots are the real limit.
CHILDREN_AT_ONCE = 16


class StoppedError(Exception):
    """Ends the assembly of an image with a failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class Assembly:
    """The assembly of one image of one repository; used once."""

    def __init__(
        self,
        registry: Registry,
        repository: str,
        content: ContentCache,
        wanted: ImageOptions,
    ) -> None:
        self._registry = registry
        self._repository = repository
        self._content = content
        self._wanted = wanted
        self._attachments: list[Attachment] = []
        self._warnings: list[Warn] = []
        self._blobs: set[NamedBlob] = set()
        # Platforms that are there and not wanted: their manifests' digests and names.
        self._left_out: dict[tuple[str, Platform], str] = {}
        self._count = 0
        # Whether configs are fetched: of manifests whose index says the platform, and
        # of others.
        mode = wanted.image_config
        always = mode == ImageConfigMode.ALWAYS  # equal, as a program may say a text
        self._config_of_described = always or (
            mode == ImageConfigMode.AUTO and wanted.labels is not None
        )
        self._config_of_others = mode != ImageConfigMode.NEVER

    async def facts(self, document: VerifiedManifest) -> ImageMetadata:
        """What `document` says of an image; raises `StoppedError`."""
        manifest = document.manifest
        platforms: tuple[PlatformRecord, ...]
        if isinstance(manifest, ImageIndex):
            platforms = tuple(await self._children(manifest, depth=1))
        else:
            platforms = tuple(await self._platform(document, None))
        if self._left_out and not platforms:
            names = ", ".join(sorted(set(self._left_out.values())))
            self._warn(
                WarningCode.NO_WANTED_PLATFORM,
                f"it is there for {names}, which was not asked for",
            )
        left_out = {digest for digest, _ in self._left_out}
        # Children are fetched at the same time: sorted, so that two runs agree.
        attachments = tuple(
            sorted(
                {one for one in self._attachments if one.subject not in left_out},
                key=lambda found: (found.digest, found.kind, found.subject or ""),
            )
        )
        schema1 = isinstance(manifest, Schema1Manifest)
        return ImageMetadata(
            digest=document.digest,
            media_type=document.media_type,
            schema_version=1 if schema1 else 2,
            artifact_type=None
            if isinstance(manifest, Schema1Manifest)
            else manifest.artifact_type,
            platforms=platforms,
            platforms_left_out=len(self._left_out),
            attachments=attachments,
            annotations={}
            if isinstance(manifest, Schema1Manifest)
            else manifest.annotations,
            warnings=tuple(
                sorted(set(self._warnings), key=lambda warn: (warn.code, warn.detail))
            ),
            blobs=frozenset(self._blobs),
            answers=supply_chain_status(
                document.digest, present(platforms), attachments, everywhere=False
            ),
        )

    async def _children(self, index: ImageIndex, *, depth: int) -> list[PlatformRecord]:
        if depth > MAX_DEPTH:
            raise StoppedError(
                _too_much(f"indexes are nested more than {MAX_DEPTH} deep")
            )
        children = _distinct(index.children)
        self._count += len(children)
        if self._count > MAX_CHILDREN:
            raise StoppedError(
                _too_much(f"the index has more than {MAX_CHILDREN} children")
            )
        wanted = []
        for child in children:
            attachment = attachment_of(child)
            if attachment is not None:
                if self._wanted.attachments is not AttachmentMode.NONE:
                    self._attachments.append(attachment)
            elif child.platform is None or self._wants(child.digest, child.platform):
                wanted.append(child)
        found = await self._assembled(wanted, depth=depth)
        platforms: list[PlatformRecord] = []
        for result in found:
            if isinstance(result, Failure):
                raise StoppedError(result)
            platforms += result
        if len({one.digest for one in platforms}) == len(platforms):
            return platforms  # as nearly always: none stands twice
        # Digest and platform decide everything else.
        kept: dict[object, PlatformRecord] = {}
        for one in platforms:
            key = (one.digest, one.os, one.architecture, one.variant, one.os_version)
            kept.setdefault(key, one)
        return list(kept.values())

    def _wants(self, digest: str, platform: Platform) -> bool:
        """Whether a platform goes into the record; keeps in mind what does not.

        What has no platform that is known, an artifact for example, does.
        """
        if self._wanted.platform(platform) or not platform.is_real:
            return True
        name = platform_name(platform)
        if name is None:
            return True
        self._left_out[digest, platform] = name
        return False

    async def _assembled(
        self, children: list[Descriptor], *, depth: int
    ) -> list[list[PlatformRecord] | Failure]:
        """The platforms of each child. Those that are at hand come first: for them
        there is nothing to wait for, and no task to be made."""
        found: list[list[PlatformRecord] | Failure] = []
        for child in children:
            document = self._at_hand(child)
            if document is None:
                break
            found.append(await self._described(child, document, depth=depth))
        missing = children[len(found) :]
        if missing:
            found += await bounded_gather(
                lambda child: self._child(child, depth=depth),
                missing,
                at_once=CHILDREN_AT_ONCE,
            )
        return found

    def _at_hand(self, child: Descriptor) -> VerifiedManifest | None:
        """The manifest of a child, if it is known and no config is asked for."""
        if self._config_is_wanted(child.platform):
            return None
        return self._content.at_hand(self._registry.name, child.digest)

    async def _child(
        self, child: Descriptor, *, depth: int
    ) -> list[PlatformRecord] | Failure:
        document = await self._content.manifest(
            self._registry, self._repository, child.digest
        )
        if isinstance(document, Failure):
            if document.kind is FailureKind.NOT_FOUND:
                self._warn(
                    WarningCode.CHILD_MISSING,
                    f"the index names {child.digest} and the registry has it not",
                )
                return [missing_platform(child)]
            return _said_of(child.digest, document)
        return await self._described(child, document, depth=depth)

    async def _described(
        self, child: Descriptor, document: VerifiedManifest, *, depth: int
    ) -> list[PlatformRecord] | Failure:
        self._warnings.extend(document.warnings)
        if isinstance(document.manifest, ImageIndex):
            try:
                return await self._children(document.manifest, depth=depth + 1)
            except StoppedError as stop:
                return stop.failure
        try:
            return await self._platform(document, child.platform)
        except StoppedError as stop:
            return _said_of(child.digest, stop.failure)

    async def _platform(
        self, document: VerifiedManifest, described: Platform | None
    ) -> list[PlatformRecord]:
        """The platform of a manifest; none if it turns out not to be wanted."""
        manifest = document.manifest
        if isinstance(manifest, Schema1Manifest):
            schema1 = schema1_platform(document, manifest)
            spec = Platform(
                os=schema1.os,
                architecture=schema1.architecture,
                variant=schema1.variant,
                os_version=None,
            )
            if not self._wants(document.digest, spec):
                return []
            self._name_blobs(manifest)
            return [schema1]
        assert isinstance(manifest, ImageManifest)
        config = None
        if manifest.has_image_config and self._config_is_wanted(described):
            config = await self._config(manifest)
        spec = described or (config.platform if config else UNKNOWN_PLATFORM)
        if described is None and not self._wants(document.digest, spec):
            return []
        self._warnings.extend(layer_warnings(manifest))
        self._name_blobs(manifest)
        if described is not None and config is not None:
            self._warnings.extend(platform_warnings(document.digest, described, config))
        if described is None and config is None and manifest.has_image_config:
            self._warn(
                WarningCode.PLATFORM_UNKNOWN,
                f"nothing that was fetched says the platform of {document.digest}",
            )
        labels = None
        if config is not None and self._wanted.labels is not None:
            labels, left_out = self._wanted.labels.of(config.labels)
            if left_out:
                self._warn(
                    WarningCode.LABELS_LEFT_OUT,
                    f"1 label of {document.digest} is too long"
                    if left_out == 1
                    else f"{left_out} labels of {document.digest} are too long",
                )
        return [image_platform(document, manifest, spec, config, labels)]

    def _name_blobs(self, manifest: ImageManifest | Schema1Manifest) -> None:
        if self._wanted.verify_blobs:
            self._blobs.update(blobs_of(manifest))

    def _config_is_wanted(self, described: Platform | None) -> bool:
        if described is None:
            return self._config_of_others
        return self._config_of_described

    async def _config(self, manifest: ImageManifest) -> ImageConfig | None:
        digest = manifest.config.digest
        config = await self._content.config(self._registry, self._repository, digest)
        if isinstance(config, Failure):
            if config.kind is not FailureKind.NOT_FOUND:
                raise StoppedError(config)
            self._warn(
                WarningCode.CONFIG_MISSING,
                f"the manifest names the config {digest} and the registry has it not",
            )
            return None
        return config

    def _warn(self, code: WarningCode, detail: str) -> None:
        self._warnings.append(Warn(code=code, detail=detail))


def _distinct(children: Sequence[Descriptor]) -> Collection[Descriptor]:
    """Children by digest and platform; of those that stand twice, the last."""
    if len({child.digest for child in children}) == len(children):
        return children  # as nearly always
    return {(child.digest, child.platform): child for child in children}.values()


def _too_much(detail: str) -> Failure:
    return Failure(kind=FailureKind.TOO_LARGE, detail=detail)


def _said_of(digest: str, failure: Failure) -> Failure:
    return Failure(
        kind=failure.kind,
        stage=failure.stage,
        status=failure.status,
        attempts=failure.attempts,
        detail=f"child {digest}: {failure.detail}",
    )
