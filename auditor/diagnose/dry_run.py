"""An audit up to its first manifest: the lists are read, nothing else is fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import anyio

from auditor.audit.content_cache import SharedContent
from auditor.audit.resolve import Lookup
from auditor.cache.store import DigestStore
from auditor.config import AttachmentMode, Settings
from auditor.errors import unwrapped
from auditor.input.expand import expand
from auditor.input.lists import Item
from auditor.input.steps import Asked, Entry, Expansion
from auditor.input.tag_filter import Selection
from auditor.registry.host_plan import Scheme
from auditor.registry.registries import Registries
from auditor.reports.forecast import MAX_SCOPES, Forecast, HostForecast
from auditor.util.clock import Clock
from auditor.util.deadline import Deadline
from auditor.wire.challenge import pull_scope


class DryRun:
    """Make it, `run` it, then ask for its `forecast`."""

    def __init__(
        self,
        settings: Settings,
        items: Iterable[Item],
        *,
        registries: Registries,
        clock: Clock,
        store: DigestStore,
    ) -> None:
        self._settings = settings
        self._items = items
        self._registries = registries
        self._selection = Selection.of(
            settings, datetime.fromtimestamp(clock.epoch(), UTC)
        )
        self._lookup = Lookup(
            SharedContent(store, clock=clock, recheck_s=settings.store_recheck_s)
        )
        self._hosts: dict[str, HostForecast] = {}
        self._repositories: dict[str, set[int]] = {}
        self._expansion = Expansion()
        self._expanded = False
        self._refused = 0

    async def run(self, put: Callable[[Entry], bool]) -> None:
        """Give every entry to `put`, until it says false."""
        with unwrapped():
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
        place = self._registries.at_mirror(entry.reference) or entry.reference
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
        allowances = dict(self._registries.allowances())
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
