"""What is addressed by a digest is fetched once per run, whoever asks first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from auditor.errors import Failure, ProtocolError, Stage
from auditor.protocol.document import Document, read_document
from auditor.protocol.image_config import ImageConfig, parse_image_config
from auditor.registry.client import Registry
from auditor.registry.single_flight import SingleFlight

Value = TypeVar("Value", Document, ImageConfig)
_Place = tuple[str, str, str]  # registry, repository, digest


class _Once:
    """A memo by digest over flights by digest.

    A digest names content, so what one repository gave is right for all. A failure
    belongs to the place that was asked: another repository may still have it.
    """

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.failures: dict[_Place, Failure] = {}
        self.flights: SingleFlight[str, tuple[_Place, object]] = SingleFlight()


class SharedContent:
    """Child manifests and image configs of a run, by digest."""

    def __init__(self) -> None:
        self._manifests = _Once()
        self._configs = _Once()
        self.saved: Counter[str] = Counter()

    async def manifest(
        self, registry: Registry, repository: str, digest: str
    ) -> Document | Failure:
        """The manifest with this digest."""

        async def fetch() -> Document | Failure:
            answer = await registry.get_manifest(repository, digest)
            if isinstance(answer, Failure):
                return answer
            try:
                return read_document(
                    answer.body,
                    content_type=answer.content_type,
                    header_digest=None,
                    asked_digest=digest,
                )
            except ProtocolError as error:
                return Failure(kind=error.kind, detail=error.detail)

        place = (registry.name, repository, digest)
        return await self._get(self._manifests, place, fetch, "manifests")

    async def config(
        self, registry: Registry, repository: str, digest: str
    ) -> ImageConfig | Failure:
        """The image config with this digest."""

        async def fetch() -> ImageConfig | Failure:
            raw = await registry.get_blob(repository, digest)
            if isinstance(raw, Failure):
                return raw
            try:
                return parse_image_config(raw)
            except ProtocolError as error:
                return Failure(kind=error.kind, detail=error.detail, stage=Stage.CONFIG)

        place = (registry.name, repository, digest)
        return await self._get(self._configs, place, fetch, "configs")

    async def _get(
        self,
        once: _Once,
        place: _Place,
        fetch: Callable[[], Awaitable[Value | Failure]],
        what: str,
    ) -> Value | Failure:
        digest = place[2]
        fetched_here = False

        async def fetch_here() -> tuple[_Place, object]:
            nonlocal fetched_here
            fetched_here = True
            return place, await fetch()

        while True:
            known = once.values.get(digest) or once.failures.get(place)
            if known is None:
                where, known = await once.flights.run(digest, fetch_here)
                if not isinstance(known, Failure):
                    once.values[digest] = known
                elif where == place:
                    if not known.kind.retryable:
                        once.failures[place] = known
                    return known
                else:
                    continue  # another repository's failure is not ours
            if not fetched_here:
                self.saved[what] += 1
            return known  # type: ignore[return-value]
