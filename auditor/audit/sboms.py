"""The SBOMs that are attached to the images of a report, read once each.

    SbomReader.batches(attachments)    attachment -> manifest -> documents -> packages

A document is fetched by its digest and verified; of a document that was read before,
the digest cache has the packages, under a digest of its own (`_cache_key`): they take a
fiftieth of the document's size. So an audit whose images have not changed sends no
request for their SBOMs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import anyio
import anyio.to_thread
import orjson

from auditor.audit.content_cache import ContentCache
from auditor.audit.fetch_content import fetch_attached_blob
from auditor.cache.digest_cache import DigestCache
from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.attachments import sbom_documents
from auditor.oci.descriptor import Descriptor
from auditor.oci.manifest import ImageManifest, VerifiedManifest
from auditor.oci.reference import Reference
from auditor.oci.sbom import MAX_SBOM_BYTES, Sbom, parse_sbom
from auditor.registry.client import Registry
from auditor.registry.registries import Registries
from auditor.report.sbom_file import SbomRecord, encode_record
from auditor.util.tasks import SingleFlight, bounded_gather
from auditor.util.text import format_count

# Attachments at once; the limits of their registries are the effective ones.
CONCURRENT_ATTACHMENTS = 8
# A parsed document takes some ten times its size: of large ones, one at a time.
LARGE_BYTES = 2 * 1024 * 1024
# Documents of one attachment: BuildKit writes two, one of them an SBOM.
MAX_DOCUMENTS = 20
# What is kept of a document, and how; a change of what is read needs a new number.
_CACHE_FORMAT = "auditor sbom 1"
_CONTENT_TYPE = "#sbom"

# Failures of the document, not of the way to it: another audit finds the same.
_OF_DOCUMENTS = frozenset({FailureKind.TOO_LARGE, FailureKind.UNSUPPORTED_MEDIA_TYPE})


@dataclass(frozen=True, slots=True)
class SbomAttachment:
    """An attachment that may have SBOMs: the digest of its manifest, and where it is.

    The tags of `places` are of no meaning. `subjects` are the digests that it is
    attached to, as a report says; usually one.
    """

    digest: str
    places: tuple[Reference, ...]
    subjects: tuple[str, ...] = ()

    @property
    def registry(self) -> str:
        """The name of a registry that has it."""
        return self.places[0].registry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """A document that may be an SBOM, as its attachment describes it."""

    attachment: SbomAttachment
    descriptor: Descriptor


class SbomReader:
    """Reads the SBOMs of attachments.

    `counts` has the numbers of SBOMs `read`, of those `from_cache`, `unreadable` (the
    document is at fault), `failed` (it could not be fetched) and `packages`.
    """

    def __init__(
        self,
        registries: Registries,
        cache: DigestCache,
        content: ContentCache,
        *,
        is_late: Callable[[], Failure | None],
    ) -> None:
        """`is_late` returns a failure as soon as no more may be fetched."""
        self._registries = registries
        self._cache = cache
        self._content = content
        self._is_late = is_late
        # By digest and size: manifests that state another size fail for themselves.
        self._flights: SingleFlight[
            tuple[str, int], dict[str, Any] | Failure | None
        ] = SingleFlight()
        self._large = anyio.Lock()
        self.counts: Counter[str] = Counter()

    async def batches(
        self, attachments: AsyncIterator[list[SbomAttachment]]
    ) -> AsyncIterator[list[bytes]]:
        """The lines of the SBOM file, in the order of the attachments."""
        async for batch in attachments:
            found = await bounded_gather(
                self._read_attachment, batch, limit=CONCURRENT_ATTACHMENTS
            )
            yield [line for lines in found for line in lines]

    async def _read_attachment(self, attachment: SbomAttachment) -> list[bytes]:
        manifest = await self._manifest(attachment)
        if isinstance(manifest, Failure):
            return [self._failed(attachment.digest, None, manifest)]
        listed: tuple[Descriptor, ...] = ()
        if isinstance(manifest.manifest, ImageManifest):
            listed = sbom_documents(manifest.manifest)
        lines = []
        for descriptor in listed[:MAX_DOCUMENTS]:
            line = await self._read_document(
                _Document(attachment=attachment, descriptor=descriptor)
            )
            lines += [] if line is None else [line]
        if len(listed) > MAX_DOCUMENTS:
            count = format_count(len(listed) - MAX_DOCUMENTS, "document")
            failure = Failure(
                kind=FailureKind.TOO_LARGE, detail=f"{count} more are not read"
            )
            lines.append(self._failed(attachment.digest, None, failure))
        return lines

    async def _manifest(self, attachment: SbomAttachment) -> VerifiedManifest | Failure:
        for place in attachment.places:
            known = self._content.known_manifest(place.host, attachment.digest)
            if known is not None:
                return known.verified

        async def fetch(registry: Registry, place: Reference) -> Any:
            return await self._content.manifest(
                registry, place.repository, attachment.digest
            )

        found: VerifiedManifest | Failure = await self._first(attachment, fetch)
        return found

    async def _first(
        self,
        attachment: SbomAttachment,
        fetch: Callable[[Registry, Reference], Any],
    ) -> Any:
        """The first success at the places of an attachment, or the last failure."""
        result: Any = Failure(kind=FailureKind.NOT_FOUND, detail="no place to ask")
        for place in attachment.places:
            late = self._is_late()
            if late is not None:
                return late
            registry = await self._registries.get(place.host)
            result = await fetch(registry, place)
            if not isinstance(result, Failure):
                break
        return result

    # -- documents ---------------------------------------------------------------

    async def _read_document(self, document: _Document) -> bytes | None:
        """The line of a document; None if it is a statement about something else."""
        descriptor = document.descriptor
        attachment = document.attachment.digest
        found = self._cached(document)
        result: dict[str, Any] | Failure | None
        if found:
            result = found[0]
            self.counts["from_cache"] += result is not None
        else:
            result = await self._flights.run(
                (descriptor.digest, descriptor.size), lambda: self._fetch(document)
            )
        if result is None:
            return None
        if isinstance(result, Failure):
            return self._failed(attachment, descriptor, result)
        self.counts["unreadable" if result["failure"] else "read"] += 1
        self.counts["packages"] += len(result["packages"])
        return orjson.dumps(
            {
                **_described(attachment, descriptor),
                **_with_subject_warning(result, document.attachment.subjects),
            }
        )

    async def _fetch(self, document: _Document) -> dict[str, Any] | Failure | None:
        if document.descriptor.size > LARGE_BYTES:
            async with self._large:
                return await self._fetch_and_parse(document)
        return await self._fetch_and_parse(document)

    async def _fetch_and_parse(
        self, document: _Document
    ) -> dict[str, Any] | Failure | None:
        descriptor = document.descriptor

        async def fetch(registry: Registry, place: Reference) -> Any:
            return await fetch_attached_blob(
                registry, place.repository, descriptor, max_bytes=MAX_SBOM_BYTES
            )

        raw = await self._first(document.attachment, fetch)
        if isinstance(raw, Failure):
            return raw
        # In a thread: a large document takes a second.
        data = await anyio.to_thread.run_sync(_parsed, raw)
        self._cache.put(
            document.attachment.registry,
            _cache_key(descriptor.digest),
            data,
            content_type=_CONTENT_TYPE,
            is_partial_digest=True,
        )
        found: dict[str, Any] | None = orjson.loads(data)
        return found

    def _cached(self, document: _Document) -> tuple[dict[str, Any] | None] | tuple[()]:
        """What the cache has of a document, in a tuple; None stands for no SBOM."""
        key = _cache_key(document.descriptor.digest)
        content = self._cache.get(document.attachment.registry, key)
        if content is None:
            return ()
        try:
            found = orjson.loads(content.body)
        except orjson.JSONDecodeError:
            found = False
        if found is not None and not (
            isinstance(found, dict) and found.keys() == _CONTENT_KEYS
        ):
            self._cache.discard(key)
            return ()
        return (found,)

    def _failed(
        self, attachment: str, descriptor: Descriptor | None, failure: Failure
    ) -> bytes:
        is_of_document = failure.kind in _OF_DOCUMENTS
        self.counts["unreadable" if is_of_document else "failed"] += 1
        record = _record(_described(attachment, descriptor), failure)
        return encode_record(record)


def _with_subject_warning(
    content: dict[str, Any], attached_to: Sequence[str]
) -> dict[str, Any]:
    """The content, with a warning if its statement is about something else."""
    named = content["subjects"]
    if not named or not attached_to or not set(named).isdisjoint(attached_to):
        return content
    warning = (
        f"the statement is about {named[0]}, but attached to {attached_to[0]}:"
        " its packages are of another manifest"
    )
    return {**content, "warnings": [*content["warnings"], warning]}


def _described(attachment: str, descriptor: Descriptor | None) -> dict[str, Any]:
    """The first fields of a record, in its order."""
    return {
        "schema": SbomRecord.schema,
        "kind": SbomRecord.kind,
        "attachment": attachment,
        "digest": None if descriptor is None else descriptor.digest,
        "media_type": None if descriptor is None else descriptor.media_type,
        "size": None if descriptor is None else descriptor.size,
    }


def _record(described: dict[str, Any], failure: Failure) -> SbomRecord:
    content = _content(None, failure=failure.kind, detail=failure.detail)
    return SbomRecord(**described, **content)


def _content(
    sbom: Sbom | None, *, failure: FailureKind | None = None, detail: str | None = None
) -> dict[str, Any]:
    """The fields of a record that are the same wherever the document is."""
    return {
        "format": sbom.format if sbom else None,
        "format_version": sbom.format_version if sbom else None,
        "subjects": sbom.subjects if sbom else (),
        "packages": sbom.packages if sbom else (),
        "packages_left_out": sbom.packages_left_out if sbom else 0,
        "failure": failure,
        "detail": detail,
        "warnings": sbom.warnings if sbom else (),
    }


def _parsed(raw: bytes) -> bytes:
    """What is kept of a document, as JSON; `null` for what is no SBOM."""
    try:
        sbom = parse_sbom(raw)
    except ProtocolError as error:
        return orjson.dumps(_content(None, failure=error.kind, detail=error.detail))
    return orjson.dumps(None if sbom is None else _content(sbom))


_CONTENT_KEYS = _content(None).keys()


def _cache_key(digest: str) -> str:
    """The digest under which the cache keeps what was read of a document.

    Not the document's own: the cache could then take it for the document.
    """
    return "sha256:" + sha256(f"{_CACHE_FORMAT} {digest}".encode()).hexdigest()


def attachment_at(
    digest: str,
    places: Iterable[tuple[str, str, str | None]],
    subjects: Iterable[str] = (),
) -> SbomAttachment:
    """An attachment, by registry, repository and location of its records."""
    found = []
    for registry, repository, location in places:
        place = Reference(registry=registry, repository=repository, tag="", digest=None)
        if location is not None:
            name, _, moved = location.partition("/")
            place = replace(place, registry=name, repository=moved)
        found.append(place)
    return SbomAttachment(digest, tuple(found), tuple(subjects))
