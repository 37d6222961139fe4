"""Audits one reference: from a reference to its record.

`ImageAuditor.audit` gets the token, resolves the reference to a manifest (resolve.py),
assembles the metadata of the image (assemble.py), collects the data of its repository
(image_attachments.py), and puts the results together as a record. Each step returns a
value or a `Failure`, which becomes a failure record.

With mirrors (containers-registries.conf(5)) all steps run at the first of them. After
any failure there they run at the next, and at last at the registry: an image comes from
one of them entirely.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from auditor.audit.assemble import MetadataAssembler
from auditor.audit.content_cache import ContentCache
from auditor.audit.image_attachments import BlobChecker, RepositoryDataCollector
from auditor.audit.image_metadata import ImageOptions, status_at_mirror
from auditor.audit.resolve import Resolver
from auditor.cache.digest_cache import DigestCache
from auditor.config import AttachmentMode
from auditor.errors import Failure, FailureKind, Stage
from auditor.model import (
    ContentKind,
    FailureRecord,
    ImageRecord,
    Record,
    Warn,
    WarningCode,
)
from auditor.oci.content_kind import tagged_kind
from auditor.oci.image_config import ImageConfig
from auditor.oci.reference import (
    Reference,
    RepositoryPattern,
    TagPattern,
)
from auditor.registry.registries import Registries
from auditor.util.clock import Clock, rfc3339

if TYPE_CHECKING:
    from auditor.audit.signatures import SignatureVerifier, VerifiedSignatures
    from auditor.oci.signing_keys import ImageSigningKey

Value = TypeVar("Value")


class _Steps:
    """The steps of an audit, and the caches that its references share."""

    def __init__(
        self,
        cache: DigestCache,
        *,
        options: ImageOptions,
        clock: Clock,
        recheck_s: float,
        blobs: BlobChecker,
    ) -> None:
        self.content = ContentCache(
            cache,
            clock=clock,
            recheck_s=recheck_s,
            for_each_repository=options.verify_blobs,
        )
        self.resolver = Resolver(self.content)
        self.assembler = MetadataAssembler(self.content, options)
        self.repository_data = RepositoryDataCollector(
            self.content, options, self.resolver, blobs
        )
        self.records_attachments = options.attachments is not AttachmentMode.NONE
        self.signatures: SignatureVerifier | None = None
        if options.signatures is not None:
            # Few runs verify signatures.
            from auditor.audit.signatures import SignatureVerifier  # noqa: PLC0415

            self.signatures = SignatureVerifier(self.content, options.signatures, clock)


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
        self.blobs = BlobChecker()
        new_steps = functools.partial(
            _Steps, options=options, clock=clock, recheck_s=recheck_s, blobs=self.blobs
        )
        self._steps = new_steps(cache)
        # What a store has is read in each run: its files can change at any time.
        self._store_steps = new_steps(DigestCache(None, now=clock.epoch))
        self.content = self._steps.content
        self.resolver = self._steps.resolver

    def unnamed_images(self) -> int | None:
        """The number of images, if the signature policy names none of them."""
        steps = (self._steps, self._store_steps)
        verifiers = [one.signatures for one in steps if one.signatures is not None]
        if any(one.named for one in verifiers):
            return None
        return sum(one.unnamed for one in verifiers) or None

    def needs_token(self, reference: Reference) -> bool:
        """Whether `fetch_token` has anything to do."""
        place = first_source(self._registries, reference)
        if isinstance(place, Failure):
            return False
        if place.is_store:
            return False
        registry = self._registries.opened(place.registry)
        return registry is None or registry.pull_auth(place.repository).needs_fetch()

    async def fetch_token(self, reference: Reference) -> None:
        """Fetch the token that `audit` will need, ahead of it."""
        place = first_source(self._registries, reference)
        if not isinstance(place, Failure):
            registry = await self._registries.get(place.registry)
            await registry.pull_auth(place.repository).authorization()

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
        sources = self._registries.sources(reference)
        if sources == (reference,):
            record = await self._audit(reference, reference, listed_digest)
        else:
            record, warnings = await first_success(
                sources,
                lambda place: self._audit(
                    reference, place, listed_digest, is_mirror=place is not sources[-1]
                ),
            )
            if warnings and isinstance(record, ImageRecord):
                record = replace(record, warnings=warnings + record.warnings)
        if isinstance(record, Failure):
            return self.failure_record(reference, record, is_listed=is_listed)
        return record

    async def _audit(
        self,
        reference: Reference,
        place: Reference,
        listed_digest: str | None,
        *,
        is_mirror: bool = False,
    ) -> ImageRecord | Failure:
        """Audit an image at `place`: at its registry, or at a mirror."""
        host = place.host
        registry = self._registries.opened(host) or await self._registries.get(host)
        repository = place.repository
        steps = self._store_steps if place.is_store else self._steps
        auth = registry.pull_auth(repository)
        if auth.cached() is None:
            authorization = await auth.authorization()
            if isinstance(authorization, Failure):
                return authorization
        if place.is_store:
            fetched = await steps.resolver.fetch(registry, place)
            verified = fetched if isinstance(fetched, Failure) else fetched[1]
        else:
            verified = await steps.resolver.resolve(
                registry, place, listed_digest=listed_digest
            )
        if isinstance(verified, Failure):
            return verified
        # Again, mostly from memory: some registries ask for a token only in response
        # to the manifest request.
        authorization = auth.cached() or await auth.authorization()
        if isinstance(authorization, Failure):
            return authorization
        metadata = steps.assembler.cached(
            registry, repository, verified
        ) or await steps.assembler.assemble(registry, repository, verified)
        if isinstance(metadata, Failure):
            return metadata
        content = tagged_kind(metadata.content, reference.tag)
        verifier = steps.signatures
        keys: tuple[ImageSigningKey, ...] = ()
        # A signature need not be signed itself.
        if verifier is not None and content is not ContentKind.ATTACHMENT:
            keys = verifier.keys_for(reference.registry, reference.repository)
        data = await steps.repository_data.collect(
            registry, repository, metadata, find_signatures=bool(keys)
        )
        status = status_at_mirror(data.status) if is_mirror else data.status
        location = None
        if place is not reference and place != reference:
            location = f"{place.registry}/{repository}"
        record = ImageRecord(
            reference=str(reference),
            registry=reference.registry,
            repository=reference.repository,
            tag=reference.tag,
            digest=metadata.digest,
            media_type=metadata.media_type,
            schema_version=metadata.schema_version,
            artifact_type=metadata.artifact_type,
            content=content,
            architectures=metadata.architectures,
            platforms=metadata.platforms,
            platforms_left_out=metadata.platforms_left_out,
            # With `--attachments none` they are only searched for signatures.
            attachments=data.attachments if steps.records_attachments else (),
            signed=status.signed,
            has_sbom=status.has_sbom,
            has_provenance=status.has_provenance,
            size=metadata.size,
            annotations=dict(metadata.annotations) if metadata.annotations else {},
            access=authorization.access,
            location=location,
            subject=metadata.subject,
            manifest_size=metadata.manifest_size,
            other_children=metadata.other_children,
            untagged=None if reference.tag is None else False,
            warnings=verified.warnings + metadata.warnings + data.warnings,
            audited_at=rfc3339(self._clock.epoch()),
        )
        if verifier is None or not keys:
            return record
        from auditor.audit.signatures import SignatureSearch  # noqa: PLC0415

        search = SignatureSearch(
            registry=registry,
            repository=repository,
            digest=metadata.digest,
            media_type=metadata.media_type,
            size=verified.size,
            attachments=data.attachments,
            is_complete=data.has_all_signatures and not is_mirror,
        )
        return _with_signatures(record, await verifier.verify(search, keys))

    async def raw_manifest(self, reference: Reference) -> bytes | Failure:
        """The exact bytes of a reference's manifest, checked as in an audit."""
        sources = self._registries.sources(reference)
        body, _ = await first_success(sources, self._raw_manifest)
        return body

    async def _raw_manifest(self, reference: Reference) -> bytes | Failure:
        registry = await self._registries.get(reference.host)
        authorization = await registry.pull_auth(reference.repository).authorization()
        if isinstance(authorization, Failure):
            return authorization
        steps = self._store_steps if reference.is_store else self._steps
        fetched = await steps.resolver.fetch(registry, reference)
        return fetched if isinstance(fetched, Failure) else fetched[0].body

    async def configs_of(self, record: ImageRecord) -> dict[str, ImageConfig]:
        """The configs that `record` was made from, by digest, from the cache."""
        place = Reference(
            registry=record.registry, repository=record.repository, tag="", digest=None
        )
        if record.location is not None:
            name, _, repository = record.location.partition("/")
            place = replace(place, registry=name, repository=repository)
        registry = await self._registries.get(place.host)
        steps = self._store_steps if place.is_store else self._steps
        configs = {}
        for platform in record.platforms:
            if platform.config is not None and platform.config_digest is not None:
                config = await steps.content.config(
                    registry, place.repository, platform.config_digest
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
            what = "manifest" if reference.tag is None else "tag"
            failure = replace(
                failure,
                kind=FailureKind.VANISHED,
                detail=f"the registry listed this {what} but no longer has it (404)",
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


def _with_signatures(record: ImageRecord, signed: VerifiedSignatures) -> ImageRecord:
    return replace(
        record,
        verified_by=signed.verified_by,
        not_verified_by=signed.not_verified_by,
        signatures=signed.signatures,
        signatures_left_out=signed.signatures_left_out,
        warnings=record.warnings + signed.warnings,
    )


def first_source(registries: Registries, reference: Reference) -> Reference | Failure:
    """The first place to ask for an image, or the failure if none may be asked."""
    sources = registries.sources(reference)
    return next((one for one in sources if isinstance(one, Reference)), sources[-1])


async def first_success(
    sources: Sequence[Reference | Failure],
    fetch: Callable[[Reference], Awaitable[Value | Failure]],
) -> tuple[Value | Failure, tuple[Warn, ...]]:
    """The result of `fetch` at the first of an image's sources where it does not fail.

    A result comes with a warning for each source before it; a failure is that of the
    last source, with the details of the others.
    """
    *mirrors, last = sources
    failed: list[str] = []
    for source in mirrors:
        result = source if isinstance(source, Failure) else await fetch(source)
        if not isinstance(result, Failure):
            return result, tuple(map(_not_at_mirror, failed))
        name = "" if isinstance(source, Failure) else f" {source.registry}"
        failed.append(f"the mirror{name}: {result.detail}")
    result = last if isinstance(last, Failure) else await fetch(last)
    if not isinstance(result, Failure):
        return result, tuple(map(_not_at_mirror, failed))
    if failed:
        before = "; before that, ".join(failed)
        result = replace(result, detail=f"{result.detail}; before that, {before}")
    return result, ()


def _not_at_mirror(detail: str) -> Warn:
    return Warn(code=WarningCode.NOT_AT_MIRROR, detail=detail)
