"""`auditor audit --dry-run`: read the input and listings, and forecast the requests.

`DryRun` expands the input as an audit does and counts, for each reference, the cheapest
request that can audit it. No manifest is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field

import anyio

from auditor.audit.content_cache import ContentCache
from auditor.audit.image import first_source
from auditor.audit.resolve import Resolver
from auditor.cache.digest_cache import DigestCache
from auditor.config import AttachmentMode, Settings
from auditor.errors import Failure, unwrap_exception_group
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
from auditor.report.listing_stats import Listing
from auditor.report.summary_text import listing_lines
from auditor.util.clock import Clock
from auditor.util.deadline import Deadline
from auditor.util.text import format_count, format_duration, safe_text
from auditor.wire.challenge import pull_scope
from auditor.wire.rate_limit import RateLimit

# Scopes that a forecast names for each registry.
MAX_SCOPES = 100


@dataclass(slots=True, kw_only=True)
class ForecastRequests:
    """Numbers of requests to a registry.

    Each reference takes its cheapest request: a GET, a HEAD (cached; only the digest is
    requested) or none. `token` is the maximum: one for each repository.
    """

    manifest_get: int = 0
    manifest_head: int = 0
    token: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRateLimit:
    """The rate limit of a registry.

    `wait_s` is how long it delays the GETs, in whole windows; None if it does not.
    """

    remaining: int
    limit: int | None
    window_s: float | None
    wait_s: float | None


@dataclass(slots=True, kw_only=True)
class RegistryForecast:
    """The forecast for one registry.

    `scopes` are those of the first 100 repositories.
    """

    registry: str
    references: int = 0
    repositories: int = 0
    scopes: tuple[str, ...] = ()
    requests: ForecastRequests = field(default_factory=ForecastRequests)
    known_without_request: int = 0
    rate_limit: ForecastRateLimit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastReferences:
    """Numbers of references.

    `all_listed` is false if the input was not read to its end, and `refused` counts
    entries that are not references.
    """

    asked: int
    all_listed: bool
    duplicates: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The forecast of `auditor audit --dry-run`.

    - `listing_requests`: the requests that the listings took, by kind; the audit
      repeats them
    - `least_requests`: those of the audit without tokens, children and configs
    - `not_counted`: options that take more requests for each image
    - `max_requests`: the limit of the option
    - `lists`, `listings`: as in the summary of an audit
    """

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
        self._selection = Selection.of(settings, clock.epoch())
        self._resolver = Resolver(
            ContentCache(
                cache,
                clock=clock,
                recheck_s=settings.cache_recheck_s,
                for_each_repository=settings.verify_blobs,
            )
        )
        self._hosts: dict[str, RegistryForecast] = {}
        # Registries from which a first response shows whether they use tokens.
        self.uses_tokens: dict[str, bool] = {}
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
        reference = first_source(self._registries, entry.reference)
        if isinstance(reference, Failure) or reference.is_store:
            return  # no request
        name = reference.registry
        registry = await self._registries.get(name)
        host = self._hosts.setdefault(name, RegistryForecast(registry=name))
        host.references += 1
        request = self._resolver.first_request(
            registry, reference, listed_digest=entry.digest
        )
        if request == "none":
            host.known_without_request += 1
        elif request == "head":
            host.requests.manifest_head += 1
        else:
            host.requests.manifest_get += 1
        repositories = self._repositories.setdefault(name, set())
        repositories.add(hash(reference.repository))
        if len(repositories) > host.repositories:
            host.repositories = len(repositories)
            if len(host.scopes) < MAX_SCOPES:
                host.scopes += (str(pull_scope(reference.repository)),)

    async def forecast(self) -> Forecast:
        """The requests that the audit would send."""
        rate_limits = dict(self._registries.rate_limits())
        for name, host in self._hosts.items():
            registry = await self._registries.get(name)
            plan = registry.auth.plan.known
            if plan is not None and plan.scheme is not Scheme.UNKNOWN:
                self.uses_tokens[name] = plan.scheme is Scheme.BEARER
            if self.uses_tokens.get(name, True):
                host.requests.token = host.repositories
            if (limit := rate_limits.get(name)) is not None:
                host.rate_limit = forecast_rate_limit(limit, host.requests.manifest_get)
        expansion = self._expansion
        listing_requests = self._registries.counts.sent
        requests = [host.requests for host in self._hosts.values()]
        return Forecast(
            references=ForecastReferences(
                asked=self._refused + sum(h.references for h in self._hosts.values()),
                all_listed=self._is_expanded and not expansion.cut_off,
                duplicates=expansion.duplicates,
                refused=self._refused,
            ),
            registries=tuple(self._hosts[name] for name in sorted(self._hosts)),
            listing_requests={
                str(kind): count for kind, count in sorted(listing_requests.items())
            },
            least_requests=sum(one.manifest_get + one.manifest_head for one in requests)
            + sum(listing_requests.values()),
            not_counted=_not_counted(self._settings),
            max_requests=self._settings.max_requests,
            lists=expansion.listings.to_json(),
            listings=tuple(one.to_json() for one in expansion.listings.shown),
        )


def forecast_rate_limit(rate_limit: RateLimit, gets: int) -> ForecastRateLimit:
    """The rate limit of a registry, and how long it delays this number of GETs."""
    limit, window_s = rate_limit.limit, rate_limit.window_s
    wait_s, excess = None, gets - rate_limit.remaining
    if limit and window_s is not None and excess > 0:
        wait_s = float(-(-excess // limit) * window_s)
    return ForecastRateLimit(
        remaining=rate_limit.remaining, limit=limit, window_s=window_s, wait_s=wait_s
    )


def _not_counted(settings: Settings) -> tuple[str, ...]:
    options = {
        "--attachments all": settings.attachments is AttachmentMode.ALL,
        "--verify-blobs": settings.verify_blobs,
        "--check-bases": settings.check_bases,
        "--verify-signatures": settings.verify_signatures is not None,
    }
    return tuple(option for option, is_given in options.items() if is_given)


def forecast_lines(
    forecast: Forecast, uses_tokens: Mapping[str, bool]
) -> Iterator[str]:
    """The forecast as lines of text; `uses_tokens` is that of the dry run."""
    counts = forecast.references
    asked = counts.asked - counts.refused
    first = f"{format_count(asked, 'reference')} would be audited"
    if counts.refused:
        first += f", {format_count(counts.refused, 'invalid entry', 'invalid entries')}"
    if counts.duplicates:
        first += f", {format_count(counts.duplicates, 'duplicate')} skipped"
    if not counts.all_listed:
        first += "; the input was not read to its end"
    yield first
    for host in forecast.registries:
        references = format_count(host.references, "reference")
        repositories = format_count(host.repositories, "repository", "repositories")
        yield f"  {safe_text(host.registry)}: {references} in {repositories}"
        yield "      " + ", ".join(_counts(host, uses_tokens.get(host.registry)))
        if host.rate_limit is not None:
            yield "      " + _rate_limit_text(host.rate_limit, host.requests)
    listings = [Listing.from_json(one) for one in forecast.listings]
    yield from listing_lines(forecast.lists, listings)
    listed = ", ".join(
        f"{count} {kind}" for kind, count in forecast.listing_requests.items() if count
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


def _counts(host: RegistryForecast, uses_tokens: bool | None) -> Iterator[str]:
    requests = host.requests
    yield f"{format_count(requests.manifest_get, 'manifest')} with GET"
    if requests.manifest_head:
        yield f"{requests.manifest_head} cached with HEAD"
    if host.known_without_request:
        yield f"{host.known_without_request} cached without a request"
    if uses_tokens is not False:
        at_most = "" if uses_tokens else "up to "
        yield at_most + format_count(requests.token, "token")


def _rate_limit_text(limit: ForecastRateLimit, requests: ForecastRequests) -> str:
    text = f"rate limit: {format_count(limit.remaining, 'request')} left"
    if limit.wait_s is not None:
        return f"{text}; the audit waits at least {format_duration(limit.wait_s)}"
    is_enough = requests.manifest_get <= limit.remaining
    return f"{text}, {'enough' if is_enough else 'not enough'} for these"
