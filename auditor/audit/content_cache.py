"""Manifests and configs by digest, fetched once per run and kept between runs.

There are two levels of cache: parsed content in memory, for this run, and the digest
cache on disk (auditor.cache), for later runs. What a digest names never changes, but
whether a registry still has it does: each content is kept with a `Confirmation`, the
time of the registry's last response with it. The content is fresh for `recheck_s` after
that; then a HEAD request confirms it again. All repositories of a registry share its
content. A failure concerns one repository only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from auditor.cache.batch import Confirmation
from auditor.cache.digest_cache import DigestCache
from auditor.errors import Failure, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.descriptor import essence
from auditor.oci.image_config import ImageConfig, parse_image_config
from auditor.oci.manifest import VerifiedManifest, verify_manifest
from auditor.oci.schema1 import Schema1Manifest
from auditor.registry.client import Registry
from auditor.util.clock import Clock
from auditor.util.lru import Lru
from auditor.util.single_flight import SingleFlight

# Parsed manifests and configs in memory, some 5 KB each with ten layers: 5 MB.
MAX_PARSED = 1024
# Failures of digests that a repository does not have, some 500 bytes each.
MAX_FAILURES = 4096
# Statuses of registries that do not support HEAD.
HEAD_NOT_SUPPORTED = frozenset({405, 501})
# The content type under which the digest cache keeps blobs, which are not manifests.
BLOB = "#blob"

Value = TypeVar("Value", VerifiedManifest, ImageConfig)
_ContentKey = tuple[str, str]  # registry, digest
_FetchKey = tuple[str, str, str, str]  # kind, registry, repository, digest


@dataclass(frozen=True, slots=True)
class ConfirmedManifest:
    """A manifest, with the media type and time of the registry's last response."""

    verified: VerifiedManifest
    confirmation: Confirmation


class ContentCache:
    """Manifests and configs by registry and digest.

    `recheck_s`: for how many seconds content is fresh after its confirmation. `saved`
    counts avoided fetches: `manifests` and `configs` were fetched earlier in this run,
    `stored_manifests` and `stored_configs` in an earlier run.
    """

    def __init__(
        self, digest_cache: DigestCache, *, clock: Clock, recheck_s: float
    ) -> None:
        self.digest_cache = digest_cache
        self._clock = clock
        self._recheck_s = recheck_s
        self._manifests: Lru[_ContentKey, ConfirmedManifest] = Lru(MAX_PARSED)
        self._configs: Lru[_ContentKey, ImageConfig] = Lru(MAX_PARSED)
        self._failures: Lru[_FetchKey, Failure] = Lru(MAX_FAILURES)
        self._flights: SingleFlight[tuple[str, str, str], tuple[_FetchKey, object]] = (
            SingleFlight()
        )
        self.saved: Counter[str] = Counter()

    def fresh_manifest(self, registry: str, digest: str) -> VerifiedManifest | None:
        """The manifest, if this run has it or the digest cache has it fresh."""
        confirmed = self._manifests.get((registry, digest))
        if confirmed is not None:
            self.saved["manifests"] += 1
            return confirmed.verified
        confirmed = self.confirmed_manifest(registry, digest)
        if confirmed is None:
            return None
        if not self._is_fresh(confirmed.confirmation, digest):
            self._manifests.drop((registry, digest))  # not confirmed in this run
            return None
        self.saved["stored_manifests"] += 1
        return confirmed.verified

    def confirmed_manifest(
        self, registry: str, digest: str
    ) -> ConfirmedManifest | None:
        """The manifest, if the registry ever returned it, fresh or not."""
        confirmed = self._manifests.get((registry, digest))
        if confirmed is not None:
            return confirmed
        content = self.digest_cache.get(registry, digest)
        if (
            content is None
            or content.confirmation is None
            or content.confirmation.content_type == BLOB
        ):
            return None
        try:
            verified = verify_manifest(
                content.body,
                content_type=content.confirmation.content_type,
                header_digest=None,
                requested_digest=digest,
            )
        except ProtocolError:
            # Another version accepted it: fetch it again.
            self.digest_cache.discard(digest)
            return None
        confirmed = ConfirmedManifest(verified, content.confirmation)
        self._manifests.put((registry, digest), confirmed)
        return confirmed

    async def manifest(
        self, registry: Registry, repository: str, digest: str
    ) -> VerifiedManifest | Failure:
        """The manifest with this digest: fresh from a cache, confirmed or fetched."""
        key = (registry.name, digest)

        def cached() -> VerifiedManifest | None:
            confirmed = self._manifests.get(key)
            return None if confirmed is None else confirmed.verified

        async def fetch() -> VerifiedManifest | Failure:
            confirmed = self.confirmed_manifest(registry.name, digest)
            if confirmed is not None and (
                self._is_fresh(confirmed.confirmation, digest)
                or await self.confirm(registry, repository, digest, confirmed)
            ):
                self.saved["stored_manifests"] += 1
                return confirmed.verified
            response = await registry.get_manifest(repository, digest)
            if isinstance(response, Failure):
                return response
            try:
                verified = verify_manifest(
                    response.body,
                    content_type=response.content_type,
                    header_digest=None,
                    requested_digest=digest,
                )
            except ProtocolError as error:
                return Failure(kind=error.kind, detail=error.detail)
            confirmation = self.put(
                registry.name,
                response.body,
                verified,
                content_type=essence(response.content_type),
            )
            if verified.warnings:
                self._manifests.put(key, ConfirmedManifest(verified, confirmation))
            return verified

        return await self._fetch_once(
            ("manifests", registry.name, repository, digest), cached, fetch
        )

    async def config(
        self, registry: Registry, repository: str, digest: str
    ) -> ImageConfig | Failure:
        """The image config with this digest: fresh from a cache, or fetched."""
        key = (registry.name, digest)

        async def fetch() -> ImageConfig | Failure:
            content = self.digest_cache.get(registry.name, digest)
            if (
                content is not None
                and content.confirmation is not None
                and content.confirmation.content_type == BLOB
                and self._is_fresh(content.confirmation, digest)
            ):
                self.saved["stored_configs"] += 1
                raw = content.body
            else:
                blob = await registry.get_blob(repository, digest)
                if isinstance(blob, Failure):
                    return blob
                raw = blob
                self.digest_cache.put(registry.name, digest, raw, content_type=BLOB)
            config = parse_image_config(raw)
            self._configs.put(key, config)
            return config

        return await self._fetch_once(
            ("configs", registry.name, repository, digest),
            lambda: self._configs.get(key),
            fetch,
        )

    def put(
        self,
        registry: str,
        body: bytes,
        verified: VerifiedManifest,
        *,
        content_type: str | None,
    ) -> Confirmation:
        """Keep a manifest that the registry has just returned.

        `content_type` is the media type of the response without parameters.
        """
        key = registry, verified.digest
        confirmation = Confirmation(content_type, int(self._clock.epoch()))
        before = self._manifests.get(key)
        if before is not None and before.confirmation == confirmation:
            return before.confirmation  # another tag with the same digest
        manifest = verified.manifest
        self.digest_cache.put(
            registry,
            verified.digest,
            body,
            content_type=content_type,
            is_partial_digest=isinstance(manifest, Schema1Manifest) and manifest.signed,
        )
        if verified.warnings:
            # They are about this response only, and so is its media type.
            self._manifests.drop(key)
        else:
            self._manifests.put(key, ConfirmedManifest(verified, confirmation))
        return confirmation

    async def confirm(
        self,
        registry: Registry,
        repository: str,
        digest: str,
        confirmed: ConfirmedManifest,
    ) -> bool:
        """Whether HEAD confirms that the repository has the manifest.

        If it does not, the caller fetches: GET decides, and explains a failure.
        """
        if not self.digest_cache.head_is_reliable(registry.name):
            return False
        response = await registry.head_manifest(repository, digest)
        if isinstance(response, Failure):
            if response.status in HEAD_NOT_SUPPORTED:
                self.digest_cache.disable_head(registry.name)
            return False
        content_type = essence(response.content_type)
        if content_type != confirmed.confirmation.content_type:
            return False
        self.digest_cache.confirm(registry.name, digest, content_type)
        confirmation = Confirmation(content_type, int(self._clock.epoch()))
        self._manifests.put(
            (registry.name, digest),
            ConfirmedManifest(confirmed.verified, confirmation),
        )
        return True

    def _is_fresh(self, confirmation: Confirmation, digest: str) -> bool:
        age_s = self._clock.epoch() - confirmation.confirmed_at
        return -self._recheck_s <= age_s < self._recheck_s * _recheck_share(digest)

    async def _fetch_once(
        self,
        key: _FetchKey,
        cached: Callable[[], Value | None],
        fetch: Callable[[], Awaitable[Value | Failure]],
    ) -> Value | Failure:
        """The cached value, or the result of one fetch for all concurrent callers."""
        kind, registry, _, digest = key
        fetched_here = False

        async def fetch_here() -> tuple[_FetchKey, object]:
            nonlocal fetched_here
            fetched_here = True
            return key, await fetch()

        while True:
            value: Value | Failure | None = cached() or self._failures.get(key)
            if value is None:
                fetched_key, result = await self._flights.run(
                    (kind, registry, digest), fetch_here
                )
                value = cast("Value | Failure", result)
                if isinstance(value, Failure):
                    if fetched_key != key:
                        continue  # the failure of another repository
                    if not value.kind.retryable:
                        self._failures.put(key, value)
                    return value
            if not fetched_here:
                self.saved[kind] += 1
            return value


def _recheck_share(digest: str) -> float:
    """The share of `recheck_s`, 0.5 to 1, after which a digest is rechecked.

    A share per digest spreads the rechecks of content from the same day.
    """
    return 0.5 + int(digest.rpartition(":")[2][:2], 16) / 510
