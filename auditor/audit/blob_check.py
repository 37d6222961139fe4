"""Checking that the blobs of manifests exist and have the size that these state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from auditor.audit.image_metadata import NamedBlob
from auditor.errors import Failure, FailureKind
from auditor.model import Warn, WarningCode
from auditor.registry.client import BlobStat, Registry
from auditor.util.lru import Lru
from auditor.util.single_flight import SingleFlight, bounded_gather
from auditor.util.text import format_count

# Blobs of one image checked concurrently; the host's limit is the effective one.
CONCURRENT_BLOBS = 16
# Results kept, some 300 bytes each: 40 MB. Lists name the tags of a repository one
# after the other, so that older results are rarely needed again.
MAX_RESULTS = 131_072

_BlobKey = tuple[str, str, str]  # registry, repository, digest


class BlobChecker:
    """Checks each blob once per repository.

    A registry has a blob for a repository: a layer that one repository has may be
    missing in another. `counts` are those of `Summary.blobs`.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._results: Lru[_BlobKey, BlobStat | Failure] = Lru(MAX_RESULTS)
        self._flights: SingleFlight[_BlobKey, BlobStat | Failure] = SingleFlight()

    async def warnings(
        self, registry: Registry, repository: str, blobs: Collection[NamedBlob]
    ) -> tuple[Warn, ...]:
        """Warnings about the blobs of one image."""
        ordered = sorted(blobs, key=lambda blob: (blob.digest, blob.size or 0))
        results = await bounded_gather(
            lambda blob: self._check(registry, repository, blob.digest),
            ordered,
            limit=CONCURRENT_BLOBS,
        )
        warnings: list[Warn] = []
        unverified: list[tuple[NamedBlob, Failure]] = []
        for blob, result in zip(ordered, results, strict=True):
            name = f"{blob.kind} {blob.digest}"
            if isinstance(result, BlobStat):
                if None not in {result.size, blob.size} and result.size != blob.size:
                    detail = (
                        f"{name} has {result.size} bytes, but {blob.size} in the"
                        " manifest"
                    )
                    warnings.append(
                        Warn(code=WarningCode.BLOB_SIZE_DIFFERS, detail=detail)
                    )
            elif result.kind is FailureKind.NOT_FOUND:
                detail = f"the registry does not have the {name} of the manifest"
                warnings.append(Warn(code=WarningCode.BLOB_MISSING, detail=detail))
            else:
                unverified.append((blob, result))
        if unverified:
            # One warning for all: a host that is down fails hundreds of checks.
            blob, failure = unverified[0]
            detail = (
                f"{len(unverified)} of {format_count(len(ordered), 'blob')} could not"
                f" be checked, for example {blob.kind} {blob.digest}: {failure.detail}"
            )
            warnings.append(Warn(code=WarningCode.BLOB_UNVERIFIED, detail=detail))
        self.counts["size_differs"] += sum(
            warning.code is WarningCode.BLOB_SIZE_DIFFERS for warning in warnings
        )
        return tuple(warnings)

    async def _check(
        self, registry: Registry, repository: str, digest: str
    ) -> BlobStat | Failure:
        key = (registry.name, repository, digest)
        cached = self._results.get(key)
        if cached is not None:
            return cached

        async def check() -> BlobStat | Failure:
            result = await registry.blobs.stat(repository, digest)
            self._count(result)
            return result

        result = await self._flights.run(key, check)
        if isinstance(result, BlobStat) or not result.kind.retryable:
            self._results.put(key, result)
        return result

    def _count(self, result: BlobStat | Failure) -> None:
        self.counts["checked"] += 1
        if isinstance(result, BlobStat):
            self.counts["there"] += 1
        elif result.kind is FailureKind.NOT_FOUND:
            self.counts["missing"] += 1
        else:
            self.counts["unverified"] += 1
