"""The manifest that a reference names, with the fewest requests.

A tag that was never asked for costs a GET. One that was costs a HEAD, if that names a
digest whose content is known; none at all, if it is declared immutable or if the
listing has just said that digest. A reference by digest costs a HEAD if the content is
known: the record claims that the registry holds it.

What comes out is what a GET would give, warnings included: where a registry's HEAD
could say something else than its GET, it is not relied on.
"""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum
from fnmatch import translate
from functools import cache

from auditor.audit.content_cache import NO_HEAD, ContentCache
from auditor.cache.batch import CachedTag
from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.model import WarningCode
from auditor.oci.descriptor import essence
from auditor.oci.manifest import (
    Manifest,
    VerifiedManifest,
    parse_manifest,
    verify_manifest,
)
from auditor.oci.reference import Reference, is_digest
from auditor.registry.client import Registry
from auditor.util.lru import Lru
from auditor.wire.response import Response

DIGEST_HEADER = "Docker-Content-Digest"
# Manifests of tags, with their bytes: some 10 KB each for an index, 64 KB at most in
# practice.
MAX_PARSED = 64
# Failures of a HEAD that a GET meets as well. After others it is worth a request: it
# says why, or works, as where a proxy knows no HEAD and says so in words of its own.
_OF_ANY_METHOD = frozenset(
    {
        FailureKind.DNS,
        FailureKind.TLS,
        FailureKind.RATE_LIMITED,
        FailureKind.INTERRUPTED,
        FailureKind.REALM_REFUSED,
        FailureKind.TOKEN_REJECTED,
        FailureKind.NO_PULL_GRANT,
    }
)
# What may be an accident is one of HEAD's when it has happened so often in a run.
MAX_ACCIDENTS = 3


class Ask(StrEnum):
    """What a reference costs at least."""

    GET = "get"
    HEAD = "head"
    NONE = "none"


class Resolver:
    """Finds the manifests of references. `saved` of the content counts what was not
    fetched: `known_tags` and `known_digests`, for which HEAD was enough, `listed_tags`
    and `immutable_tags`, which cost no request."""

    def __init__(self, content: ContentCache) -> None:
        self._content = content
        self._cache = content.cache
        self._parsed: Lru[tuple[bytes, str | None], Manifest] = Lru(MAX_PARSED)
        self._accidents: Counter[str] = Counter()

    async def document(
        self, registry: Registry, reference: Reference, *, listed: str | None
    ) -> VerifiedManifest | Failure:
        """The manifest of a reference. `listed` is the digest that the listing of its
        tag has just said, if it did."""
        if reference.digest is not None:
            return await self._by_digest(registry, reference, reference.digest)
        assert reference.tag is not None
        seen = self._cache.tag(registry.name, reference.repository, reference.tag)
        if seen is None:
            return await self.get(registry, reference)
        found = self._without_a_request(registry, reference.tag, seen, listed)
        if found is not None:
            what, document = found
            self._content.saved[what] += 1
            return document
        return await self._asked(registry, reference, seen)

    async def of_moving_tag(
        self, registry: Registry, reference: Reference
    ) -> VerifiedManifest | Failure:
        """The same for a tag that moves whatever was said of tags like it."""
        assert reference.tag is not None
        seen = self._cache.tag(registry.name, reference.repository, reference.tag)
        if seen is None:
            return await self.get(registry, reference)
        return await self._asked(registry, reference, seen)

    async def _asked(
        self, registry: Registry, reference: Reference, seen: CachedTag
    ) -> VerifiedManifest | Failure:
        if not _is_trusted(seen) or not self._cache.head_is_reliable(registry.name):
            return await self.get(registry, reference)
        return await self._by_head(registry, reference, seen)

    def least(
        self, registry: Registry, reference: Reference, *, listed: str | None
    ) -> Ask:
        """The request that `document` would begin with."""
        if reference.digest is not None:
            known = self._content.known(registry.name, reference.digest)
            pays = known is not None and self._cache.head_is_reliable(registry.name)
            return Ask.HEAD if pays else Ask.GET
        assert reference.tag is not None
        seen = self._cache.tag(registry.name, reference.repository, reference.tag)
        if seen is None:
            return Ask.GET
        if self._without_a_request(registry, reference.tag, seen, listed) is not None:
            return Ask.NONE
        pays = _is_trusted(seen) and self._cache.head_is_reliable(registry.name)
        return Ask.HEAD if pays else Ask.GET

    async def get(
        self, registry: Registry, reference: Reference
    ) -> VerifiedManifest | Failure:
        """The manifest of a reference, fetched."""
        answer = await self.answer(registry, reference)
        return answer if isinstance(answer, Failure) else answer[1]

    async def answer(
        self, registry: Registry, reference: Reference
    ) -> tuple[Response, VerifiedManifest] | Failure:
        """The registry's answer and the manifest in it."""
        answer = await registry.get_manifest(
            reference.repository, reference.manifest_reference
        )
        if isinstance(answer, Failure):
            return answer
        header = answer.headers.get(DIGEST_HEADER)
        content_type = answer.content_type
        try:
            document = verify_manifest(
                answer.body,
                content_type=content_type,
                header_digest=header,
                asked_digest=reference.digest,
                parse=self._parse,
            )
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail, status=answer.status)
        said = essence(content_type)
        self._content.put(registry.name, answer.body, document, said=said)
        if reference.digest is None and reference.tag is not None:
            self._cache.put_tag(
                registry.name,
                reference.repository,
                reference.tag,
                digest=document.digest,
                header=header,
                content_type=said,
            )
            if any(
                warn.code is WarningCode.DIGEST_HEADER_DIFFERS
                for warn in document.warnings
            ):
                self._cache.distrust_digest_headers(registry.name)
        return answer, document

    def _parse(self, raw: bytes, content_type: str | None) -> Manifest:
        """Tags of one image stand together: their manifest is parsed once."""
        key = raw, content_type
        known = self._parsed.get(key)
        if known is None:
            known = parse_manifest(raw, content_type)
            self._parsed.put(key, known)
        return known

    def _without_a_request(
        self, registry: Registry, tag: str, seen: CachedTag, listed: str | None
    ) -> tuple[str, VerifiedManifest] | None:
        """What is known of a tag that need not be asked for, and why not."""
        immutable = registry.settings.immutable_tags
        if immutable and _matcher(immutable).match(tag):
            what = "immutable_tags"
        elif (
            listed == seen.digest
            and _is_trusted(seen)
            and not self._cache.host_notes(registry.name).distrusted
        ):
            what = "listed_tags"
        else:
            return None
        document = self._known(registry, seen)
        return None if document is None else (what, document)

    def _known(self, registry: Registry, seen: CachedTag) -> VerifiedManifest | None:
        """The manifest that a tag named, as it was read then."""
        if _is_trusted(seen):
            known = self._content.known(registry.name, seen.digest)
            if known is None or known.confirmation.content_type != seen.content_type:
                return None
            return known.document
        stored = self._cache.get(registry.name, seen.digest)
        if stored is None:
            return None
        try:
            document = verify_manifest(
                stored.body,
                content_type=seen.content_type,
                header_digest=seen.header,
                asked_digest=None,
            )
        except ProtocolError:
            return None
        return document if document.digest == seen.digest else None

    async def _by_head(
        self, registry: Registry, reference: Reference, seen: CachedTag
    ) -> VerifiedManifest | Failure:
        assert reference.tag is not None
        answer = await registry.head_manifest(reference.repository, reference.tag)
        if isinstance(answer, Failure):
            if answer.kind in _OF_ANY_METHOD:
                return answer
            found = await self.get(registry, reference)
            if not isinstance(found, Failure):
                self._head_failed(registry, answer)
            return found
        header, said = answer.headers.get(DIGEST_HEADER), essence(answer.content_type)
        digest = _named(header, seen.digest)
        if digest is None:
            self._cache.disable_head(registry.name)
            return await self.get(registry, reference)
        known = self._content.known(registry.name, digest)
        if known is None:
            return await self.get(registry, reference)
        if known.confirmation.content_type != said:
            found = await self.get(registry, reference)
            if isinstance(found, VerifiedManifest) and found.digest == digest:
                # GET says of the same content something else than HEAD does.
                self._cache.disable_head(registry.name)
            return found
        if (digest, said) != (seen.digest, seen.content_type):
            self._cache.put_tag(
                registry.name,
                reference.repository,
                reference.tag,
                digest=digest,
                header=header,
                content_type=said,
            )
        self._content.saved["known_tags"] += 1
        return known.document

    def _head_failed(self, registry: Registry, failure: Failure) -> None:
        """Ask no HEAD any more, unless it was an accident that GET did not have."""
        if failure.kind.retryable and failure.status not in {500, *NO_HEAD}:
            self._accidents[registry.name] += 1
            if self._accidents[registry.name] < MAX_ACCIDENTS:
                return
        self._cache.disable_head(registry.name)

    async def _by_digest(
        self, registry: Registry, reference: Reference, digest: str
    ) -> VerifiedManifest | Failure:
        known = self._content.known(registry.name, digest)
        if known is not None and await self._content.is_there(
            registry, reference.repository, digest, known
        ):
            self._content.saved["known_digests"] += 1
            return known.document
        return await self.get(registry, reference)


def _named(header: str | None, likely: str) -> str | None:
    """The digest that a Docker-Content-Digest names; some leave its algorithm out.

    `likely` is a digest, and mostly the one."""
    if header == likely:
        return header
    header = (header or "").strip()
    for digest in (header, "sha256:" + header):
        if is_digest(digest):
            return digest
    return None


def _is_trusted(seen: CachedTag) -> bool:
    """Whether the header of the tag's answer named its content."""
    return _named(seen.header, seen.digest) == seen.digest


@cache
def _matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")
