"""Whether the base images that images name have moved since (`--check-bases`).

A base is named by its builder: `org.opencontainers.image.base.name` and `.digest` (OCI
image-spec, annotations.md). Each distinct name is asked for once per run with HEAD. If
it still has the digest of the build, the image is current. If it has another one, the
content decides, because an index moves whenever one of its platforms does:

1. the index now lists the digest of the build                          current
2. the platform's layers begin with those of the base for this platform  current
3. anything else                                                         stale

Steps 1 and 2 need the index and one manifest per platform, once: the digest cache keeps
both. A base without a digest can only be found current by its layers.

The builder of an image chooses these names. So their hosts are checked like those in
answers of a registry (`Registries.named_by_image`). A failure is a warning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from auditor.audit.content_cache import HEAD_NOT_SUPPORTED, ContentCache
from auditor.audit.fetch_content import DIGEST_HEADER
from auditor.audit.image import first_success
from auditor.audit.resolve import SAME_FOR_GET, Resolver, header_digest
from auditor.errors import Failure, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.model import (
    BaseCheck,
    BaseImage,
    ContentKind,
    ImageRecord,
    PlatformRecord,
    Warn,
    WarningCode,
)
from auditor.oci.manifest import ImageIndex, ImageManifest, Manifest
from auditor.oci.platform import Platform, normalize, platform_text, same_platform
from auditor.oci.reference import Reference, parse_reference
from auditor.oci.schema1 import Schema1Manifest
from auditor.oci.strict_json import cut_name
from auditor.registry.client import Registry
from auditor.registry.registries import Registries
from auditor.util.lru import Lru
from auditor.util.tasks import SingleFlight, bounded_gather

# Base images that one record names; an image has one, or one for each platform.
MAX_BASES = 16
# Bases that a run remembers, some 500 bytes each.
MAX_KNOWN = 65_536
# An image names few bases; the limits of their hosts are the effective ones.
_AT_ONCE = 4
# The base of an image that has none (Dockerfile reference, "FROM").
SCRATCH = "scratch"
# Times that a base is asked for at most, if it fails.
_MAX_FAILURES = 2

IS_SCRATCH = "scratch is empty and never moves"
BY_DIGEST = "named by its digest, which never moves"
NO_NAME = "only the digest of the base is named"
NO_REFERENCE = "the name is not a reference"
NO_DIGEST = "the image names no digest, and does not begin with the layers of the base"
NESTED = "the base is an index of indexes"
NO_LAYERS = "the layers of the image are not in the record"
NOT_FINISHED = "not asked in the time limit of the run, or of a reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class _CurrentBase:
    """What a name points at now, and where it was asked."""

    registry: Registry
    repository: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """Whether a platform's base is stale; None with a detail if it is not known."""

    current_digest: str | None = None
    is_stale: bool | None = None
    detail: str | None = None


class BaseChecker:
    """Asks for the bases of images, each once."""

    def __init__(
        self, registries: Registries, content: ContentCache, resolver: Resolver
    ) -> None:
        self._registries = registries
        self._content = content
        self._resolver = resolver
        self._known: Lru[str, _CurrentBase] = Lru(MAX_KNOWN)
        # The last failure of a name, and how many there were.
        self._failed: Lru[str, tuple[Failure, int]] = Lru(MAX_KNOWN)
        self._flights: SingleFlight[str, _CurrentBase | Failure] = SingleFlight()

    async def check(self, record: ImageRecord) -> ImageRecord:
        """The record with its `bases`, and a warning for each that failed."""
        named = named_bases(record)
        warnings: dict[str, Warn] = {}

        async def verdicts(item: tuple[BaseImage, Sequence[PlatformRecord]]) -> Checks:
            base, platforms = item
            return await self._check(base, platforms, warnings)

        found = await bounded_gather(
            verdicts, list(named.items())[:MAX_BASES], limit=_AT_ONCE
        )
        return replace(
            record,
            bases=tuple(check for checks in found for check in checks),
            bases_left_out=max(0, len(named) - MAX_BASES),
            warnings=record.warnings + tuple(warnings[key] for key in sorted(warnings)),
        )

    def unfinished(self, record: ImageRecord) -> ImageRecord:
        """The record with its bases if there was no time to ask for them."""
        return unfinished_checks(record)

    async def _check(
        self,
        base: BaseImage,
        platforms: Sequence[PlatformRecord],
        warnings: dict[str, Warn],
    ) -> Checks:
        """The checks of one base: one for the platforms that share a verdict."""
        reference, built, verdict = asked_reference(base)
        if reference is None:
            return base_checks(base, None, built, {verdict: platforms})
        current = await self._current(reference)
        by_verdict: dict[_Verdict, list[PlatformRecord]] = defaultdict(list)
        for platform in platforms:
            result = (
                current
                if isinstance(current, Failure)
                else await self._verdict(current, built, platform)
            )
            if isinstance(result, Failure):
                detail = f"the base {reference}: {result.detail}"
                warnings[str(reference)] = Warn(
                    code=WarningCode.BASE_UNKNOWN, detail=detail
                )
                digest = None if isinstance(current, Failure) else current.digest
                result = _Verdict(current_digest=digest, detail=result.detail)
            by_verdict[result].append(platform)
        return base_checks(base, reference, built, by_verdict)

    async def _current(self, reference: Reference) -> _CurrentBase | Failure:
        """What a name points at now; asked once in a run, twice if it fails."""
        key = str(reference)
        known = self._known.get(key)
        if known is not None:
            return known
        if (failure := self._final_failure(key)) is not None:
            return failure

        async def ask() -> _CurrentBase | Failure:
            if (failure := self._final_failure(key)) is not None:
                return failure  # of those for whose results this caller waited
            sources = self._registries.sources(reference)
            current, _ = await first_success(sources, self._ask)
            if isinstance(current, Failure):
                _, before = self._failed.get(key) or (None, 0)
                self._failed.put(key, (current, before + 1))
            else:
                self._known.put(key, current)
            return current

        return await self._flights.run(
            key, ask, is_certain=lambda result: not isinstance(result, Failure)
        )

    def _final_failure(self, key: str) -> Failure | None:
        """The failure of a base that is not asked for again."""
        failure, failures = self._failed.get(key) or (None, 0)
        return failure if failures >= _MAX_FAILURES else None

    async def _ask(self, place: Reference) -> _CurrentBase | Failure:
        registry = await self._registries.named_by_image(place.host)
        if isinstance(registry, Failure):
            return registry
        digest = await self._head(registry, place)
        if digest is None:
            fetched = await self._resolver.fetch(registry, place)
            if isinstance(fetched, Failure):
                return fetched
            digest = fetched[1].digest
        if isinstance(digest, Failure):
            return digest
        return _CurrentBase(
            registry=registry, repository=place.repository, digest=digest
        )

    async def _head(self, registry: Registry, place: Reference) -> str | Failure | None:
        """The digest that HEAD names; None if only GET can say it."""
        cache = self._content.digest_cache
        is_reliable = cache.head_is_reliable(registry.name)
        if not is_reliable or cache.host_notes(registry.name).distrusted:
            return None
        response = await registry.head_manifest(
            place.repository, place.manifest_reference
        )
        if not isinstance(response, Failure):
            return header_digest(response.headers.get(DIGEST_HEADER))
        if response.kind in SAME_FOR_GET:
            return response
        if response.status in HEAD_NOT_SUPPORTED:
            cache.disable_head(registry.name)
        return None

    async def _verdict(
        self, current: _CurrentBase, built: str | None, platform: PlatformRecord
    ) -> _Verdict | Failure:
        now = current.digest
        if built == now:
            return _Verdict(current_digest=now, is_stale=False)
        manifest = await self._manifest(current, now)
        if isinstance(manifest, ImageIndex):
            listed = {child.digest for child in manifest.children}
            if built in listed:
                return _Verdict(current_digest=now, is_stale=False)
            child = child_for(manifest, platform)
            if child is None:
                name = platform_text(
                    platform.os, platform.architecture, platform.variant
                )
                detail = f"the base has no image for {name or 'this platform'} now"
                return _Verdict(current_digest=now, detail=detail)
            manifest = await self._manifest(current, child)
        if isinstance(manifest, Failure):
            return manifest
        if isinstance(manifest, ImageIndex):
            return _Verdict(current_digest=now, detail=NESTED)
        if platform.layers is None:
            return _Verdict(current_digest=now, detail=NO_LAYERS)
        layers = [layer.digest for layer in platform.layers]
        if begins_with(layers, layer_digests(manifest)):
            return _Verdict(current_digest=now, is_stale=False)
        if built is None:
            return _Verdict(current_digest=now, detail=NO_DIGEST)
        return _Verdict(current_digest=now, is_stale=True)

    async def _manifest(self, current: _CurrentBase, digest: str) -> Manifest | Failure:
        verified = await self._content.manifest(
            current.registry, current.repository, digest
        )
        return verified if isinstance(verified, Failure) else verified.manifest


# -- without requests --

Checks = tuple[BaseCheck, ...]


def named_bases(record: ImageRecord) -> Mapping[BaseImage, Sequence[PlatformRecord]]:
    """The bases that a record names, sorted, each with its platforms."""
    if record.content is not ContentKind.IMAGE:
        return {}
    named: dict[BaseImage, list[PlatformRecord]] = defaultdict(list)
    for platform in record.platforms:
        if platform.base is not None and platform.is_present:
            named[platform.base].append(platform)
    order = sorted(named, key=lambda base: (base.name or "", base.digest or ""))
    return {base: named[base] for base in order}


def unfinished_checks(record: ImageRecord) -> ImageRecord:
    """The record with bases of which nothing is known."""
    verdict = _Verdict(detail=NOT_FINISHED)
    named = named_bases(record)
    checks: list[BaseCheck] = []
    for base, platforms in list(named.items())[:MAX_BASES]:
        reference, built, without_request = asked_reference(base)
        if reference is None:
            checks += base_checks(base, None, built, {without_request: platforms})
        else:
            checks += base_checks(base, reference, built, {verdict: platforms})
    return replace(
        record, bases=tuple(checks), bases_left_out=max(0, len(named) - MAX_BASES)
    )


def asked_reference(base: BaseImage) -> tuple[Reference | None, str | None, _Verdict]:
    """The tag to ask for, the digest of the build, and the verdict if none is asked."""
    if base.name is None:
        return None, base.digest, _Verdict(detail=NO_NAME)
    if base.name == SCRATCH:
        return None, base.digest, _Verdict(is_stale=False, detail=IS_SCRATCH)
    try:
        reference = parse_reference(base.name)
    except ProtocolError:
        return None, base.digest, _Verdict(detail=NO_REFERENCE)
    built = base.digest or reference.digest
    if reference.tag is None:
        return None, built, _Verdict(detail=BY_DIGEST)
    return replace(reference, digest=None), built, _Verdict()


def base_checks(
    base: BaseImage,
    reference: Reference | None,
    built: str | None,
    verdicts: Mapping[_Verdict, Sequence[PlatformRecord]],
) -> Checks:
    """The entries of a record for one base."""
    name = None if base.name is None else cut_name(base.name)
    return tuple(
        BaseCheck(
            name=name,
            reference=None if reference is None else str(reference),
            digest=None if built is None else cut_name(built),
            current_digest=verdict.current_digest,
            is_stale=verdict.is_stale,
            platforms=_platform_names(platforms),
            detail=verdict.detail,
        )
        for verdict, platforms in verdicts.items()
    )


def _platform_names(platforms: Sequence[PlatformRecord]) -> tuple[str, ...]:
    names = {platform_text(one.os, one.architecture, one.variant) for one in platforms}
    return tuple(sorted(filter(None, names)))


def child_for(index: ImageIndex, platform: PlatformRecord) -> str | None:
    """The digest of the index's image for this platform; None if it has none.

    Of several, such as those of the builds of Windows, the one of the same build.
    """
    wanted = normalize(
        Platform(
            os=platform.os,
            architecture=platform.architecture,
            variant=platform.variant,
            os_version=None,
        )
    )
    found = [
        child
        for child in index.children
        if child.platform is not None and same_platform(child.platform, wanted)
    ]
    if len(found) > 1 and platform.os_version is not None:
        build = _windows_build(platform.os_version)
        found = [
            child
            for child in found
            if child.platform is not None
            and _windows_build(child.platform.os_version) == build
        ]
    return found[0].digest if found else None


def _windows_build(version: str | None) -> str:
    """`10.0.20348` of `10.0.20348.2402`: the last number is that of a patch."""
    return ".".join((version or "").split(".")[:3])


def layer_digests(manifest: ImageManifest | Schema1Manifest) -> Sequence[str]:
    """The layers of a manifest, base first."""
    if isinstance(manifest, ImageManifest):
        return [layer.digest for layer in manifest.layers]
    return manifest.layers


def begins_with(layers: Sequence[str], base: Sequence[str]) -> bool:
    """Whether the layers begin with those of a base, which has one at least."""
    return 0 < len(base) <= len(layers) and list(layers[: len(base)]) == list(base)
