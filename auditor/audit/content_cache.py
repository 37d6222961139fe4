"""Manifests and configs by digest, fetched once per run and kept between runs.

There are two levels of cache: parsed content in memory, for this run, and the digest
cache on disk (auditor.cache), for later runs. What a digest names never changes, but
whether a registry still has it does. So knowing a content and being allowed to report
it are two questions: a run reports what the registry confirmed in this run, or returned
less than `recheck_s` ago (`Confirmation`); anything else is confirmed by HEAD first.

All repositories of a registry share its content. `for_each_repository` confirms it in
each of them. A failure concerns one repository only, and is shared within it after it
was seen twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from auditor.audit.fetch_content import (
    DIGEST_HEADER,
    SharedFailures,
    checked_size,
    fetch_attached_blob,
    fetch_manifest,
)
from auditor.audit.memory_sizes import (
    MAX_CONFIGS_BYTES,
    MAX_MANIFESTS_BYTES,
    config_bytes,
    manifest_bytes,
)
from auditor.cache.batch import Confirmation
from auditor.cache.digest_cache import DigestCache
from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.descriptor import Descriptor, essence
from auditor.oci.image_config import ImageConfig, parse_image_config
from auditor.oci.manifest import VerifiedManifest, verify_manifest
from auditor.oci.schema1 import Schema1Manifest
from auditor.registry.client import Registry
from auditor.util.clock import Clock
from auditor.util.lru import Lru
from auditor.util.tasks import SingleFlight

# Parsed manifests and configs in memory, some 5 KB each with ten layers: 5 MB.
MAX_PARSED = 1024
# Keys of content that was confirmed in this run, some 350 bytes each: 11 MB. What is
# evicted is confirmed once more.
MAX_USABLE = 32_768
# Failures of digests that a repository does not have, some 500 bytes each.
MAX_FAILURES = 4096
# Statuses of registries that do not support HEAD.
HEAD_NOT_SUPPORTED = frozenset({405, 501})
# The content type under which the digest cache keeps blobs, which are not manifests.
BLOB = "#blob"
# Kinds of content, and their counters in `ContentCache.saved`.
MANIFESTS, CONFIGS, BLOBS = "manifests", "configs", "blobs"

Value = TypeVar("Value", VerifiedManifest, ImageConfig, bytes)
_Key = tuple[str, str, str, str]  # kind, registry, repository, digest


@dataclass(frozen=True, slots=True)
class ConfirmedManifest:
    """A manifest, with the media type and time of the registry's last response."""

    verified: VerifiedManifest
    confirmation: Confirmation


class ContentCache:
    """Manifests and configs by registry and digest.

    `recheck_s`: for how many seconds after its confirmation content is reported without
    a request; with 0 it is confirmed in each run. `for_each_repository`: the same, and
    for each repository on its own. `saved` counts avoided fetches: `manifests` and
    `configs` were fetched earlier in this run, `stored_manifests` and `stored_configs`
    in an earlier run.
    """

    def __init__(
        self,
        digest_cache: DigestCache,
        *,
        clock: Clock,
        recheck_s: float,
        for_each_repository: bool = False,
    ) -> None:
        self.digest_cache = digest_cache
        self.for_each_repository = for_each_repository
        self._clock = clock
        self._recheck_s = 0 if for_each_repository else recheck_s
        self._manifests: Lru[tuple[str, str], ConfirmedManifest] = Lru(
            MAX_PARSED, MAX_MANIFESTS_BYTES
        )
        self._configs: Lru[tuple[str, str], ImageConfig] = Lru(
            MAX_PARSED, MAX_CONFIGS_BYTES
        )
        # What this run may report without another request.
        self._usable: Lru[_Key, bool] = Lru(MAX_USABLE)
        self._failures: SharedFailures[_Key] = SharedFailures(MAX_FAILURES)
        self._flights: SingleFlight[_Key, tuple[str, object]] = SingleFlight()
        self.saved: Counter[str] = Counter()

    # -- manifests -------------------------------------------------------------

    def usable_manifest(
        self, registry: str, repository: str, digest: str
    ) -> VerifiedManifest | None:
        """The manifest, if this run may report it without a request."""
        known = self.known_manifest(registry, digest)
        if known is None:
            return None
        key = self._key(MANIFESTS, registry, repository, digest)
        if self._usable.get(key):
            self.saved["manifests"] += 1
        elif self._is_fresh(known.confirmation, digest):
            self._usable.put(key, True)
            self.saved["stored_manifests"] += 1
        else:
            return None
        return known.verified

    def known_manifest(self, registry: str, digest: str) -> ConfirmedManifest | None:
        """The manifest, if the registry ever returned it; it may be lost by now."""
        known = self._manifests.get((registry, digest))
        if known is not None:
            return known
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
        known = ConfirmedManifest(verified, content.confirmation)
        self._keep((registry, digest), known)
        return known

    async def manifest(
        self, registry: Registry, repository: str, digest: str
    ) -> VerifiedManifest | Failure:
        """The manifest with this digest: from a cache, confirmed or fetched."""
        key = self._key(MANIFESTS, registry.name, repository, digest)

        def usable() -> VerifiedManifest | None:
            if not self._usable.get(key):
                return None
            return self.usable_manifest(registry.name, repository, digest)

        async def fetch() -> VerifiedManifest | Failure:
            known = self.known_manifest(registry.name, digest)
            if known is not None and (
                self._is_fresh(known.confirmation, digest)
                or await self.confirm(registry, repository, digest, known)
            ):
                self._usable.put(key, True)
                self.saved["stored_manifests"] += 1
                return known.verified
            fetched = await fetch_manifest(registry, repository, digest, digest=digest)
            if isinstance(fetched, Failure):
                self.failed(registry.name, repository, digest, fetched)
                return fetched
            response, verified = fetched
            content_type = essence(response.content_type)
            confirmation = self.put(
                registry.name,
                repository,
                response.body,
                verified,
                content_type=content_type,
            )
            if verified.warnings:
                known = ConfirmedManifest(verified, confirmation)
                self._keep((registry.name, digest), known)
            return verified

        return await self._fetch_once(
            (MANIFESTS, registry.name, repository, digest), usable, fetch
        )

    def put(
        self,
        registry: str,
        repository: str,
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
        self.confirmed(registry, repository, verified.digest)
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
            self._keep(key, ConfirmedManifest(verified, confirmation))
        return confirmation

    async def confirm(
        self,
        registry: Registry,
        repository: str,
        digest: str,
        known: ConfirmedManifest,
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
        if content_type != known.confirmation.content_type:
            return False
        header = (response.headers.get(DIGEST_HEADER) or "").strip()
        algorithm = digest.partition(":")[0]
        if header != digest and header.startswith(f"{algorithm}:"):
            return False  # that of something else
        self.digest_cache.confirm(registry.name, digest, content_type)
        confirmation = Confirmation(content_type, int(self._clock.epoch()))
        self._keep(
            (registry.name, digest), ConfirmedManifest(known.verified, confirmation)
        )
        self.confirmed(registry.name, repository, digest)
        return True

    def confirmed(self, registry: str, repository: str, digest: str) -> None:
        """Note that the registry has confirmed a manifest in this run."""
        self._usable.put(self._key(MANIFESTS, registry, repository, digest), True)

    def failed(
        self, registry: str, repository: str, digest: str, failure: Failure
    ) -> None:
        """Note that a GET of this digest failed: a lost manifest is not used again."""
        if failure.kind is not FailureKind.NOT_FOUND:
            return
        self._usable.drop(self._key(MANIFESTS, registry, repository, digest))
        known = self.known_manifest(registry, digest)
        if known is not None and known.confirmation.confirmed_at:
            content_type = known.confirmation.content_type
            self.digest_cache.expire(registry, digest, content_type)
            expired = ConfirmedManifest(known.verified, Confirmation(content_type, 0))
            self._keep((registry, digest), expired)

    # -- configs ---------------------------------------------------------------

    async def config(
        self, registry: Registry, repository: str, digest: str
    ) -> ImageConfig | Failure:
        """The image config with this digest: from a cache, or fetched."""
        name = registry.name
        key = self._key(CONFIGS, name, repository, digest)

        async def fetch() -> ImageConfig | Failure:
            raw = self._stored_blob(key)
            if raw is not None:
                self.saved["stored_configs"] += 1
            else:
                blob = await registry.get_blob(repository, digest)
                if isinstance(blob, Failure):
                    return blob
                raw = blob
                self.digest_cache.put(name, digest, raw, content_type=BLOB)
            config = parse_image_config(raw)
            self._configs.put((name, digest), config, config_bytes(config))
            self._usable.put(key, True)
            return config

        def usable() -> ImageConfig | None:
            config = self._configs.get((name, digest))
            if config is None or not self._usable.get(key):
                return None
            self.saved["configs"] += 1
            return config

        return await self._fetch_once(
            (CONFIGS, name, repository, digest), usable, fetch
        )

    # -- other blobs -----------------------------------------------------------

    async def blob(
        self, registry: Registry, repository: str, blob: Descriptor, *, max_bytes: int
    ) -> bytes | Failure:
        """A blob of an attachment, such as a signature: from the cache, or fetched.

        It is not kept in memory. The failures are those of `fetch_attached_blob`.
        """
        name = registry.name
        key = self._key(BLOBS, name, repository, blob.digest)

        async def fetch() -> bytes | Failure:
            stored = self._stored_blob(key)
            if stored is not None:
                return checked_size(stored, blob)
            raw = await fetch_attached_blob(
                registry, repository, blob, max_bytes=max_bytes
            )
            if isinstance(raw, bytes):
                self.digest_cache.put(name, blob.digest, raw, content_type=BLOB)
                self._usable.put(key, True)
            return raw

        # Manifests that state another size fail for themselves alone.
        flight = f"{blob.digest} of {blob.size} bytes"
        return await self._fetch_once(
            (BLOBS, name, repository, flight), lambda: None, fetch
        )

    def _stored_blob(self, key: _Key) -> bytes | None:
        """A blob of the digest cache, if this run may use it without a request."""
        _, registry, _, digest = key
        content = self.digest_cache.get(registry, digest)
        if (
            content is not None
            and content.confirmation is not None
            and content.confirmation.content_type == BLOB
            and (self._usable.get(key) or self._is_fresh(content.confirmation, digest))
        ):
            return content.body
        return None

    # -- both ------------------------------------------------------------------

    def _key(self, kind: str, registry: str, repository: str, digest: str) -> _Key:
        """The key of a content that its repositories share, or do not share."""
        place = repository if self.for_each_repository else ""
        return kind, registry, place, digest

    def _keep(self, key: tuple[str, str], known: ConfirmedManifest) -> None:
        self._manifests.put(key, known, manifest_bytes(known.verified))

    def _is_fresh(self, confirmation: Confirmation, digest: str) -> bool:
        age_s = self._clock.epoch() - confirmation.confirmed_at
        return -self._recheck_s <= age_s < self._recheck_s * _recheck_share(digest)

    async def _fetch_once(
        self,
        key: _Key,
        usable: Callable[[], Value | None],
        fetch: Callable[[], Awaitable[Value | Failure]],
    ) -> Value | Failure:
        """The cached value, or the result of one fetch for all concurrent callers.

        The failure of another caller is this one's if it is the second one here.
        """
        kind, _, repository, _ = key
        is_fetched_here, saw_failure = False, False

        async def fetch_here() -> tuple[str, object]:
            nonlocal is_fetched_here
            is_fetched_here = True
            return repository, await fetch()

        while True:
            value: Value | Failure | None = usable()
            if value is not None:
                return value  # it has counted itself
            value = self._failures.get(key)
            if value is None:
                fetched_at, result = await self._flights.run(
                    self._key(*key), fetch_here
                )
                value = cast("Value | Failure", result)
                if is_fetched_here:
                    if isinstance(value, Failure):
                        self._failures.add(key, value)
                    else:
                        self._failures.drop(key)
                    return value
                if isinstance(value, Failure):
                    if fetched_at != repository:
                        continue
                    if not saw_failure:
                        saw_failure = True
                        continue
                    return value
            self.saved[kind] += 1
            return value


def _recheck_share(digest: str) -> float:
    """The share of `recheck_s`, 0.5 to 1, after which a digest is rechecked.

    A share per digest spreads the rechecks of content from the same day.
    """
    return 0.5 + int(digest.rpartition(":")[2][:2], 16) / 510
