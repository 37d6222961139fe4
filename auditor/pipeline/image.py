"""One reference to one record."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.pipeline.around import Around, Surroundings
from auditor.pipeline.assembly import Assembly, StoppedError
from auditor.pipeline.facts import (
    Facts,
)
from auditor.pipeline.shared import SharedContent
from auditor.pipeline.wanted import Wanted
from auditor.protocol.answer import Answer
from auditor.protocol.document import Document, read_document
from auditor.protocol.image_config import ImageConfig
from auditor.protocol.reference import Reference
from auditor.records import (
    Access,
    FailureRecord,
    ImageRecord,
    Record,
    WarningCode,
)
from auditor.registry.client import Registry
from auditor.registry.clock import Clock
from auditor.registry.registries import Registries

# Assembled images remembered, so that tags of one digest are put together once.
# Some 10 KiB each for an index of eight platforms: 20 MiB.
MAX_FACTS = 2048
# Warnings that say something of the repository, not of the digest.
_OF_THE_PLACE = frozenset({WarningCode.CHILD_MISSING, WarningCode.CONFIG_MISSING})


class ImageAuditor:
    """Turns references into records; holds what a run shares."""

    def __init__(self, registries: Registries, *, wanted: Wanted, clock: Clock) -> None:
        self._registries = registries
        self._wanted = wanted
        self._clock = clock
        self.content = SharedContent()
        self.around = Around(self.content, wanted)
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
            around = await self.around.image(registry, reference.repository, facts)
        except StoppedError as stop:
            return self.failure_record(reference, stop.failure, listed=listed)
        return self._image_record(reference, facts, around, document, access)

    async def raw_manifest(self, reference: Reference) -> bytes | Failure:
        """The exact bytes of a reference's manifest, after the same checks."""
        try:
            registry = await self._registries.get(reference.registry)
            await self._access(registry, reference.repository)
            answer = await self._get(registry, reference)
            self._document(answer, reference)
        except StoppedError as stop:
            return stop.failure
        return answer.body

    async def configs_of(self, record: ImageRecord) -> dict[str, ImageConfig]:
        """The configs that `record` was made with, by digest; none is fetched twice."""
        registry = await self._registries.get(record.registry)
        found = {}
        for platform in record.platforms:
            if platform.config is not None and platform.config_digest is not None:
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
            raise StoppedError(granted)
        return granted.access

    async def _get(self, registry: Registry, reference: Reference) -> Answer:
        answer = await registry.get_manifest(
            reference.repository, reference.manifest_reference
        )
        if isinstance(answer, Failure):
            raise StoppedError(answer)
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
            raise StoppedError(failure) from None

    async def _facts_of(
        self, registry: Registry, repository: str, document: Document
    ) -> Facts:
        known = self._facts.get(document.digest)
        if known is not None:
            self._facts.move_to_end(document.digest)
            return known
        facts = await Assembly(registry, repository, self.content, self._wanted).facts(
            document
        )
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
        self,
        reference: Reference,
        facts: Facts,
        around: Surroundings,
        document: Document,
        access: Access,
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
            platforms_left_out=facts.platforms_left_out,
            attachments=around.attachments,
            signed=around.answers.signed,
            has_sbom=around.answers.has_sbom,
            has_provenance=around.answers.has_provenance,
            size=facts.size,
            annotations=dict(facts.annotations),
            access=access,
            warnings=(*document.warnings, *facts.warnings, *around.warnings),
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
