"""Data about an image that belongs to its repository, not its digest.

`RepositoryDataCollector` collects attachments (signatures, SBOMs, attestations and
other artifacts) and, with `--verify-blobs`, warnings about missing blobs.

With `--attachments all` it looks in three places for each digest of an image: the
referrers API, or without it the fallback tag `sha256-<hex>` (OCI distribution-spec,
"Referrers Tag Schema"), and cosign's tags `sha256-<hex>.sig`, `.att` and `.sbom`. One
listing of the repository's tags saves the requests for tags that do not exist.

With `--verify-signatures` alone it looks there for the digest of the image itself, and
not for those of its platforms, whose signatures do not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import field, replace

from auditor.audit.content_cache import ContentCache
from auditor.audit.fetch_content import SharedFailures
from auditor.audit.image_metadata import (
    UNKNOWN_STATUS,
    ImageMetadata,
    ImageOptions,
    NamedBlob,
    SupplyChainStatus,
    present_digests,
    sort_attachments,
    supply_chain_status,
)
from auditor.audit.memory_sizes import (
    ATTACHMENTS_LEFT_OUT,
    MAX_ATTACHMENTS_BYTES,
    MAX_DATA_BYTES,
    MIB,
    attachment_json_bytes,
    attachments_bytes,
)
from auditor.audit.resolve import Resolver
from auditor.config import AttachmentMode
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
    COSIGN_SUFFIXES,
    attachment_from_descriptor,
    attachment_from_manifest,
    cosign_tags,
    fallback_tags,
    is_digest_tag,
    may_be_signature,
    needs_manifest,
)
from auditor.oci.content_kind import is_image, referrers_of
from auditor.oci.manifest import ImageIndex
from auditor.oci.reference import Reference
from auditor.registry.client import BlobStat, Registry
from auditor.util.lru import Lru
from auditor.util.tasks import SingleFlight, bounded_gather
from auditor.util.text import format_count

# Requests for one image sent concurrently; the host's limit is the effective one.
CONCURRENT_REQUESTS = 16
# Pages of a repository's tags. The listing saves up to four requests per subject;
# beyond ten pages of a thousand it costs more than most runs save.
MAX_LIST_PAGES = 10
# Images whose attachments are kept, some 2 KiB each.
MAX_IMAGES = 2048
# Repositories whose digest tags are kept, some 100 bytes for each signed image.
MAX_REPOSITORIES = 256
TOO_MANY = (
    "only those that the index lists are recorded: all of them take more than"
    f" {MAX_ATTACHMENTS_BYTES // MIB} MiB"
)

# Blob checks kept, some 300 bytes each: 40 MB. Lists name the tags of a repository one
# after the other, so that older results are rarely needed again.
MAX_BLOBS = 131_072

_Key = tuple[str, str, str]  # registry, repository, digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryData:
    """Attachments of an image, the status that follows from them, and warnings.

    `has_all_signatures`: all those of the image itself were found, and perhaps others.
    """

    attachments: tuple[Attachment, ...] = ()
    has_all_signatures: bool = False
    status: SupplyChainStatus = UNKNOWN_STATUS
    warnings: tuple[Warn, ...] = ()


NO_DATA = RepositoryData()


# In a tuple: None, "not known", is a result to keep, too.
_DigestTags = tuple[frozenset[str] | None]


class RepositoryDataCollector:
    """Collects the data of images that the options ask for.

    Without `--attachments all` and `--verify-blobs` it only sends requests for images
    whose signatures are to be found.
    """

    def __init__(
        self,
        content: ContentCache,
        options: ImageOptions,
        resolver: Resolver,
        blobs: BlobChecker,
    ) -> None:
        self._all_attachments = options.attachments is AttachmentMode.ALL
        self.content = content
        self.resolver = resolver
        self.blobs = blobs
        self._images: Lru[_Key, RepositoryData] = Lru(MAX_IMAGES, MAX_DATA_BYTES)
        self._flights: SingleFlight[_Key, RepositoryData] = SingleFlight()
        self._tags: Lru[tuple[str, str], _DigestTags] = Lru(MAX_REPOSITORIES)
        self._listings: SingleFlight[tuple[str, str], _DigestTags] = SingleFlight()

    async def collect(
        self,
        registry: Registry,
        repository: str,
        metadata: ImageMetadata,
        *,
        find_signatures: bool,
    ) -> RepositoryData:
        """The data of one image; `find_signatures`: those of the image itself.

        Of one repository, it is always the same.
        """
        warnings: tuple[Warn, ...] = ()
        if metadata.blobs:
            warnings = await self.blobs.warnings(registry, repository, metadata.blobs)
        if find_signatures or self._all_attachments:
            data = await self._search(registry, repository, metadata)
            return (
                replace(data, warnings=data.warnings + warnings) if warnings else data
            )
        if not metadata.attachments and not warnings:
            return NO_DATA
        return RepositoryData(
            attachments=metadata.attachments, status=metadata.status, warnings=warnings
        )

    async def _search(
        self, registry: Registry, repository: str, metadata: ImageMetadata
    ) -> RepositoryData:
        """What is attached to an image, searched once; and to its platforms, if all is.

        Failures are warnings: then some attachments may be missing.
        """
        key = (registry.name, repository, metadata.digest)
        cached = self._images.get(key)
        if cached is not None:
            return cached
        search = _AttachmentSearch(
            self, registry, repository, metadata, of_platforms=self._all_attachments
        )
        data = await self._flights.run(
            key, search.run, is_certain=lambda data: not data.warnings
        )
        if not data.warnings:  # a failed request may succeed for the next tag
            self._images.put(key, data, attachments_bytes(data.attachments))
        return data

    async def digest_tags(
        self, registry: Registry, repository: str
    ) -> frozenset[str] | None:
        """The tags of a repository that name a digest; None if they are not known."""
        key = (registry.name, repository)
        tags = self._tags.get(key)
        if tags is None:
            tags = await self._listings.run(
                key, lambda: _list_digest_tags(registry, repository)
            )
            self._tags.put(key, tags)
        return tags[0]


async def _list_digest_tags(registry: Registry, repository: str) -> _DigestTags:
    """List the digest tags; None if the listing is incomplete."""
    names: set[str] = set()
    count = 0
    async for page in registry.list_every_tag(repository):
        if isinstance(page, Failure):
            break
        count += len(page.entries) + page.unreadable
        names.update(entry.name for entry in page.entries if is_digest_tag(entry.name))
        if page.last:
            is_suspicious = page.number == 1 and count in SUSPICIOUS_COUNTS
            if page.end_unknown or (is_suspicious and not page.end_verified):
                break
            return (frozenset(names),)
        if page.number >= MAX_LIST_PAGES:
            break
    return (None,)


@dataclass(slots=True, eq=False)
class _AttachmentSearch:
    """The search for one image's attachments; `found` are by digest and subject.

    Without `of_platforms`, only for those of the image itself, and for signatures.
    """

    collector: RepositoryDataCollector
    registry: Registry
    repository: str
    metadata: ImageMetadata
    of_platforms: bool
    warnings: set[Warn] = field(default_factory=set)
    found: dict[tuple[str, str | None], Attachment] = field(default_factory=dict)
    found_bytes: int = 0

    async def run(self) -> RepositoryData:
        root = self.metadata.digest
        platforms = present_digests(self.metadata.platforms)
        self._add(self.metadata.attachments)
        # The root first: its response shows whether the registry has the referrers API.
        await self._search_subject(root)
        others = sorted(platforms - {root})
        if self.of_platforms:
            await bounded_gather(
                self._search_subject, others, limit=CONCURRENT_REQUESTS
            )
        incomplete = [one for one in self.found.values() if self._is_incomplete(one)]
        await bounded_gather(self._read_manifest, incomplete, limit=CONCURRENT_REQUESTS)
        if self.is_too_large:
            # Those of the index alone, which do not depend on the order of responses.
            self.found.clear()
            self.found_bytes = 0
            self._add(self.metadata.attachments)
            warn = Warn(code=WarningCode.ATTACHMENTS_UNKNOWN, detail=TOO_MANY)
            self.warnings = {warn}
        are_all_known = not self.warnings and not any(
            one.detail == ATTACHMENTS_LEFT_OUT for one in self.metadata.warnings
        )
        # The registry may name the subject of what the index lists without one.
        known = {digest for digest, subject in self.found if subject is not None}
        in_index = {one.digest for one in self.metadata.attachments}
        attachments = sort_attachments(
            replace(one, in_index=digest in in_index)
            for (digest, subject), one in self.found.items()
            if subject is not None or digest not in known
        )
        return RepositoryData(
            attachments=attachments,
            has_all_signatures=are_all_known,
            status=supply_chain_status(
                root,
                platforms,
                attachments,
                is_complete=are_all_known and (self.of_platforms or not others),
            ),
            warnings=tuple(sorted(self.warnings, key=lambda warn: warn.detail)),
        )

    def _is_incomplete(self, attachment: Attachment) -> bool:
        """Whether the manifest of an attachment is fetched, to know what it is."""
        return needs_manifest(attachment) and (
            self.of_platforms or may_be_signature(attachment)
        )

    @property
    def is_too_large(self) -> bool:
        """Whether a record cannot have all that was found: then the search ends."""
        return self.found_bytes > MAX_ATTACHMENTS_BYTES

    def _add(self, attachments: Iterable[Attachment]) -> None:
        """Add attachments; a duplicate without predicates is dropped."""
        for one in attachments:
            before = self.found.get((one.digest, one.subject))
            if before is None or before.predicates is None:
                self._put(one)

    def _put(self, attachment: Attachment) -> None:
        if self.is_too_large:
            return
        key = attachment.digest, attachment.subject
        before = self.found.get(key)
        if before is not None:
            self.found_bytes -= attachment_json_bytes(before)
        self.found_bytes += attachment_json_bytes(attachment)
        if not self.is_too_large:
            self.found[key] = attachment

    async def _search_subject(self, subject: str) -> None:
        if self.is_too_large:
            return
        names = [*cosign_tags(subject)]
        referrers = await self.registry.referrers.list(self.repository, subject)
        if isinstance(referrers, Failure):
            self._warn(f"the referrers of {subject}", referrers)
        elif referrers is None:
            names += fallback_tags(subject)
        else:
            self._add(attachment_from_descriptor(one, subject) for one in referrers)
        tags = await self.collector.digest_tags(self.registry, self.repository)
        existing = [name for name in names if tags is None or name in tags]
        await bounded_gather(
            lambda tag: self._read_tag(tag, subject),
            existing,
            limit=CONCURRENT_REQUESTS,
        )

    async def _read_tag(self, tag: str, subject: str) -> None:
        reference = Reference(
            registry=self.registry.name,
            repository=self.repository,
            tag=tag,
            digest=None,
        )
        # Signing again moves the tag, even if the tags of images are immutable.
        verified = await self.collector.resolver.resolve_mutable_tag(
            self.registry, reference
        )
        if isinstance(verified, Failure):
            if verified.kind is not FailureKind.NOT_FOUND:
                self._warn(f"tag {tag}", verified)
            return
        manifest = verified.manifest
        is_cosign = tag.endswith(COSIGN_SUFFIXES)
        if isinstance(manifest, ImageIndex) and not is_cosign:
            self._add(
                attachment_from_descriptor(child, subject, tag=tag)
                for child in referrers_of(manifest)
            )
        elif is_cosign or not is_image(manifest):
            size = verified.content_size
            self._add(
                [
                    attachment_from_manifest(
                        verified.digest, subject, manifest, size=size, tag=tag
                    )
                ]
            )

    async def _read_manifest(self, attachment: Attachment) -> None:
        """Complete an attachment from its own manifest."""
        if self.is_too_large:
            return
        verified = await self.collector.content.manifest(
            self.registry, self.repository, attachment.digest
        )
        if isinstance(verified, Failure):
            self._warn(f"attachment {attachment.digest}", verified)
            return
        complete = attachment_from_manifest(
            attachment.digest,
            attachment.subject,
            verified.manifest,
            size=verified.content_size,
            tag=attachment.tag,
            # Without an artifact type, only the index can have marked it so.
            attested=attachment.kind is AttachmentKind.ATTESTATION
            and attachment.artifact_type is None,
        )
        if complete.artifact_type is None:
            complete = replace(complete, artifact_type=attachment.artifact_type)
        self._put(complete)

    def _warn(self, what: str, failure: Failure) -> None:
        detail = f"{what}: {failure.detail}"
        self.warnings.add(Warn(code=WarningCode.ATTACHMENTS_UNKNOWN, detail=detail))


# -- Blobs -------------------------------------------------------------------------


class BlobChecker:
    """Checks each blob once per repository.

    A registry has a blob for a repository: a layer that one repository has may be
    missing in another. `counts` are those of `Summary.blobs`.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._results: Lru[_Key, BlobStat] = Lru(MAX_BLOBS)
        self._failures: SharedFailures[_Key] = SharedFailures(MAX_BLOBS)
        # As what a blob with a failure is counted.
        self._failed_states: Lru[_Key, str] = Lru(MAX_BLOBS)
        self._flights: SingleFlight[_Key, BlobStat | Failure] = SingleFlight()

    async def warnings(
        self, registry: Registry, repository: str, blobs: Collection[NamedBlob]
    ) -> tuple[Warn, ...]:
        """Warnings about the blobs of one image."""
        ordered = sorted(blobs, key=lambda blob: (blob.digest, blob.size or 0))
        results = await bounded_gather(
            lambda blob: self._check(registry, repository, blob.digest),
            ordered,
            limit=CONCURRENT_REQUESTS,
        )
        found: list[tuple[WarningCode, str]] = []
        unverified: list[str] = []
        for blob, result in zip(ordered, results, strict=True):
            name = f"{blob.kind} {blob.digest}"
            if isinstance(result, BlobStat):
                if None not in {result.size, blob.size} and result.size != blob.size:
                    detail = f"{name} has {result.size} bytes, but {blob.size} in the"
                    found.append((WarningCode.BLOB_SIZE_DIFFERS, f"{detail} manifest"))
            elif result.kind is FailureKind.NOT_FOUND:
                detail = f"the registry does not have the {name} of the manifest"
                found.append((WarningCode.BLOB_MISSING, detail))
            else:
                unverified.append(f"{name}: {result.detail}")
        self.counts["size_differs"] += sum(
            code is WarningCode.BLOB_SIZE_DIFFERS for code, _ in found
        )
        if unverified:
            # One warning for all: a host that is down fails hundreds of checks.
            detail = (
                f"{len(unverified)} of {format_count(len(ordered), 'blob')} could not"
                f" be checked, for example {unverified[0]}"
            )
            found.append((WarningCode.BLOB_UNVERIFIED, detail))
        return tuple(Warn(code=code, detail=detail) for code, detail in found)

    async def _check(
        self, registry: Registry, repository: str, digest: str
    ) -> BlobStat | Failure:
        key = (registry.name, repository, digest)
        known = self._results.get(key) or self._failures.get(key)
        if known is not None:
            return known

        async def check() -> BlobStat | Failure:
            result = await registry.blobs.stat(repository, digest)
            self._count(key, result)
            if isinstance(result, Failure):
                self._failures.add(key, result)
            else:
                self._results.put(key, result)
                self._failures.drop(key)
            return result

        return await self._flights.run(
            key, check, is_certain=lambda result: isinstance(result, BlobStat)
        )

    def _count(self, key: _Key, result: BlobStat | Failure) -> None:
        """Count a blob by the result of its latest check."""
        state = "there"
        if isinstance(result, Failure):
            is_missing = result.kind is FailureKind.NOT_FOUND
            state = "missing" if is_missing else "unverified"
        before = self._failed_states.get(key)
        if before is None:
            self.counts["checked"] += 1
        else:
            self.counts[before] -= 1
        self.counts[state] += 1
        if state == "there":
            self._failed_states.drop(key)
        else:
            self._failed_states.put(key, state)
