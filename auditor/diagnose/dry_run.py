"""An audit up to its first manifest: the lists are read, nothing else is fetched."""

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
from auditor.input.lists import Item
from auditor.input.steps import Asked, Entry, Expansion
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

# -- forecast --
# What an audit would ask for: the answer of `--dry-run`.

# Scopes of one registry that are named: more is said by the repositories' number.
MAX_SCOPES = 100


@dataclass(slots=True, kw_only=True)
class HostForecast:
    """What one registry would be asked.

    `asks` counts references by the request that each costs at least: `get`, `head`
    (it is known, and only its digest is asked for) or `none`. `wants_tokens` is null
    where nobody has asked the registry yet. `scopes` are the first of `repositories`.
    """

    registry: str
    references: int = 0
    repositories: int = 0
    scopes: list[str] = field(default_factory=list)
    asks: Counter[str] = field(default_factory=Counter)
    wants_tokens: bool | None = None
    allowance: RateLimit | None = None

    @property
    def tokens(self) -> int:
        """Tokens at most: one for each repository."""
        return 0 if self.wants_tokens is False else self.repositories

    @property
    def beyond_allowance_s(self) -> float | None:
        """How long the registry's allowance makes the GETs take; null: not at all.

        What is over what is left comes in the windows after this one.
        """
        seen = self.allowance
        if seen is None or seen.window_s is None or not seen.limit:
            return None
        over = self.asks["get"] - seen.remaining
        return float(-(-over // seen.limit) * seen.window_s) if over > 0 else None

    def to_json(self) -> dict[str, Any]:
        """The registry in the forecast's file."""
        seen = self.allowance
        return {
            "registry": self.registry,
            "references": self.references,
            "repositories": self.repositories,
            "scopes": self.scopes,
            "requests": {
                "manifest_get": self.asks["get"],
                "manifest_head": self.asks["head"],
                "token": self.tokens,
            },
            "known_without_request": self.asks["none"],
            "allowance": None
            if seen is None
            else {
                "remaining": seen.remaining,
                "limit": seen.limit,
                "window_s": seen.window_s,
                "beyond_s": self.beyond_allowance_s,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """All of it. `listed` is what the listings have just cost, and would again.

    `refused` counts what is in the input and can be no reference, `all_listed` says
    whether the input was read to its end. `not_counted` are the options that ask for
    more of each image than can be known before.
    """

    hosts: Sequence[HostForecast]
    listed: Mapping[str, int]
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
        """Requests that are certain: no tokens, no children, no configs."""
        known = sum(host.asks["get"] + host.asks["head"] for host in self.hosts)
        return known + sum(self.listed.values())

    def to_json(self) -> dict[str, Any]:
        """The forecast as a file."""
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
                str(kind): count for kind, count in sorted(self.listed.items())
            },
            "least_requests": self.least_requests,
            "not_counted": list(self.not_counted),
            "max_requests": self.max_requests,
            "lists": self.listings.to_json(),
            "listings": [listing.to_json() for listing in self.listings],
        }


def forecast_lines(forecast: Forecast) -> Iterator[str]:
    """The forecast for a person."""
    first = f"{format_count(forecast.references, 'reference')} would be audited"
    if forecast.refused == 1:
        first += ", 1 entry fails"
    elif forecast.refused:
        first += f", {forecast.refused} entries fail"
    if forecast.duplicates:
        first += f", {format_count(forecast.duplicates, 'duplicate')} skipped"
    if not forecast.all_listed:
        first += "; the input was not read to its end"
    yield first
    for host in forecast.hosts:
        yield (
            f"  {safe_text(host.registry)}: {format_count(host.references, 'reference')}"
            f" in {format_count(host.repositories, 'repository', 'repositories')}"
        )
        yield "      " + ", ".join(_requests_words(host))
        yield from _allowance_words(host)
    yield from listing_lines(forecast.listings.to_json(), forecast.listings)
    listed = ", ".join(
        f"{n} {kind}" for kind, n in sorted(forecast.listed.items()) if n
    )
    if listed:
        yield f"  requests for the lists: {listed}, just now and again in the audit"
    yield (
        f"  at least {format_count(forecast.least_requests, 'request')}: images of several"
        " platforms,"
        " and configs where they are wanted, take more"
    )
    if forecast.not_counted:
        yield (
            f"  {' and '.join(forecast.not_counted)}: more requests for each image,"
            " as many as it tells"
        )
    if forecast.max_requests is not None:
        fits = forecast.least_requests <= forecast.max_requests
        yield (
            f"  --max-requests {forecast.max_requests} is "
            + ("not used up by these" if fits else "not enough")
        )


def _requests_words(host: HostForecast) -> Iterator[str]:
    yield f"{format_count(host.asks['get'], 'manifest')} by GET"
    if host.asks["head"]:
        yield f"{format_count(host.asks['head'], 'known one')} by HEAD"
    if host.asks["none"]:
        yield f"{format_count(host.asks['none'], 'known one')} without a request"
    if host.wants_tokens:
        yield format_count(host.tokens, "token")
    elif host.wants_tokens is None:
        yield f"up to {format_count(host.tokens, 'token')}"


def _allowance_words(host: HostForecast) -> Iterator[str]:
    seen = host.allowance
    if seen is None:
        return
    line = f"      allowance: {format_count(seen.remaining, 'request')} left"
    beyond_s = host.beyond_allowance_s
    if beyond_s is not None:
        line += f", so the audit takes {format_duration(beyond_s)} at least"
    elif host.asks["get"] > seen.remaining:
        line += ", which is not enough"
    else:
        line += ", which is enough for these"
    yield line


class DryRun:
    """Make it, `run` it, then ask for its `forecast`."""

    def __init__(
        self,
        settings: Settings,
        items: Iterable[Item],
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
        self._lookup = Resolver(
            ContentCache(cache, clock=clock, recheck_s=settings.cache_recheck_s)
        )
        self._hosts: dict[str, HostForecast] = {}
        self._repositories: dict[str, set[int]] = {}
        self._expansion = Expansion()
        self._expanded = False
        self._refused = 0

    async def run(self, put: Callable[[Entry], bool]) -> None:
        """Give every entry to `put`, until it says false."""
        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                async for entry in expand(
                    self._items,
                    registries=self._registries,
                    group=group,
                    seen=self._expansion,
                    deadline=Deadline(),
                    selection=self._selection,
                    shard=self._settings.shard,
                ):
                    if isinstance(entry, Asked):
                        await self._count(entry)
                    else:
                        self._refused += 1
                    if not put(entry):
                        group.cancel_scope.cancel()
                        return
                self._expanded = True

    async def _count(self, entry: Asked) -> None:
        place = self._registries.mirror_of(entry.reference) or entry.reference
        name = place.registry
        registry = await self._registries.get(name)
        host = self._hosts.setdefault(name, HostForecast(registry=name))
        host.references += 1
        host.asks[self._lookup.least(registry, place, listed=entry.digest)] += 1
        # 64 bits for each of what may be a hundred thousand.
        repositories = self._repositories.setdefault(name, set())
        known = len(repositories)
        repositories.add(hash(place.repository))
        host.repositories = len(repositories)
        if host.repositories > known and known < MAX_SCOPES:
            host.scopes.append(str(pull_scope(place.repository)))

    async def forecast(self) -> Forecast:
        """What the audit would ask for."""
        allowances = dict(self._registries.rate_limits())
        for name, host in self._hosts.items():
            registry = await self._registries.get(name)
            plan = registry.auth.plan.known
            host.allowance = allowances.get(name)
            if plan is not None:
                host.wants_tokens = {
                    Scheme.NONE: False, Scheme.BASIC: False, Scheme.BEARER: True
                }.get(plan.scheme)  # fmt: skip
        return Forecast(
            hosts=[self._hosts[name] for name in sorted(self._hosts)],
            listed=dict(self._registries.counts.sent),
            refused=self._refused,
            duplicates=self._expansion.duplicates,
            all_listed=self._expanded and not self._expansion.cut,
            listings=self._expansion.listings,
            max_requests=self._settings.max_requests,
            not_counted=_not_counted(self._settings),
        )


def _not_counted(settings: Settings) -> list[str]:
    asks = {
        "--attachments all": settings.attachments is AttachmentMode.ALL,
        "--verify-blobs": settings.verify_blobs,
    }
    return [option for option, is_given in asks.items() if is_given]
