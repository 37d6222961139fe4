"""Whether the blobs that manifests name are there, and as large as they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from auditor.audit.image_metadata import NamedBlob
from auditor.errors import Failure, FailureKind
from auditor.model import Warn, WarningCode
from auditor.registry.client import BlobThere, Registry
from auditor.util.lru import Lru
from auditor.util.single_flight import SingleFlight, concurrently
from auditor.util.text import counted

# Blobs of one image asked about at once; the host's slots are the real limit.
AT_ONCE = 16
# Blobs remembered, some 300 bytes each: 40 MB. Lists name the tags of a repository
# one after the other, so that what is forgotten is seldom met again.
MAX_KNOWN = 131_072

_Place = tuple[str, str, str]  # registry, repository, digest


class BlobCheck:
    """Asks for each blob once in each repository, and counts what it hears.

    A registry has a blob for a repository, not as such: a layer that one repository
    has may be missing in the next.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._known: Lru[_Place, BlobThere | Failure] = Lru(MAX_KNOWN)
        self._flights: SingleFlight[_Place, BlobThere | Failure] = SingleFlight()

    async def warnings(
        self, registry: Registry, repository: str, blobs: Collection[NamedBlob]
    ) -> tuple[Warn, ...]:
        """What is wrong with these blobs of one image of a repository."""
        ordered = sorted(blobs, key=lambda blob: (blob.digest, blob.size or 0))
        found = await concurrently(
            lambda blob: self._look(registry, repository, blob.digest),
            ordered,
            at_once=AT_ONCE,
        )
        warnings: list[Warn] = []
        unknown: list[tuple[NamedBlob, Failure]] = []
        for blob, said in zip(ordered, found, strict=True):
            name = f"the {blob.what} {blob.digest}"
            if isinstance(said, BlobThere):
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
                f"{len(unknown)} of {counted(len(ordered), 'blob')} could not be"
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
    ) -> BlobThere | Failure:
        place = (registry.name, repository, digest)
        known = self._known.get(place)
        if known is not None:
            return known

        async def look() -> BlobThere | Failure:
            said = await registry.blobs.look(repository, digest)
            self._count(said)
            return said

        said = await self._flights.run(place, look)
        if isinstance(said, BlobThere) or not said.kind.retryable:
            self._known.put(place, said)
        return said

    def _count(self, said: BlobThere | Failure) -> None:
        self.counts["checked"] += 1
        if isinstance(said, BlobThere):
            self.counts["there"] += 1
        elif said.kind is FailureKind.NOT_FOUND:
            self.counts["missing"] += 1
        else:
            self.counts["unverified"] += 1
