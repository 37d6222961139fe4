"""How a run is cut into shares, and how many of them are audited at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.config import Settings
from auditor.protocol.shard import MAX_SHARDS, Shard

# Where a share can be lost with its worker, or one worker is slower than others, the
# shares are smaller: a quarter of a worker's work is done again, or waited for. More
# would cost more than it saves, because every share reads the catalogs.
SHARES_A_WORKER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The shares of a run. `at_once` of them ask the registries at the same time."""

    shards: Sequence[Shard]
    at_once: int


def plan(settings: Settings, *, workers: int, shares_a_worker: int = 1) -> Plan:
    """A plan for so many workers.

    No registry is ever sent more requests at once than its limit says, so no more
    shares are audited at once than the lowest limit has room for.
    """
    limits = [settings.default_registry, *settings.registries.values()]
    room = min(one.requests_at_once for one in limits)
    at_once = max(1, min(workers, room))
    of = min(at_once * shares_a_worker, MAX_SHARDS)
    shards = tuple(Shard(number=number, of=of) for number in range(1, of + 1))
    return Plan(shards=shards, at_once=at_once)
