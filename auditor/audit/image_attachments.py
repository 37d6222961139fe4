"""What is attached to images: referrers, their fallback tag, and cosign's tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace

from auditor.audit.content_cache import ContentCache
from auditor.audit.image_metadata import (
    ImageMetadata,
    NamedBlob,
    SupplyChainStatus,
    present,
    supply_chain_status,
)
from auditor.audit.resolve import Resolver
from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.model import (
    SUSPICIOUS_COUNTS,
    Attachment,
    AttachmentKind,
    Warn,
    WarningCode,
)
from auditor.oci.attachments import (
    attachment_from_descriptor,
    attachment_from_manifest,
    is_digest_tag,
    needs_manifest,
)
from auditor.oci.manifest import ImageIndex, VerifiedManifest
from auditor.oci.reference import Reference
from auditor.registry.client import BlobStat, Registry
from auditor.util.lru import Lru
from auditor.util.single_flight import SingleFlight, bounded_gather
from auditor.util.text import format_count

# Subjects of one image that are asked about at once; the host's slots are the limit.
AT_ONCE = 16
# A repository's list of tags saves up to four requests for each subject. Beyond ten
# pages of a thousand it costs more than most runs save by it.
MAX_LIST_PAGES = 10
# Images whose attachments are remembered, some 2 KiB each, and repositories whose
# tags of this kind are, some 100 bytes for each signed image.
MAX_IMAGES = 2048
MAX_REPOSITORIES = 256

# cosign: specs/SIGNATURE_SPEC.md, ATTESTATION_SPEC.md, SBOM_SPEC.md.
_SUFFIXES = (".sig", ".att", ".sbom")

_Place = tuple[str, str, str]  # registry, repository, digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything that is attached; with `warnings`, not everything was seen."""

    attachments: tuple[Attachment, ...]
    answers: SupplyChainStatus
    warnings: tuple[Warn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _DigestTags:
    """Null where the list does not prove what is not there."""

    names: frozenset[str] | None


class Attached:
    """Finds what is attached to the images of a run, once for each image."""

    def __init__(self, content: ContentCache, lookup: Resolver) -> None:
        self._content = content
        self._lookup = lookup
        self._images: Lru[_Place, Found] = Lru(MAX_IMAGES)
        self._flights: SingleFlight[_Place, Found] = SingleFlight()
        self._tags: Lru[tuple[str, str], _DigestTags] = Lru(MAX_REPOSITORIES)
        self._listings: SingleFlight[tuple[str, str], _DigestTags] = SingleFlight()

    async def to(
        self, registry: Registry, repository: str, facts: ImageMetadata
    ) -> Found:
        """What is attached to an image and to each of its platforms.

        Failures are warnings: an image is what it is, whoever signed it.
        """
        place = (registry.name, repository, facts.digest)
        known = self._images.get(place)
        if known is not None:
            return known

        async def find() -> Found:
            return await _Search(self, registry, repository, facts).found()

        found = await self._flights.run(place, find)
        if not found.warnings:  # what failed may work for the next tag
            self._images.put(place, found)
        return found

    async def digest_tags(
        self, registry: Registry, repository: str
    ) -> frozenset[str] | None:
        """The repository's tags that are about a digest; null: not known."""
        place = (registry.name, repository)
        known = self._tags.get(place)
        if known is None:
            known = await self._listings.run(
                place, lambda: _listed(registry, repository)
            )
            self._tags.put(place, known)
        return known.names

    async def manifest(
        self, registry: Registry, repository: str, digest: str
    ) -> VerifiedManifest | Failure:
        """The manifest with this digest, fetched once per run."""
        return await self._content.manifest(registry, repository, digest)

    async def by_tag(
        self, registry: Registry, repository: str, tag: str
    ) -> VerifiedManifest | Failure:
        """What one of these tags names: HEAD is enough if it is known. Who signs again
        moves it, also where the tags of images are declared immutable."""
        reference = Reference(
            registry=registry.name, repository=repository, tag=tag, digest=None
        )
        return await self._lookup.of_moving_tag(registry, reference)


async def _listed(registry: Registry, repository: str) -> _DigestTags:
    """Only a list that was read to its end proves that a tag is not there."""
    unknown = _DigestTags(names=None)
    found: set[str] = set()
    count = 0
    async for page in registry.list_every_tag(repository):
        if isinstance(page, Failure):
            return unknown
        count += len(page.entries) + page.unreadable
        found.update(entry.name for entry in page.entries if is_digest_tag(entry.name))
        if page.last:
            cut = page.number == 1 and count in SUSPICIOUS_COUNTS and not page.checked
            cut = cut or page.in_doubt
            return unknown if cut else _DigestTags(names=frozenset(found))
        if page.number >= MAX_LIST_PAGES:
            return unknown
    return unknown


class _Search:
    """The search for one image's attachments."""

    def __init__(
        self,
        attached: Attached,
        registry: Registry,
        repository: str,
        facts: ImageMetadata,
    ) -> None:
        self._attached = attached
        self._registry = registry
        self._repository = repository
        self._facts = facts
        self._warnings: set[Warn] = set()
        # By digest and subject; of two reports of one thing the one that says more.
        self._found: dict[tuple[str, str | None], Attachment] = {}

    async def found(self) -> Found:
        root = self._facts.digest
        self._keep(self._facts.attachments)
        # The first answer tells whether the host has the API: one request, not many.
        await self._about(root)
        others = present(self._facts.platforms) - {root}
        await bounded_gather(self._about, sorted(others), at_once=AT_ONCE)
        vague = [one for one in self._found.values() if needs_manifest(one)]
        await bounded_gather(self._look_into, vague, at_once=AT_ONCE)
        attachments = tuple(
            sorted(
                self._found.values(),
                key=lambda one: (one.digest, one.kind, one.subject or ""),
            )
        )
        return Found(
            attachments=attachments,
            answers=supply_chain_status(
                root,
                present(self._facts.platforms),
                attachments,
                everywhere=not self._warnings,
            ),
            warnings=tuple(sorted(self._warnings, key=lambda warn: warn.detail)),
        )

    def _keep(self, attachments: Iterable[Attachment]) -> None:
        for one in attachments:
            before = self._found.get((one.digest, one.subject))
            if before is None or before.predicates is None:
                self._found[one.digest, one.subject] = one

    async def _about(self, subject: str) -> None:
        tag = subject.replace(":", "-")
        names = [tag + suffix for suffix in _SUFFIXES]
        listed = await self._registry.referrers.list(self._repository, subject)
        if isinstance(listed, Failure):
            self._unknown(f"the referrers of {subject}", listed)
        elif listed is None:
            names.append(tag)  # spec, "Referrers Tag Schema"
        else:
            self._keep(attachment_from_descriptor(one, subject) for one in listed)
        tags = await self._attached.digest_tags(self._registry, self._repository)
        wanted = [name for name in names if tags is None or name in tags]
        await bounded_gather(
            lambda name: self._tagged(name, subject), wanted, at_once=len(names)
        )

    async def _tagged(self, tag: str, subject: str) -> None:
        document = await self._attached.by_tag(self._registry, self._repository, tag)
        if isinstance(document, Failure):
            if document.kind is not FailureKind.NOT_FOUND:
                self._unknown(f"tag {tag}", document)
        elif not isinstance(document.manifest, ImageIndex) or tag.endswith(_SUFFIXES):
            self._keep(
                [attachment_from_manifest(document.digest, subject, document.manifest)]
            )
        else:
            self._keep(
                attachment_from_descriptor(one, subject)
                for one in document.manifest.children
            )

    async def _look_into(self, vague: Attachment) -> None:
        document = await self._attached.manifest(
            self._registry, self._repository, vague.digest
        )
        if isinstance(document, Failure):
            self._unknown(f"attachment {vague.digest}", document)
            return
        said = attachment_from_manifest(
            vague.digest,
            vague.subject,
            document.manifest,
            # So the index said: nothing else names it so without a type.
            attested=vague.kind is AttachmentKind.ATTESTATION
            and vague.artifact_type is None,
        )
        if said.artifact_type is None:
            said = replace(said, artifact_type=vague.artifact_type)
        self._found[vague.digest, vague.subject] = said

    def _unknown(self, what: str, failure: Failure) -> None:
        self._warnings.add(
            Warn(
                code=WarningCode.ATTACHMENTS_UNKNOWN,
                detail=f"{what}: {failure.detail}",
            )
        )


# -- blob_check --
# Whether the blobs that manifests name are there, and as large as they say.

# Blobs of one image asked about at once; the host's slots are the real limit.
AT_ONCE = 16
# Blobs remembered, some 300 bytes each: 40 MB. Lists name the tags of a repository
# one after the other, so that what is forgotten is seldom met again.
MAX_KNOWN = 131_072


class BlobCheck:
    """Asks for each blob once in each repository, and counts what it hears.

    A registry has a blob for a repository, not as such: a layer that one repository
    has may be missing in the next.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._known: Lru[_Place, BlobStat | Failure] = Lru(MAX_KNOWN)
        self._flights: SingleFlight[_Place, BlobStat | Failure] = SingleFlight()

    async def warnings(
        self, registry: Registry, repository: str, blobs: Collection[NamedBlob]
    ) -> tuple[Warn, ...]:
        """What is wrong with these blobs of one image of a repository."""
        ordered = sorted(blobs, key=lambda blob: (blob.digest, blob.size or 0))
        found = await bounded_gather(
            lambda blob: self._look(registry, repository, blob.digest),
            ordered,
            at_once=AT_ONCE,
        )
        warnings: list[Warn] = []
        unknown: list[tuple[NamedBlob, Failure]] = []
        for blob, said in zip(ordered, found, strict=True):
            name = f"the {blob.what} {blob.digest}"
            if isinstance(said, BlobStat):
                if None not in {said.size, blob.size} and said.size != blob.size:
                    detail = (
                        f"{name} has {said.size} bytes, the manifest says {blob.size}"
                    )
                    warnings.append(
                        Warn(code=WarningCode.BLOB_SIZE_DIFFERS, detail=detail)
                    )
            elif said.kind is FailureKind.NOT_FOUND:
                detail = f"the manifest names {name} and the registry has it not"
                warnings.append(Warn(code=WarningCode.BLOB_MISSING, detail=detail))
            else:
                unknown.append((blob, said))
        if unknown:
            # One sentence: a host that is down has none of hundreds.
            blob, failure = unknown[0]
            detail = (
                f"{len(unknown)} of {format_count(len(ordered), 'blob')} could not be"
                " checked,"
                f" for example the {blob.what} {blob.digest}: {failure.detail}"
            )
            warnings.append(Warn(code=WarningCode.BLOB_UNVERIFIED, detail=detail))
        self.counts["size_differs"] += sum(
            warning.code is WarningCode.BLOB_SIZE_DIFFERS for warning in warnings
        )
        return tuple(warnings)

    async def _look(
        self, registry: Registry, repository: str, digest: str
    ) -> BlobStat | Failure:
        place = (registry.name, repository, digest)
        known = self._known.get(place)
        if known is not None:
            return known

        async def look() -> BlobStat | Failure:
            said = await registry.blobs.stat(repository, digest)
            self._count(said)
            return said

        said = await self._flights.run(place, look)
        if isinstance(said, BlobStat) or not said.kind.retryable:
            self._known.put(place, said)
        return said

    def _count(self, said: BlobStat | Failure) -> None:
        self.counts["checked"] += 1
        if isinstance(said, BlobStat):
            self.counts["there"] += 1
        elif said.kind is FailureKind.NOT_FOUND:
            self.counts["missing"] += 1
        else:
            self.counts["unverified"] += 1
