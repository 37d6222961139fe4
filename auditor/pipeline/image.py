"""One reference to one record."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime

from auditor.config import ImageConfigMode
from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.pipeline.concurrently import concurrently
from auditor.pipeline.facts import (
    UNKNOWN_PLATFORM,
    Facts,
    attachment_of,
    image_platform,
    layer_warnings,
    missing_platform,
    platform_warnings,
    schema1_platform,
)
from auditor.pipeline.shared import SharedContent
from auditor.protocol.answer import Answer
from auditor.protocol.document import Document, read_document
from auditor.protocol.image_config import ImageConfig
from auditor.protocol.manifest import Descriptor, ImageManifest, Index, PlatformSpec
from auditor.protocol.reference import Reference
from auditor.protocol.schema1 import Schema1
from auditor.records import (
    Access,
    Attachment,
    FailureRecord,
    ImageRecord,
    Platform,
    Record,
    Warn,
    WarningCode,
)
from auditor.registry.client import Registry
from auditor.registry.clock import Clock
from auditor.registry.registries import Registries

# An index of indexes is rare, and nothing in use nests deeper than two.
MAX_DEPTH = 4
# 4 MiB, the size cap of a manifest, over some 400 bytes, the usual size of a
# descriptor with a platform and annotations.
MAX_CHILDREN = 10_000
# Children of one index asked for at once; the host's slots are the real limit.
CHILDREN_AT_ONCE = 16
# Assembled images remembered, so that tags of one digest are put together once.
# Some 10 KiB each for an index of eight platforms: 20 MiB.
MAX_FACTS = 2048
# Warnings that say something of the repository, not of the digest.
_OF_THE_PLACE = frozenset({WarningCode.CHILD_MISSING, WarningCode.CONFIG_MISSING})


class _Stop(Exception):  # noqa: N818
    """Ends the assembly of an image with a failure."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class ImageAuditor:
    """Turns references into records; holds what a run shares."""

    def __init__(
        self, registries: Registries, *, image_config: ImageConfigMode, clock: Clock
    ) -> None:
        self._registries = registries
        self._image_config = image_config
        self._clock = clock
        self.content = SharedContent()
        self._facts: OrderedDict[str, Facts] = OrderedDict()

    async def prefetch(self, reference: Reference) -> None:
        """Get the token that `audit` will need."""
        registry = await self._registries.get(reference.registry)
        await registry.pull_auth(reference.repository).authorization()

    async def wants_prefetch(self, reference: Reference) -> bool:
        """Whether `prefetch` has anything to do."""
        registry = await self._registries.get(reference.registry)
        return registry.pull_auth(reference.repository).wanted()

    async def audit(self, reference: Reference, *, listed: bool = False) -> Record:
        """The record of a reference; `listed`: the registry itself named the tag."""
        try:
            registry = await self._registries.get(reference.registry)
            await self._access(registry, reference.repository)
            answer = await self._get(registry, reference)
            document = self._document(answer, reference)
            # Asked again, at no cost: a registry may have let us know only by its
            # answer to the manifest request that it wants a token.
            access = await self._access(registry, reference.repository)
            facts = await self._facts_of(registry, reference.repository, document)
        except _Stop as stop:
            return self.failure_record(reference, stop.failure, listed=listed)
        return self._image_record(reference, facts, document, access)

    async def raw_manifest(self, reference: Reference) -> bytes | Failure:
        """The exact bytes of a reference's manifest, after the same checks."""
        try:
            registry = await self._registries.get(reference.registry)
            await self._access(registry, reference.repository)
            answer = await self._get(registry, reference)
            self._document(answer, reference)
        except _Stop as stop:
            return stop.failure
        return answer.body

    async def configs_of(self, record: ImageRecord) -> dict[str, ImageConfig]:
        """The configs that `record` was made with, by digest; none is fetched twice."""
        registry = await self._registries.get(record.registry)
        found = {}
        for platform in record.platforms:
            if platform.created is not None and platform.config_digest is not None:
                config = await self.content.config(
                    registry, record.repository, platform.config_digest
                )
                if isinstance(config, ImageConfig):
                    found[platform.config_digest] = config
        return found

    # -- fetching --------------------------------------------------------------

    async def _access(self, registry: Registry, repository: str) -> Access:
        granted = await registry.pull_auth(repository).authorization()
        if isinstance(granted, Failure):
            raise _Stop(granted)
        return granted.access

    async def _get(self, registry: Registry, reference: Reference) -> Answer:
        answer = await registry.get_manifest(
            reference.repository, reference.manifest_reference
        )
        if isinstance(answer, Failure):
            raise _Stop(answer)
        return answer

    def _document(self, answer: Answer, reference: Reference) -> Document:
        try:
            return read_document(
                answer.body,
                content_type=answer.content_type,
                header_digest=answer.headers.get("Docker-Content-Digest"),
                asked_digest=reference.digest,
            )
        except ProtocolError as error:
            failure = Failure(
                kind=error.kind, detail=error.detail, status=answer.status
            )
            raise _Stop(failure) from None

    async def _facts_of(
        self, registry: Registry, repository: str, document: Document
    ) -> Facts:
        known = self._facts.get(document.digest)
        if known is not None:
            self._facts.move_to_end(document.digest)
            return known
        facts = await _Assembly(
            registry, repository, self.content, self._image_config
        ).facts(document)
        if any(warn.code in _OF_THE_PLACE for warn in facts.warnings):
            return facts  # another repository may have what this one has not
        self._facts[document.digest] = facts
        if len(self._facts) > MAX_FACTS:
            self._facts.popitem(last=False)
        return facts

    # -- records ---------------------------------------------------------------

    def _now(self) -> str:
        now = datetime.fromtimestamp(self._clock.epoch(), UTC)
        return now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _image_record(
        self, reference: Reference, facts: Facts, document: Document, access: Access
    ) -> ImageRecord:
        return ImageRecord(
            reference=str(reference),
            registry=reference.registry,
            repository=reference.repository,
            tag=reference.tag,
            digest=facts.digest,
            media_type=facts.media_type,
            schema_version=facts.schema_version,
            artifact_type=facts.artifact_type,
            architectures=facts.architectures,
            platforms=facts.platforms,
            attachments=facts.attachments,
            size=facts.size,
            annotations=dict(facts.annotations),
            access=access,
            warnings=(*document.warnings, *facts.warnings),
            audited_at=self._now(),
        )

    def failure_record(
        self, reference: Reference, failure: Failure, *, listed: bool = False
    ) -> FailureRecord:
        """The record of a reference that could not be audited."""
        kind, detail = failure.kind, failure.detail
        if listed and kind is FailureKind.NOT_FOUND and failure.stage is Stage.MANIFEST:
            kind = FailureKind.VANISHED
            detail = "the registry listed this tag and no longer has it (404)"
        return FailureRecord(
            reference=str(reference),
            registry=reference.registry,
            repository=reference.repository,
            tag=reference.tag,
            digest=reference.digest,
            stage=failure.stage,
            failure=kind,
            status=failure.status,
            detail=detail,
            attempts=failure.attempts,
            audited_at=self._now(),
        )


class _Assembly:
    """One image, put together from its manifest, children and configs."""

    def __init__(
        self,
        registry: Registry,
        repository: str,
        content: SharedContent,
        image_config: ImageConfigMode,
    ) -> None:
        self._registry = registry
        self._repository = repository
        self._content = content
        self._image_config = image_config
        self._attachments: list[Attachment] = []
        self._warnings: list[Warn] = []
        self._count = 0

    async def facts(self, document: Document) -> Facts:
        manifest = document.manifest
        platforms: tuple[Platform, ...]
        if isinstance(manifest, Index):
            platforms = tuple(await self._children(manifest, depth=1))
        else:
            platforms = (await self._platform(document, None),)
        schema1 = isinstance(manifest, Schema1)
        return Facts(
            digest=document.digest,
            media_type=document.media_type,
            schema_version=1 if schema1 else 2,
            artifact_type=None
            if isinstance(manifest, Schema1)
            else manifest.artifact_type,
            platforms=platforms,
            # Children are fetched at the same time: sorted, so that two runs agree.
            attachments=tuple(
                sorted(
                    set(self._attachments),
                    key=lambda found: (found.digest, found.kind, found.subject or ""),
                )
            ),
            annotations={} if isinstance(manifest, Schema1) else manifest.annotations,
            warnings=tuple(
                sorted(set(self._warnings), key=lambda warn: (warn.code, warn.detail))
            ),
        )

    async def _children(self, index: Index, *, depth: int) -> list[Platform]:
        if depth > MAX_DEPTH:
            raise _Stop(_too_much(f"indexes are nested more than {MAX_DEPTH} deep"))
        children = {
            (child.digest, child.platform): child for child in index.children
        }.values()
        self._count += len(children)
        if self._count > MAX_CHILDREN:
            raise _Stop(_too_much(f"the index has more than {MAX_CHILDREN} children"))
        wanted = []
        for child in children:
            attachment = attachment_of(child)
            if attachment is not None:
                self._attachments.append(attachment)
            else:
                wanted.append(child)
        found = await concurrently(
            lambda child: self._child(child, depth=depth),
            wanted,
            at_once=CHILDREN_AT_ONCE,
        )
        platforms: dict[Platform, None] = {}
        for result in found:
            if isinstance(result, Failure):
                raise _Stop(result)
            platforms.update(dict.fromkeys(result))
        return list(platforms)

    async def _child(
        self, child: Descriptor, *, depth: int
    ) -> list[Platform] | Failure:
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
        self._warnings.extend(document.warnings)
        if isinstance(document.manifest, Index):
            try:
                return await self._children(document.manifest, depth=depth + 1)
            except _Stop as stop:
                return stop.failure
        try:
            return [await self._platform(document, child.platform)]
        except _Stop as stop:
            return _said_of(child.digest, stop.failure)

    async def _platform(
        self, document: Document, described: PlatformSpec | None
    ) -> Platform:
        manifest = document.manifest
        if isinstance(manifest, Schema1):
            return schema1_platform(document, manifest)
        assert isinstance(manifest, ImageManifest)
        self._warnings.extend(layer_warnings(manifest))
        config = None
        if manifest.has_image_config and self._config_is_wanted(described):
            config = await self._config(manifest)
        spec = described
        if spec is None and config is not None:
            spec = config.platform
        elif spec is not None and config is not None:
            self._warnings.extend(platform_warnings(document.digest, spec, config))
        if spec is None and manifest.has_image_config:
            self._warn(
                WarningCode.PLATFORM_UNKNOWN,
                f"nothing that was fetched says the platform of {document.digest}",
            )
        return image_platform(document, manifest, spec or UNKNOWN_PLATFORM, config)

    def _config_is_wanted(self, described: PlatformSpec | None) -> bool:
        match self._image_config:
            case ImageConfigMode.ALWAYS:
                return True
            case ImageConfigMode.NEVER:
                return False
            case ImageConfigMode.AUTO:
                return described is None

    async def _config(self, manifest: ImageManifest) -> ImageConfig | None:
        digest = manifest.config.digest
        config = await self._content.config(self._registry, self._repository, digest)
        if isinstance(config, Failure):
            if config.kind is not FailureKind.NOT_FOUND:
                raise _Stop(config)
            self._warn(
                WarningCode.CONFIG_MISSING,
                f"the manifest names the config {digest} and the registry has it not",
            )
            return None
        return config

    def _warn(self, code: WarningCode, detail: str) -> None:
        self._warnings.append(Warn(code=code, detail=detail))


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
