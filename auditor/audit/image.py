"""One reference to one record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from auditor.audit import image_metadata
from auditor.audit.assemble import Assembly, StoppedError
from auditor.audit.content_cache import ContentCache
from auditor.audit.image_attachments import Attached, BlobCheck
from auditor.audit.image_metadata import (
    UNKNOWN,
    ImageMetadata,
    ImageOptions,
    SupplyChainStatus,
)
from auditor.audit.resolve import Resolver
from auditor.cache.digest_cache import DigestCache
from auditor.config import AttachmentMode
from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import (
    Access,
    Attachment,
    FailureRecord,
    ImageRecord,
    Record,
    Warn,
    WarningCode,
)
from auditor.oci.image_config import ImageConfig
from auditor.oci.manifest import VerifiedManifest
from auditor.oci.reference import Reference, likely_registry
from auditor.registry.client import Registry
from auditor.registry.registries import Registries
from auditor.util.clock import Clock, rfc3339
from auditor.util.lru import Lru
from auditor.util.single_flight import SingleFlight

# -- around --
# What a place holds around an image: it is of the repository, not of the digest.


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryData:
    """What is attached to an image, what follows from it, and what is amiss."""

    attachments: tuple[Attachment, ...] = ()
    answers: SupplyChainStatus = UNKNOWN
    warnings: tuple[Warn, ...] = ()


NOTHING = RepositoryData()


class Around:
    """Looks around images as far as is wanted; without options, asks nobody."""

    def __init__(
        self, content: ContentCache, wanted: ImageOptions, lookup: Resolver
    ) -> None:
        self._everywhere = wanted.attachments is AttachmentMode.ALL
        self._attached = Attached(content, lookup)
        self.blobs = BlobCheck()

    async def image(
        self, registry: Registry, repository: str, facts: ImageMetadata
    ) -> RepositoryData:
        """The surroundings of one image of a repository."""
        warnings: tuple[Warn, ...] = ()
        if facts.blobs:
            warnings = await self.blobs.warnings(registry, repository, facts.blobs)
        if self._everywhere:
            found = await self._attached.to(registry, repository, facts)
            return RepositoryData(
                attachments=found.attachments,
                answers=found.answers,
                warnings=(*found.warnings, *warnings),
            )
        if not facts.attachments and not warnings:
            return NOTHING
        return RepositoryData(
            attachments=facts.attachments, answers=facts.answers, warnings=warnings
        )


# -- mirror --
# A registry's mirror is asked for an image before the registry itself.

Value = TypeVar("Value")


async def at_mirror_first(
    registries: Registries,
    reference: Reference,
    look: Callable[[Reference], Awaitable[Value]],
) -> tuple[Value, tuple[Warn, ...]]:
    """What `look` finds at the registry's mirror, or else at the registry.

    As containers-registries.conf(5) has it: any failure of the mirror leads to the
    registry itself, and an image comes from one of the two as a whole. A warning says
    where it came from the registry; `StoppedError` says what both said.
    """
    mirrored = registries.at_mirror(reference)
    if mirrored is None:
        return await look(reference), ()
    try:
        return await look(mirrored), ()
    except StoppedError as stop:
        missed = f"the mirror {mirrored.registry}: {stop.failure.detail}"
    try:
        found = await look(reference)
    except StoppedError as stop:
        detail = f"{stop.failure.detail}; before that, {missed}"
        raise StoppedError(replace(stop.failure, detail=detail)) from None
    return found, (Warn(code=WarningCode.NOT_AT_MIRROR, detail=missed),)


# Assembled images remembered, so that tags of one digest are put together once.
# Some 10 KiB each for an index of eight platforms: 20 MiB.
MAX_FACTS = 2048
# What a wrong name comes to, also where Docker Hub is out of reach.
_OF_A_NAME = frozenset(
    {
        FailureKind.NOT_FOUND,
        FailureKind.DENIED,
        FailureKind.NO_PULL_GRANT,
        FailureKind.DNS,
        FailureKind.CONNECT,
        FailureKind.TIMEOUT,
    }
)
# Warnings that say something of the repository, not of the digest.
_OF_THE_PLACE = frozenset({WarningCode.CHILD_MISSING, WarningCode.CONFIG_MISSING})


class ImageAuditor:
    """Turns references into records; holds what a run shares."""

    def __init__(
        self,
        registries: Registries,
        *,
        wanted: ImageOptions,
        clock: Clock,
        cache: DigestCache,
        recheck_s: float,
    ) -> None:
        self._registries = registries
        self._wanted = wanted
        self._clock = clock
        self.content = ContentCache(cache, clock=clock, recheck_s=recheck_s)
        self._lookup = Resolver(self.content)
        self.around = Around(self.content, wanted, self._lookup)
        self._facts: Lru[tuple[str, str, str], ImageMetadata] = Lru(MAX_FACTS)
        # Tags of one image stand together: one assembly for those under way together.
        self._flights: SingleFlight[
            tuple[str, str, str, str], ImageMetadata | Failure
        ] = SingleFlight()

    async def prefetch(self, reference: Reference) -> None:
        """Get the token that `audit` will need."""
        place = self._first_place(reference)
        registry = await self._registries.get(place.registry)
        await registry.pull_auth(place.repository).authorization()

    def wants_prefetch(self, reference: Reference) -> bool:
        """Whether `prefetch` has anything to do."""
        place = self._first_place(reference)
        registry = self._registries.opened(place.registry)
        return registry is None or registry.pull_auth(place.repository).needs_fetch()

    def _first_place(self, reference: Reference) -> Reference:
        return self._registries.at_mirror(reference) or reference

    async def audit(
        self, reference: Reference, *, listed: bool = False, digest: str | None = None
    ) -> Record:
        """The record of a reference; `listed`: the registry itself named the tag, and
        `digest`, if not null, is what it said that the tag names."""
        try:
            if self._registries.at_mirror(reference) is None:
                # A coroutine less between the socket and here.
                found = await self._look(reference, digest, at_mirror=False)
                return self._image_record(reference, found, ())
            found, warnings = await at_mirror_first(
                self._registries,
                reference,
                lambda place: self._look(
                    place, digest, at_mirror=place is not reference
                ),
            )
        except StoppedError as stop:
            return self.failure_record(reference, stop.failure, listed=listed)
        return self._image_record(reference, found, warnings)

    async def _look(
        self, place: Reference, digest: str | None, *, at_mirror: bool
    ) -> tuple[ImageMetadata, RepositoryData, tuple[Warn, ...], Access]:
        known = self._registries.opened(place.registry)
        registry = known or await self._registries.get(place.registry)
        auth = registry.pull_auth(place.repository)
        if auth.cached() is None:
            _or_stop(await auth.authorization())
        found = await self._lookup.document(registry, place, listed=digest)
        if isinstance(found, Failure):
            raise StoppedError(found)
        # Asked again, at no cost: a registry may have let us know only by its answer
        # to the manifest request that it wants a token.
        granted = auth.cached() or _or_stop(await auth.authorization())
        facts = self._known_facts(registry, found) or await self._facts_of(
            registry, place.repository, found
        )
        around = await self.around.image(registry, place.repository, facts)
        if at_mirror:
            around = replace(around, answers=image_metadata.at_mirror(around.answers))
        return facts, around, found.warnings, granted.access

    async def raw_manifest(self, reference: Reference) -> bytes | Failure:
        """The exact bytes of a reference's manifest, after the same checks."""
        try:
            body, _ = await at_mirror_first(self._registries, reference, self._raw)
        except StoppedError as stop:
            detail = _hinted(reference, stop.failure)
            return replace(stop.failure, detail=detail)
        return body

    async def _raw(self, place: Reference) -> bytes:
        registry = await self._registries.get(place.registry)
        _or_stop(await registry.pull_auth(place.repository).authorization())
        answer, _ = _or_stop(await self._lookup.answer(registry, place))
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

    def _known_facts(
        self, registry: Registry, document: VerifiedManifest
    ) -> ImageMetadata | None:
        return self._facts.get((registry.name, document.digest, document.media_type))

    async def _facts_of(
        self, registry: Registry, repository: str, document: VerifiedManifest
    ) -> ImageMetadata:
        name = (registry.name, document.digest, document.media_type)
        # For one repository: another may have what this one has not.
        return _or_stop(
            await self._flights.run(
                (*name, repository),
                lambda: self._assembled(registry, repository, document),
            )
        )

    async def _assembled(
        self, registry: Registry, repository: str, document: VerifiedManifest
    ) -> ImageMetadata | Failure:
        assembly = Assembly(registry, repository, self.content, self._wanted)
        try:
            facts = await assembly.facts(document)
        except StoppedError as stop:
            return stop.failure
        if not any(warn.code in _OF_THE_PLACE for warn in facts.warnings):
            name = (registry.name, document.digest, document.media_type)
            self._facts.put(name, facts)
        return facts

    # -- records ---------------------------------------------------------------

    def _now(self) -> str:
        return rfc3339(self._clock.epoch())

    def _image_record(
        self,
        reference: Reference,
        found: tuple[ImageMetadata, RepositoryData, tuple[Warn, ...], Access],
        warnings: tuple[Warn, ...],
    ) -> ImageRecord:
        facts, around, of_manifest, access = found
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
            annotations=dict(facts.annotations) if facts.annotations else {},
            access=access,
            warnings=(
                *warnings,
                *of_manifest,
                *facts.warnings,
                *around.warnings,
            ),
            audited_at=self._now(),
        )

    def failure_record(
        self, reference: Reference, failure: Failure, *, listed: bool = False
    ) -> FailureRecord:
        """The record of a reference that could not be audited."""
        kind, detail = failure.kind, _hinted(reference, failure)
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


def _hinted(reference: Reference, failure: Failure) -> str:
    """What went wrong, and what may have been meant."""
    host = likely_registry(reference) if failure.kind in _OF_A_NAME else None
    if host is None:
        return failure.detail
    return (
        f"{failure.detail}; {host} alone names an image of Docker Hub with a tag: if a"
        f" registry is meant, write {host}/REPOSITORY:TAG"
    )


def _or_stop(found: Value | Failure) -> Value:
    if isinstance(found, Failure):
        raise StoppedError(found)
    return found
