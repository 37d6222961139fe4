"""Resolves a reference to its manifest with as few requests as possible.

    a tag seen for the first time                                       GET
    a tag seen before, if its digest's content is in the cache          HEAD
    the same, if HEAD names another digest                              HEAD, GET
    the same, declared immutable or with its digest in the listing      no request
    a digest in the cache                                               HEAD
    any other digest                                                    GET

A record by digest states that the registry has it, so that one HEAD is always sent.
After a HEAD the manifest is requested by the digest that it named.
The result is the same as that of a GET, including warnings: a HEAD is not relied on
where the registry has shown that its HEAD and GET can differ.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from fnmatch import translate
from functools import cache
from typing import Literal

from auditor.audit.content_cache import HEAD_NOT_SUPPORTED, ContentCache
from auditor.audit.fetch_content import DIGEST_HEADER, fetch_manifest
from auditor.audit.memory_sizes import MAX_PARSED_BYTES, parsed_bytes
from auditor.cache.batch import CachedTag
from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.model import WarningCode
from auditor.oci.descriptor import essence, is_digest
from auditor.oci.manifest import (
    Manifest,
    VerifiedManifest,
    parse_manifest,
    verify_manifest,
)
from auditor.oci.reference import Reference
from auditor.registry.client import Registry
from auditor.util.lru import Lru
from auditor.wire.response import Response

# Parsed manifests by their bytes: 10 KB each for an index, in practice 64 KB at most.
MAX_PARSED = 64
# Failures of a HEAD that a GET would repeat. After any other failure a GET is sent: it
# may work, as behind a proxy that does not know HEAD, and its body explains a failure.
SAME_FOR_GET = frozenset(
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
# Responses to HEAD in a row that the GET after them contradicted, after which a run
# stops sending HEAD to the registry: a single one may be about its request only.
MAX_HEAD_FAILURES = 3


class Resolver:
    """Resolves references to manifests.

    Counts avoided fetches in `ContentCache.saved`: `known_tags` and `known_digests`
    (HEAD only), `listed_tags`, `listed_digests` and `immutable_tags` (no request).
    """

    def __init__(self, content: ContentCache) -> None:
        self._content = content
        self._digest_cache = content.digest_cache
        self._parsed: Lru[tuple[bytes, str | None], Manifest] = Lru(
            MAX_PARSED, MAX_PARSED_BYTES
        )
        self._head_failures: Counter[str] = Counter()

    async def resolve(
        self, registry: Registry, reference: Reference, *, listed_digest: str | None
    ) -> VerifiedManifest | Failure:
        """The manifest of a reference.

        `listed_digest` is the digest of the tag in a listing of this run, if the
        listing has digests, or that of a manifest that the listing has without a tag.
        """
        if reference.digest is not None:
            listed = self._listed_manifest(registry, reference, listed_digest)
            if listed is not None:
                self._content.saved["listed_digests"] += 1
                return listed
            if listed_digest is not None:
                # An index that is audited meanwhile may fetch it as its child.
                return await self._content.manifest(
                    registry, reference.repository, reference.digest
                )
            return await self._resolve_digest(registry, reference, reference.digest)
        cached = self._cached_tag(registry, reference)
        known = self._without_request(registry, reference, cached, listed_digest)
        if known is not None:
            reason, verified = known
            self._content.saved[reason] += 1
            return verified
        return await self._resolve_tag(registry, reference, cached)

    async def resolve_mutable_tag(
        self, registry: Registry, reference: Reference
    ) -> VerifiedManifest | Failure:
        """The manifest of a tag, even if tags like it are declared immutable."""
        cached = self._cached_tag(registry, reference)
        return await self._resolve_tag(registry, reference, cached)

    def first_request(
        self, registry: Registry, reference: Reference, *, listed_digest: str | None
    ) -> Literal["get", "head", "none"]:
        """The request with which `resolve` would begin."""
        if reference.digest is not None:
            if self._listed_manifest(registry, reference, listed_digest):
                return "none"
            use_head = self._digest_cache.head_is_reliable(
                registry.name
            ) and self._content.known_manifest(registry.name, reference.digest)
            return "head" if use_head else "get"
        cached = self._cached_tag(registry, reference)
        if self._without_request(registry, reference, cached, listed_digest):
            return "none"
        return "head" if self._can_head(registry, cached) else "get"

    async def fetch(
        self, registry: Registry, reference: Reference
    ) -> tuple[Response, VerifiedManifest] | Failure:
        """GET and cache the manifest; return the response and the verified manifest."""
        fetched = await fetch_manifest(
            registry,
            reference.repository,
            reference.manifest_reference,
            digest=reference.digest,
            trusts_header=not self._digest_cache.host_notes(registry.name).distrusted,
            parse=self._parse,
        )
        if isinstance(fetched, Failure):
            if reference.digest is not None:
                self._content.failed(
                    registry.name, reference.repository, reference.digest, fetched
                )
            return fetched
        response, verified = fetched
        content_type = essence(response.content_type)
        self._content.put(
            registry.name,
            reference.repository,
            response.body,
            verified,
            content_type=content_type,
        )
        if reference.digest is None:
            header = response.headers.get(DIGEST_HEADER)
            self._put_tag(registry, reference, verified.digest, header, content_type)
            if any(
                warn.code is WarningCode.DIGEST_HEADER_DIFFERS
                for warn in verified.warnings
            ):
                self._digest_cache.distrust_digest_headers(registry.name)
        return fetched

    async def _get(
        self, registry: Registry, reference: Reference
    ) -> VerifiedManifest | Failure:
        fetched = await self.fetch(registry, reference)
        return fetched if isinstance(fetched, Failure) else fetched[1]

    def _parse(self, raw: bytes, content_type: str | None) -> Manifest:
        # Tags of one image follow each other: their manifest is parsed once.
        key = raw, content_type
        manifest = self._parsed.get(key)
        if manifest is None:
            manifest = parse_manifest(raw, content_type)
            self._parsed.put(key, manifest, parsed_bytes(raw))
        return manifest

    async def _resolve_digest(
        self, registry: Registry, reference: Reference, digest: str
    ) -> VerifiedManifest | Failure:
        known = self._content.known_manifest(registry.name, digest)
        if known is not None and await self._content.confirm(
            registry, reference.repository, digest, known
        ):
            self._content.saved["known_digests"] += 1
            return known.verified
        return await self._get(registry, reference)

    def _listed_manifest(
        self, registry: Registry, reference: Reference, listed_digest: str | None
    ) -> VerifiedManifest | None:
        """A known manifest that a listing of this run names by its digest.

        Its warnings and media type are those of its last response.
        """
        if listed_digest is None or listed_digest != reference.digest:
            return None
        if self._content.for_each_repository:
            return None
        known = self._content.known_manifest(registry.name, listed_digest)
        return None if known is None else known.verified

    def _cached_tag(self, registry: Registry, reference: Reference) -> CachedTag | None:
        assert reference.tag is not None
        return self._digest_cache.tag(
            registry.name, reference.repository, reference.tag
        )

    def _put_tag(
        self,
        registry: Registry,
        reference: Reference,
        digest: str,
        header: str | None,
        content_type: str | None,
    ) -> None:
        if reference.tag is not None:
            self._digest_cache.put_tag(
                registry.name,
                reference.repository,
                reference.tag,
                digest=digest,
                header=header,
                content_type=content_type,
            )

    def _without_request(
        self,
        registry: Registry,
        reference: Reference,
        cached: CachedTag | None,
        listed_digest: str | None,
    ) -> tuple[str, VerifiedManifest] | None:
        """The reason why a tag needs no request, and its manifest; None otherwise.

        Every tag needs one if the run asks what each repository has.
        """
        if cached is None or self._content.for_each_repository:
            return None
        immutable = registry.settings.immutable_tags
        if immutable and _matcher(immutable).match(reference.tag or ""):
            reason = "immutable_tags"
        elif (
            listed_digest == cached.digest
            and _has_true_header(cached)
            and not self._digest_cache.host_notes(registry.name).distrusted
        ):
            reason = "listed_tags"
        else:
            return None
        verified = self._cached_manifest(registry, cached)
        return None if verified is None else (reason, verified)

    def _cached_manifest(
        self, registry: Registry, cached: CachedTag
    ) -> VerifiedManifest | None:
        """The manifest of a tag as its last GET returned it, with the same warnings."""
        if _has_true_header(cached):
            known = self._content.known_manifest(registry.name, cached.digest)
            if known is None or known.confirmation.content_type != cached.content_type:
                return None
            return known.verified
        content = self._digest_cache.get(registry.name, cached.digest)
        if content is None:
            return None
        try:
            verified = verify_manifest(
                content.body,
                content_type=cached.content_type,
                header_digest=cached.header,
                requested_digest=None,
            )
        except ProtocolError:
            return None
        return verified if verified.digest == cached.digest else None

    def _can_head(self, registry: Registry, cached: CachedTag | None) -> bool:
        return (
            cached is not None
            and _has_true_header(cached)
            and self._digest_cache.head_is_reliable(registry.name)
        )

    async def _resolve_tag(
        self, registry: Registry, reference: Reference, cached: CachedTag | None
    ) -> VerifiedManifest | Failure:
        """HEAD for the digest of a tag; GET only if its content is not in the cache."""
        if cached is None or not self._can_head(registry, cached):
            return await self._get(registry, reference)
        assert reference.tag is not None
        response = await registry.head_manifest(reference.repository, reference.tag)
        if isinstance(response, Failure):
            if response.kind in SAME_FOR_GET:
                return response
            verified = await self._get(registry, reference)
            if not isinstance(verified, Failure):
                self._head_failed(registry, response)
            return verified
        header = response.headers.get(DIGEST_HEADER)
        content_type = essence(response.content_type)
        digest = header_digest(header, cached.digest)
        if digest is None:
            self._head_failed(registry)
            return await self._get(registry, reference)
        known = self._content.known_manifest(registry.name, digest)
        if known is not None and known.confirmation.content_type == content_type:
            if (digest, content_type) != (cached.digest, cached.content_type):
                self._put_tag(registry, reference, digest, header, content_type)
            self._head_failures.pop(registry.name, None)
            self._content.confirmed(registry.name, reference.repository, digest)
            self._content.saved["known_tags"] += 1
            return known.verified
        if known is not None:
            verified = await self._get(registry, reference)
            if isinstance(verified, Failure):
                return verified
            if verified.digest == digest:
                # HEAD and GET return different media types for the same content.
                self._head_failed(registry)
                return verified
        return await self._get_named(registry, reference, digest, header)

    async def _get_named(
        self, registry: Registry, reference: Reference, digest: str, header: str | None
    ) -> VerifiedManifest | Failure:
        """The manifest of a tag by the digest that its HEAD named.

        A cache between may answer the GET of the tag with another manifest: with one
        platform for a client that takes no index.
        """
        named = replace(reference, tag=None, digest=digest)
        fetched = await self.fetch(registry, named)
        if isinstance(fetched, Failure):
            if fetched.kind is not FailureKind.NOT_FOUND:
                return fetched
            # The tag moved meanwhile, or its HEAD named what is not there.
            verified = await self._get(registry, reference)
            if isinstance(verified, VerifiedManifest):
                self._head_failed(registry)
            return verified
        response, verified = fetched
        content_type = essence(response.content_type)
        self._put_tag(registry, reference, digest, header, content_type)
        self._head_failures.pop(registry.name, None)
        return verified

    def _head_failed(self, registry: Registry, failure: Failure | None = None) -> None:
        """Note a HEAD that its GET contradicted; may stop sending HEAD.

        `failure` is what the HEAD got, None for a response.
        """
        self._head_failures[registry.name] += 1
        is_refused = failure is not None and failure.status in HEAD_NOT_SUPPORTED
        if is_refused or self._head_failures[registry.name] >= MAX_HEAD_FAILURES:
            self._digest_cache.disable_head(registry.name)


def header_digest(header: str | None, expected: str = "") -> str | None:
    """The digest in a Docker-Content-Digest; some registries omit the algorithm.

    `expected` is the likely digest, for a fast path.
    """
    if header == expected:
        return header
    header = (header or "").strip()
    for digest in (header, "sha256:" + header):
        if is_digest(digest):
            return digest
    return None


def _has_true_header(cached: CachedTag) -> bool:
    """Whether the digest header of the tag's last GET matched its content."""
    return header_digest(cached.header, cached.digest) == cached.digest


@cache
def _matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")
