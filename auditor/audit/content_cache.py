"""What is addressed by a digest: fetched once, whoever asks first, and kept in the
store for the runs to come.

Content is shared by all repositories of a registry. That one registry holds it says
nothing of another one, and that it held it says nothing for ever: see docs/cache.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from auditor.cache.batch import Confirmation
from auditor.cache.digest_cache import DigestCache
from auditor.errors import Failure, ProtocolError, Stage
from auditor.fast_dataclass import dataclass
from auditor.oci.descriptor import essence
from auditor.oci.image_config import ImageConfig, parse_image_config
from auditor.oci.manifest import VerifiedManifest, verify_manifest
from auditor.oci.schema1 import Schema1Manifest
from auditor.registry.client import Registry
from auditor.util.clock import Clock
from auditor.util.lru import Lru
from auditor.util.single_flight import SingleFlight

# Parsed documents and configs at hand, some 5 KB each with ten layers: 5 MB. What
# falls out is read from the store again.
MAX_PARSED = 1024
# Failures of digests that a repository does not have, some 500 bytes each.
MAX_FAILURES = 4096
# Statuses that say of HEAD that it is not known at all.
NO_HEAD = frozenset({405, 501})
# Stands in the store for the Content-Type of what came from the blobs' address.
BLOB = "#blob"

Value = TypeVar("Value", VerifiedManifest, ImageConfig)
_Name = tuple[str, str]  # registry, digest
_Place = tuple[str, str, str, str]  # what, registry, repository, digest


@dataclass(frozen=True, slots=True)
class Known:
    """A manifest, and when and as what its registry gave it."""

    document: VerifiedManifest
    confirmation: Confirmation


class ContentCache:
    """Manifests and image configs by digest.

    `recheck_s`: what is in the store is trusted to be in the registry for so long
    after the registry has last said so. `saved` counts what was not fetched:
    `manifests` and `configs` because this run had them already, `stored_...` because
    an earlier one had.
    """

    def __init__(self, cache: DigestCache, *, clock: Clock, recheck_s: float) -> None:
        self.cache = cache
        self._clock = clock
        self._recheck_s = recheck_s
        self._manifests: Lru[_Name, Known] = Lru(MAX_PARSED)
        self._configs: Lru[_Name, ImageConfig] = Lru(MAX_PARSED)
        self._failures: Lru[_Place, Failure] = Lru(MAX_FAILURES)
        self._flights: SingleFlight[tuple[str, str, str], tuple[_Place, object]] = (
            SingleFlight()
        )
        self.saved: Counter[str] = Counter()

    def at_hand(self, registry: str, digest: str) -> VerifiedManifest | None:
        """What `manifest` would give without asking anybody: what this run has at
        hand, or an earlier one left in the store not too long ago."""
        known = self._manifests.get((registry, digest))
        if known is not None:
            self.saved["manifests"] += 1
            return known.document
        known = self.known(registry, digest)
        if known is None:
            return None
        if not self._is_fresh(known.confirmation, digest):
            self._manifests.drop((registry, digest))  # to be asked for again
            return None
        self.saved["stored_manifests"] += 1
        return known.document

    async def manifest(
        self, registry: Registry, repository: str, digest: str
    ) -> VerifiedManifest | Failure:
        """The manifest with this digest."""
        name = (registry.name, digest)

        def at_hand() -> VerifiedManifest | None:
            known = self._manifests.get(name)
            return None if known is None else known.document

        async def fetch() -> VerifiedManifest | Failure:
            known = self.known(registry.name, digest)
            if known is not None and (
                self._is_fresh(known.confirmation, digest)
                or await self.is_there(registry, repository, digest, known)
            ):
                self.saved["stored_manifests"] += 1
                return known.document
            answer = await registry.get_manifest(repository, digest)
            if isinstance(answer, Failure):
                return answer
            content_type = answer.content_type
            try:
                document = verify_manifest(
                    answer.body,
                    content_type=content_type,
                    header_digest=None,
                    asked_digest=digest,
                )
            except ProtocolError as error:
                return Failure(kind=error.kind, detail=error.detail)
            said = essence(content_type)
            confirmation = self.put(registry.name, answer.body, document, said=said)
            if document.warnings:
                self._manifests.put(name, Known(document, confirmation))
            return document

        place = ("manifests", registry.name, repository, digest)
        return await self._once(place, at_hand, fetch)

    async def config(
        self, registry: Registry, repository: str, digest: str
    ) -> ImageConfig | Failure:
        """The image config with this digest."""
        name = (registry.name, digest)

        async def fetch() -> ImageConfig | Failure:
            stored = self.cache.get(registry.name, digest)
            if (
                stored is not None
                and stored.confirmation is not None
                and stored.confirmation.content_type == BLOB
                and self._is_fresh(stored.confirmation, digest)
            ):
                self.saved["stored_configs"] += 1
                raw = stored.body
            else:
                answer = await registry.get_blob(repository, digest)
                if isinstance(answer, Failure):
                    return answer
                raw = answer
                self.cache.put(registry.name, digest, raw, content_type=BLOB)
            try:
                config = parse_image_config(raw)
            except ProtocolError as error:
                return Failure(kind=error.kind, detail=error.detail, stage=Stage.CONFIG)
            self._configs.put(name, config)
            return config

        place = ("configs", registry.name, repository, digest)
        return await self._once(place, lambda: self._configs.get(name), fetch)

    def known(self, registry: str, digest: str) -> Known | None:
        """The manifest, if this registry gave it before: in this run or another."""
        known = self._manifests.get((registry, digest))
        if known is not None:
            return known
        stored = self.cache.get(registry, digest)
        if (
            stored is None
            or stored.confirmation is None
            or stored.confirmation.content_type == BLOB
        ):
            return None
        try:
            document = verify_manifest(
                stored.body,
                content_type=stored.confirmation.content_type,
                header_digest=None,
                asked_digest=digest,
            )
        except ProtocolError:
            # Written by a version that read it otherwise: the registry decides.
            self.cache.discard(digest)
            return None
        known = Known(document, stored.confirmation)
        self._manifests.put((registry, digest), known)
        return known

    def put(
        self,
        registry: str,
        body: bytes,
        document: VerifiedManifest,
        *,
        said: str | None,
    ) -> Confirmation:
        """Remember a manifest that this registry gave just now; `said` is what type
        (`essence`) it said that it is."""
        name = registry, document.digest
        confirmation = Confirmation(said, int(self._clock.epoch()))
        known = self._manifests.get(name)
        if known is not None and known.confirmation == confirmation:
            return known.confirmation  # another tag has just brought the same
        manifest = document.manifest
        self.cache.put(
            registry,
            document.digest,
            body,
            content_type=said,
            is_partial_digest=isinstance(manifest, Schema1Manifest) and manifest.signed,
        )
        if document.warnings:
            # They are of this answer; and what is at hand may be of another type.
            self._manifests.drop(name)
        else:
            self._manifests.put(name, Known(document, confirmation))
        return confirmation

    async def is_there(
        self, registry: Registry, repository: str, digest: str, known: Known
    ) -> bool:
        """Whether HEAD says that the repository holds what is known. If it does not,
        GET decides, and gives the words for why not."""
        if not self.cache.head_is_reliable(registry.name):
            return False
        answer = await registry.head_manifest(repository, digest)
        if isinstance(answer, Failure):
            if answer.status in NO_HEAD:
                self.cache.disable_head(registry.name)
            return False
        said = essence(answer.content_type)
        if said != known.confirmation.content_type:
            return False
        self.cache.confirm(registry.name, digest, said)
        confirmation = Confirmation(said, int(self._clock.epoch()))
        self._manifests.put(
            (registry.name, digest), Known(known.document, confirmation)
        )
        return True

    def _is_fresh(self, confirmation: Confirmation, digest: str) -> bool:
        """Whether it was there lately."""
        age_s = self._clock.epoch() - confirmation.confirmed_at
        return -self._recheck_s <= age_s < self._recheck_s * _spread(digest)

    async def _once(
        self,
        place: _Place,
        at_hand: Callable[[], Value | None],
        fetch: Callable[[], Awaitable[Value | Failure]],
    ) -> Value | Failure:
        what, registry, _, digest = place
        fetched_here = False

        async def fetch_here() -> tuple[_Place, object]:
            nonlocal fetched_here
            fetched_here = True
            return place, await fetch()

        while True:
            known: Value | Failure | None = at_hand() or self._failures.get(place)
            if known is None:
                where, found = await self._flights.run(
                    (what, registry, digest), fetch_here
                )
                known = cast("Value | Failure", found)
                if isinstance(known, Failure):
                    if where != place:
                        continue  # another repository's failure is not ours
                    if not known.kind.retryable:
                        self._failures.put(place, known)
                    return known
            if not fetched_here:
                self.saved[what] += 1
            return known


def _spread(digest: str) -> float:
    """The share of the time until a recheck that passes for this one: for what came on
    one day, the asking again is spread over the second half of it."""
    return 0.5 + int(digest.rpartition(":")[2][:2], 16) / 510
