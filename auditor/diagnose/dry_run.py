"""`auditor audit --dry-run`: read the input and listings, and forecast the requests.

`DryRun` expands the input as an audit does and counts, for each reference, the cheapest
request that can audit it. No manifest is fetched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Any

import anyio

from auditor.audit.content_cache import ContentCache
from auditor.audit.resolve import Resolver
from auditor.cache.digest_cache import DigestCache
from auditor.config import AttachmentMode, Settings
from auditor.errors import unwrap_exception_group
from auditor.fast_dataclass import dataclass
from auditor.input.expand import expand
from auditor.input.input_items import (
    ExpansionCounts,
    InputEntry,
    InputItem,
    ReferenceEntry,
)
from auditor.input.tag_filter import Selection
from auditor.model import SCHEMA
from auditor.registry.host_plan import Scheme
from auditor.registry.registries import Registries
from auditor.report.listing_stats import Listings
from auditor.report.summary_text import listing_lines
from auditor.util.clock import Clock
from auditor.util.deadline import Deadline
from auditor.util.text import format_count, format_duration, safe_text
from auditor.wire.challenge import pull_scope
from auditor.wire.rate_limit import RateLimit

# Scopes that a forecast names for each registry.
MAX_SCOPES = 100


@dataclass(slots=True, kw_only=True)
class HostForecast:
    """The requests to one registry.

    `cheapest` counts references by their cheapest request: `get`, `head` (cached; only
    the digest is requested) or `none`. `uses_tokens` is None before the first response
    of the registry. `scopes` are those of the first `MAX_SCOPES` repositories.
    """

    registry: str
    references: int = 0
    repositories: int = 0
    scopes: list[str] = field(default_factory=list)
    cheapest: Counter[str] = field(default_factory=Counter)
    uses_tokens: bool | None = None
    rate_limit: RateLimit | None = None

    @property
    def tokens(self) -> int:
        """Maximum number of tokens: one for each repository."""
        return 0 if self.uses_tokens is False else self.repositories

    @property
    def rate_limit_wait_s(self) -> float | None:
        """Seconds that the rate limit delays the GETs, in whole windows; None for 0."""
        limit = self.rate_limit
        if limit is None or limit.window_s is None or not limit.limit:
            return None
        excess = self.cheapest["get"] - limit.remaining
        return float(-(-excess // limit.limit) * limit.window_s) if excess > 0 else None

    def to_json(self) -> dict[str, Any]:
        """The registry's entry in the forecast file."""
        limit = self.rate_limit
        return {
            "registry": self.registry,
            "references": self.references,
            "repositories": self.repositories,
            "scopes": self.scopes,
            "requests": {
                "manifest_get": self.cheapest["get"],
                "manifest_head": self.cheapest["head"],
                "token": self.tokens,
            },
            "known_without_request": self.cheapest["none"],
            "rate_limit": None
            if limit is None
            else {
                "remaining": limit.remaining,
                "limit": limit.limit,
                "window_s": limit.window_s,
                "wait_s": self.rate_limit_wait_s,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The forecast of an audit.

    `listing_requests` counts the requests that the listings took, by kind; the audit
    repeats them. `refused` counts input entries that are not references; `all_listed`
    is whether the input was read to its end. `not_counted` are options with requests
    that cannot be counted in advance.
    """

    hosts: Sequence[HostForecast]
    listing_requests: Mapping[str, int]
    refused: int
    duplicates: int
    all_listed: bool
    listings: Listings
    max_requests: int | None = None
    not_counted: Sequence[str] = ()

    @property
    def references(self) -> int:
        """References that would be audited."""
        return sum(host.references for host in self.hosts)

    @property
    def least_requests(self) -> int:
        """Minimum number of requests, without tokens, children and configs."""
        manifests = sum(
            host.cheapest["get"] + host.cheapest["head"] for host in self.hosts
        )
        return manifests + sum(self.listing_requests.values())

    def to_json(self) -> dict[str, Any]:
        """The content of the forecast file."""
        return {
            "schema": SCHEMA,
            "kind": "forecast",
            "references": {
                "asked": self.references + self.refused,
                "all_listed": self.all_listed,
                "duplicates": self.duplicates,
                "refused": self.refused,
            },
            "registries": [host.to_json() for host in self.hosts],
            "listing_requests": {
                str(kind): count
                for kind, count in sorted(self.listing_requests.items())
            },
            "least_requests": self.least_requests,
            "not_counted": list(self.not_counted),
            "max_requests": self.max_requests,
            "lists": self.listings.to_json(),
            "listings": [listing.to_json() for listing in self.listings.shown],
        }


class DryRun:
    """Expands the input like an audit, then makes the `forecast`."""

    def __init__(
        self,
        settings: Settings,
        items: Iterable[InputItem],
        *,
        registries: Registries,
        clock: Clock,
        cache: DigestCache,
    ) -> None:
        self._settings = settings
        self._items = items
        self._registries = registries
        self._selection = Selection.of(
            settings, datetime.fromtimestamp(clock.epoch(), UTC)
        )
        self._resolver = Resolver(
            ContentCache(cache, clock=clock, recheck_s=settings.cache_recheck_s)
        )
        self._hosts: dict[str, HostForecast] = {}
        # Hashes of repositories by registry: 64 bits for each, of perhaps 100,000.
        self._repositories: dict[str, set[int]] = {}
        self._expansion = ExpansionCounts()
        self._is_expanded = False
        self._refused = 0

    async def run(self, put: Callable[[InputEntry], bool]) -> None:
        """Pass every entry to `put`, until it returns false."""
        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                async for entry in expand(
                    self._items,
                    registries=self._registries,
                    group=group,
                    counts=self._expansion,
                    deadline=Deadline(),
                    selection=self._selection,
                    shard=self._settings.shard,
                ):
                    if isinstance(entry, ReferenceEntry):
                        await self._count(entry)
                    else:
                        self._refused += 1
                    if not put(entry):
                        group.cancel_scope.cancel()
                        return
                self._is_expanded = True

    async def _count(self, entry: ReferenceEntry) -> None:
        reference = self._registries.mirror_of(entry.reference) or entry.reference
        name = reference.registry
        registry = await self._registries.get(name)
        host = self._hosts.setdefault(name, HostForecast(registry=name))
        host.references += 1
        request = self._resolver.first_request(
            registry, reference, listed_digest=entry.digest
        )
        host.cheapest[request] += 1
        repositories = self._repositories.setdefault(name, set())
        repositories.add(hash(reference.repository))
        if len(repositories) > host.repositories:
            host.repositories = len(repositories)
            if len(host.scopes) < MAX_SCOPES:
                host.scopes.append(str(pull_scope(reference.repository)))

    async def forecast(self) -> Forecast:
        """The requests that the audit would send."""
        rate_limits = dict(self._registries.rate_limits())
        for name, host in self._hosts.items():
            registry = await self._registries.get(name)
            plan = registry.auth.plan.known
            host.rate_limit = rate_limits.get(name)
            if plan is not None and plan.scheme is not Scheme.UNKNOWN:
                host.uses_tokens = plan.scheme is Scheme.BEARER
        return Forecast(
            hosts=[self._hosts[name] for name in sorted(self._hosts)],
            listing_requests=dict(self._registries.counts.sent),
            refused=self._refused,
            duplicates=self._expansion.duplicates,
            all_listed=self._is_expanded and not self._expansion.cut_off,
            listings=self._expansion.listings,
            max_requests=self._settings.max_requests,
            not_counted=_not_counted(self._settings),
        )


def _not_counted(settings: Settings) -> list[str]:
    options = {
        "--attachments all": settings.attachments is AttachmentMode.ALL,
        "--verify-blobs": settings.verify_blobs,
    }
    return [option for option, is_given in options.items() if is_given]


def forecast_lines(forecast: Forecast) -> Iterator[str]:
    """The forecast as lines of text."""
    first = f"{format_count(forecast.references, 'reference')} would be audited"
    if forecast.refused:
        first += (
            f", {format_count(forecast.refused, 'invalid entry', 'invalid entries')}"
        )
    if forecast.duplicates:
        first += f", {format_count(forecast.duplicates, 'duplicate')} skipped"
    if not forecast.all_listed:
        first += "; the input was not read to its end"
    yield first
    for host in forecast.hosts:
        references = format_count(host.references, "reference")
        repositories = format_count(host.repositories, "repository", "repositories")
        yield f"  {safe_text(host.registry)}: {references} in {repositories}"
        yield "      " + ", ".join(_request_counts(host))
        if host.rate_limit is not None:
            yield "      " + _rate_limit_text(host, host.rate_limit)
    yield from listing_lines(forecast.listings.to_json(), forecast.listings.shown)
    listed = ", ".join(
        f"{count} {kind}"
        for kind, count in sorted(forecast.listing_requests.items())
        if count
    )
    if listed:
        yield f"  listing requests: {listed} (the audit sends them again)"
    least = format_count(forecast.least_requests, "request")
    yield f"  at least {least}; multi-platform images and configs take more"
    if forecast.not_counted:
        options = " and ".join(forecast.not_counted)
        yield f"  not counted: the requests of {options} for each image"
    if forecast.max_requests is not None:
        is_enough = forecast.least_requests <= forecast.max_requests
        verdict = "is enough for these" if is_enough else "is not enough"
        yield f"  --max-requests {forecast.max_requests} {verdict}"


def _request_counts(host: HostForecast) -> Iterator[str]:
    yield f"{format_count(host.cheapest['get'], 'manifest')} with GET"
    if host.cheapest["head"]:
        yield f"{host.cheapest['head']} cached with HEAD"
    if host.cheapest["none"]:
        yield f"{host.cheapest['none']} cached without a request"
    if host.uses_tokens:
        yield format_count(host.tokens, "token")
    elif host.uses_tokens is None:
        yield f"up to {format_count(host.tokens, 'token')}"


def _rate_limit_text(host: HostForecast, limit: RateLimit) -> str:
    text = f"rate limit: {format_count(limit.remaining, 'request')} left"
    if host.rate_limit_wait_s is not None:
        wait = format_duration(host.rate_limit_wait_s)
        return f"{text}; the audit waits at least {wait}"
    enough = host.cheapest["get"] <= limit.remaining
    return f"{text}, {'enough' if enough else 'not enough'} for these"


# -- the forecast file: what `to_json` returns -----------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastReferences:
    """Numbers of references. `all_listed` is false if the input was not read to its
    end, and `refused` counts entries that are no references."""

    asked: int
    all_listed: bool
    duplicates: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRequests:
    """Numbers of requests that the audit of one registry takes at least."""

    manifest_get: int
    manifest_head: int
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRateLimit:
    """The rate limit of a registry, and the time that exceeding it takes."""

    remaining: int
    limit: int | None
    window_s: float | None
    wait_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryForecast:
    """The forecast for one registry."""

    registry: str
    references: int
    repositories: int
    scopes: tuple[str, ...]
    requests: ForecastRequests
    known_without_request: int
    rate_limit: ForecastRateLimit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastDocument:
    """The forecast of `auditor audit --dry-run`. `listing_requests` is by kind, and
    `not_counted` are options that take more requests for each image."""

    schema: int = SCHEMA
    kind: str = "forecast"
    references: ForecastReferences
    registries: tuple[RegistryForecast, ...]
    listing_requests: Mapping[str, int]
    least_requests: int
    not_counted: tuple[str, ...]
    max_requests: int | None
    lists: Mapping[str, object]
    listings: tuple[Mapping[str, object], ...]
