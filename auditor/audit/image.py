"""Audits one reference: from a reference to its record.

`ImageAuditor.audit` gets the token, resolves the reference to a manifest (resolve.py),
assembles the metadata of the image (assemble.py), collects the data of its repository
(image_attachments.py), and puts the results together as a record. Each step returns a
value or a `Failure`, which becomes a failure record.

With a mirror (containers-registries.conf(5)) all steps run at the mirror first. After
any failure there they run at the registry: an image comes from one of the two entirely.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from auditor.audit.assemble import MetadataAssembler
from auditor.audit.content_cache import ContentCache
from auditor.audit.image_attachments import RepositoryDataCollector
from auditor.audit.image_metadata import ImageOptions, status_at_mirror
from auditor.audit.resolve import Resolver
from auditor.cache.digest_cache import DigestCache
from auditor.errors import Failure, FailureKind, Stage
from auditor.model import FailureRecord, ImageRecord, Record, Warn, WarningCode
from auditor.oci.content_kind import tagged_kind
from auditor.oci.image_config import ImageConfig
from auditor.oci.reference import (
    Reference,
    RepositoryPattern,
    TagPattern,
)
from auditor.registry.registries import Registries
from auditor.util.clock import Clock, rfc3339

Value = TypeVar("Value")


class ImageAuditor:
    """Audits references; owns the caches that the references of a run share."""

    def __init__(
        self,
        registries: Registries,
        *,
        options: ImageOptions,
        clock: Clock,
        cache: DigestCache,
        recheck_s: float,
    ) -> None:
        self._registries = registries
        self._clock = clock
        self.content = ContentCache(
            cache,
            clock=clock,
            recheck_s=recheck_s,
            for_each_repository=options.verify_blobs,
        )
        self._resolver = Resolver(self.content)
        self._assembler = MetadataAssembler(self.content, options)
        self.repository_data = RepositoryDataCollector(
            self.content, options, self._resolver
        )

    def needs_token(self, reference: Reference) -> bool:
        """Whether `fetch_token` has anything to do."""
        reference = self._registries.mirror_of(reference) or reference
        registry = self._registries.opened(reference.registry)
        return (
            registry is None or registry.pull_auth(reference.repository).needs_fetch()
        )

    async def fetch_token(self, reference: Reference) -> None:
        """Fetch the token that `audit` will need, ahead of it."""
        reference = self._registries.mirror_of(reference) or reference
        registry = await self._registries.get(reference.registry)
        await registry.pull_auth(reference.repository).authorization()

    async def audit(
        self,
        reference: Reference,
        *,
        is_listed: bool = False,
        listed_digest: str | None = None,
    ) -> Record:
        """The record of a reference.

        `is_listed`: the registry listed the tag; `listed_digest`: its digest there.
        """
        mirrored = self._registries.mirror_of(reference)
        if mirrored is None:
            record = await self._audit(reference, reference, listed_digest)
        else:
            record, warnings = await _mirror_first(
                mirrored,
                reference,
                lambda place: self._audit(reference, place, listed_digest),
            )
            if warnings and isinstance(record, ImageRecord):
                record = replace(record, warnings=warnings + record.warnings)
        if isinstance(record, Failure):
            return self.failure_record(reference, record, is_listed=is_listed)
        return record

    async def _audit(
        self, reference: Reference, place: Reference, listed_digest: str | None
    ) -> ImageRecord | Failure:
        """Audit an image at `place`: at its registry, or at a mirror."""
        registry = self._registries.opened(
            place.registry
        ) or await self._registries.get(place.registry)
        repository = place.repository
        auth = registry.pull_auth(repository)
        if auth.cached() is None:
            authorization = await auth.authorization()
            if isinstance(authorization, Failure):
                return authorization
        verified = await self._resolver.resolve(
            registry, place, listed_digest=listed_digest
        )
        if isinstance(verified, Failure):
            return verified
        # Again, mostly from memory: some registries ask for a token only in response
        # to the manifest request.
        authorization = auth.cached() or await auth.authorization()
        if isinstance(authorization, Failure):
            return authorization
        metadata = self._assembler.cached(
            registry, repository, verified
        ) or await self._assembler.assemble(registry, repository, verified)
        if isinstance(metadata, Failure):
            return metadata
        data = await self.repository_data.collect(registry, repository, metadata)
        status = data.status if place is reference else status_at_mirror(data.status)
        return ImageRecord(
            reference=str(reference),
            registry=reference.registry,
            repository=reference.repository,
            tag=reference.tag,
            digest=metadata.digest,
            media_type=metadata.media_type,
            schema_version=metadata.schema_version,
            artifact_type=metadata.artifact_type,
            content=tagged_kind(metadata.content, reference.tag),
            architectures=metadata.architectures,
            platforms=metadata.platforms,
            platforms_left_out=metadata.platforms_left_out,
            attachments=data.attachments,
            signed=status.signed,
            has_sbom=status.has_sbom,
            has_provenance=status.has_provenance,
            size=metadata.size,
            annotations=dict(metadata.annotations) if metadata.annotations else {},
            access=authorization.access,
            warnings=verified.warnings + metadata.warnings + data.warnings,
            audited_at=rfc3339(self._clock.epoch()),
        )

    async def raw_manifest(self, reference: Reference) -> bytes | Failure:
        """The exact bytes of a reference's manifest, checked as in an audit."""
        mirrored = self._registries.mirror_of(reference)
        if mirrored is None:
            body = await self._raw_manifest(reference)
        else:
            body, _ = await _mirror_first(mirrored, reference, self._raw_manifest)
        return body

    async def _raw_manifest(self, reference: Reference) -> bytes | Failure:
        registry = await self._registries.get(reference.registry)
        authorization = await registry.pull_auth(reference.repository).authorization()
        if isinstance(authorization, Failure):
            return authorization
        fetched = await self._resolver.fetch(registry, reference)
        return fetched if isinstance(fetched, Failure) else fetched[0].body

    async def configs_of(self, record: ImageRecord) -> dict[str, ImageConfig]:
        """The configs that `record` was made from, by digest, from the cache."""
        registry = await self._registries.get(record.registry)
        configs = {}
        for platform in record.platforms:
            if platform.config is not None and platform.config_digest is not None:
                config = await self.content.config(
                    registry, record.repository, platform.config_digest
                )
                if isinstance(config, ImageConfig):
                    configs[platform.config_digest] = config
        return configs

    def failure_record(
        self, reference: Reference, failure: Failure, *, is_listed: bool = False
    ) -> FailureRecord:
        """The record of a reference that could not be audited."""
        is_missing = failure.kind is FailureKind.NOT_FOUND
        if is_listed and is_missing and failure.stage is Stage.MANIFEST:
            failure = replace(
                failure,
                kind=FailureKind.VANISHED,
                detail="the registry listed this tag but no longer has it (404)",
            )
        now = rfc3339(self._clock.epoch())
        return failure_record(str(reference), reference, failure, now)


def failure_record(
    text: str,
    place: Reference | TagPattern | RepositoryPattern | None,
    failure: Failure,
    audited_at: str,
) -> FailureRecord:
    """The record of an input entry that failed.

    `text` is the entry and `place` what it names; `audited_at` is RFC 3339.
    """
    return FailureRecord(
        reference=text,
        registry=place.registry if place else None,
        repository=place.repository if place else None,
        tag=place.tag if isinstance(place, Reference) else None,
        digest=place.digest if isinstance(place, Reference) else None,
        stage=failure.stage,
        failure=failure.kind,
        status=failure.status,
        detail=failure.detail,
        attempts=failure.attempts,
        audited_at=audited_at,
    )


async def _mirror_first(
    mirrored: Reference,
    reference: Reference,
    fetch: Callable[[Reference], Awaitable[Value | Failure]],
) -> tuple[Value | Failure, tuple[Warn, ...]]:
    """The result of `fetch` at the mirror, or after a failure at the registry.

    A result from the registry comes with a warning; a failure has both details.
    """
    result = await fetch(mirrored)
    if not isinstance(result, Failure):
        return result, ()
    at_mirror = f"the mirror {mirrored.registry}: {result.detail}"
    result = await fetch(reference)
    if isinstance(result, Failure):
        return replace(result, detail=f"{result.detail}; before that, {at_mirror}"), ()
    return result, (Warn(code=WarningCode.NOT_AT_MIRROR, detail=at_mirror),)
