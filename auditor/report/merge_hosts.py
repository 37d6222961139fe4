"""The concurrent requests to each host, of all shards of an audit.

What a host was sent is the sum of the shards that ran at the same time: the processes
of `--processes`, or jobs that were started together. Each has a limit of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from auditor.fast_dataclass import dataclass

Json = Mapping[str, Any]

# Hosts of which a summary has the concurrent requests: a list can name thousands.
MAX_HOSTS = 100
# Of the shards that ran at the same time. No total was lower than the sum of the lowest
# limits while all of them ran, and none higher than that of the highest.
_SUMS = ("limit", "lowest", "highest", "least", "most", "runs")
# Of those that have a pace.
_PACES = ("per_second", "lowest_per_second")
# Summaries have whole seconds.
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Shard:
    """One host in the summary of a shard, and when the shard ran."""

    started_at: datetime
    finished_at: datetime
    host: Json

    def runs_at(self, time: datetime) -> bool:
        """Whether it was running; one that ended at once, for a second."""
        end = max(self.finished_at, self.started_at + _SECOND)
        return self.started_at <= time < end


def merge_hosts(summaries: Sequence[Json]) -> list[dict[str, Any]]:
    """The field `hosts`, each host once, `MAX_HOSTS` at most."""
    return list(_merged(summaries).values())[:MAX_HOSTS]


def merge_hosts_left_out(summaries: Sequence[Json]) -> int:
    """The field `hosts_left_out`: a lower bound of the hosts missing in `hosts`."""
    left_out: int = max(one["hosts_left_out"] for one in summaries)
    return max(left_out, len(_merged(summaries)) - MAX_HOSTS)


def _merged(summaries: Sequence[Json]) -> dict[str, dict[str, Any]]:
    by_host: dict[str, list[_Shard]] = {}
    for summary in summaries:
        times = (summary["started_at"], summary["finished_at"])
        started_at, finished_at = map(datetime.fromisoformat, times)
        for host in summary["hosts"]:
            shard = _Shard(started_at, finished_at, host)
            by_host.setdefault(host["host"], []).append(shard)
    return {name: _merge(shards) for name, shards in by_host.items()}


def _merge(shards: Sequence[_Shard]) -> dict[str, Any]:
    together = [one.host for one in _busiest(shards)]
    moves: Counter[str] = Counter()
    for shard in shards:
        moves.update(shard.host["moves"])
    last = max(shards, key=lambda shard: shard.finished_at).host
    least = [ms for one in shards if (ms := one.host["round_trip_min_ms"]) is not None]
    now = [ms for one in together if (ms := one["round_trip_ms"]) is not None]
    return {
        **last,
        **{name: sum(one[name] for one in together) for name in _SUMS},
        **{name: _total(one.get(name) for one in together) for name in _PACES},
        "round_trip_min_ms": min(least, default=None),
        "round_trip_ms": round(sum(now) / len(now), 1) if now else None,
        "moves": dict(sorted(moves.items())),
    }


def _total(paces: Iterable[float | None]) -> float | None:
    known = [pace for pace in paces if pace is not None]
    return round(sum(known), 2) if known else None


def _busiest(shards: Sequence[_Shard]) -> list[_Shard]:
    """The shards that ran at the time when they could send the most together."""
    at_starts = (
        [one for one in shards if one.runs_at(first.started_at)] for first in shards
    )
    return max(at_starts, key=lambda them: sum(one.host["highest"] for one in them))
