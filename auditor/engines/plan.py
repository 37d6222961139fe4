"""How a run is cut into shares, and how many of them are audited at once."""

from __future__ import annotations

from collections.abc import Sequence

from auditor.config import Settings
from auditor.fast_dataclass import dataclass
from auditor.util.shard import MAX_SHARDS, Shard

# Where a share can be lost with its worker, or one worker is slower than others, the
# shares are smaller: a quarter of a worker's work is done again, or waited for. More
# would cost more than it saves, because every share reads the catalogs.
SHARES_A_WORKER = 4
# As the option has it.
MAX_RUNS = 10_000
# The shortest deadline that there is: what a share has that begins after the run's.
LEAST_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The shares of a run. `at_once` of them ask the registries at the same time, as
    `others` runs like this one may."""

    shards: Sequence[Shard]
    at_once: int
    others: int = 1

    @property
    def runs_at_once(self) -> int:
        """How many runs share the limits, as `--runs-at-once` says it to each."""
        return min(self.at_once * self.others, MAX_RUNS)


def plan(settings: Settings, *, workers: int, shares_a_worker: int = 1) -> Plan:
    """A plan for so many workers.

    No registry is ever sent more requests than its limits say, so no more shares are
    audited at once than the lowest has room for, and in all no more than --max-requests
    leaves a request each.
    """
    limits = [settings.default_registry, *settings.registries.values()]
    room = min(one.requests_at_once for one in limits)
    most = [one.max_requests for one in limits if one.max_requests is not None]
    at_once = max(1, min(workers, room, *most))
    of = min(at_once * shares_a_worker, MAX_SHARDS, *most)
    shards = tuple(Shard(number=number, of=of) for number in range(1, of + 1))
    return Plan(shards=shards, at_once=at_once, others=settings.runs_at_once)
