"""The plan of a sharded run, the result of a shard, and what an engine does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from auditor.config import Settings
from auditor.config.settings import MAX_RUNS_AT_ONCE
from auditor.errors import ExitCode
from auditor.fast_dataclass import dataclass
from auditor.util.shard import MAX_SHARDS, Shard

# Shards per worker of a cluster. With more shards, less is repeated when a worker is
# lost, and a slow worker delays the end less; but every shard reads all catalogs.
SHARDS_PER_WORKER = 4
# The shortest valid deadline, for a shard that begins after the run's deadline.
MIN_DEADLINE_S = 0.1

# Options that apply to the whole run, or that each shard gets a value of its own for.
_RUN_OPTIONS = frozenset(
    {"output", "summary", "metrics", "progress", "resume", "dry_run"}
    | {"shard", "runs_at_once", "processes", "engine", "scheduler", "shard_dir"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """The shards of a run, `at_once` of which are audited at the same time.

    `other_runs` runs like this one, itself included, share the registries' limits.
    """

    shards: Sequence[Shard]
    at_once: int
    other_runs: int = 1

    @property
    def runs_at_once(self) -> int:
        """The value of `--runs-at-once` for each shard."""
        return min(self.at_once * self.other_runs, MAX_RUNS_AT_ONCE)


def plan_shards(
    settings: Settings, *, workers: int, shards_per_worker: int = 1
) -> ShardPlan:
    """A plan for this number of workers.

    At most as many shards are audited at once as the lowest limit of concurrent
    requests allows, and there are at most as many as --max-requests allows requests.
    """
    limits = [settings.default_registry, *settings.registries.values()]
    concurrency = min(limit.requests_at_once for limit in limits)
    most = [limit.max_requests for limit in limits if limit.max_requests is not None]
    at_once = max(1, min(workers, concurrency, *most))
    of = min(at_once * shards_per_worker, MAX_SHARDS, *most)
    shards = tuple(Shard(number=number, of=of) for number in range(1, of + 1))
    return ShardPlan(shards=shards, at_once=at_once, other_runs=settings.runs_at_once)


def shard_flags(flags: Mapping[str, object]) -> dict[str, object]:
    """The flags of a run that apply to each shard, by option name."""
    return {
        name: value
        for name, value in flags.items()
        if name not in _RUN_OPTIONS and value not in (None, ())
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult:
    """How the audit of a shard ended.

    `code` is the exit code of `auditor audit`, or negative for a signal. `messages`
    explain a failure. `summary` is set if a shard without a complete report has one.
    """

    shard: Shard
    code: int
    messages: Sequence[str] = ()
    summary: Mapping[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether there is a complete report."""
        return self.code in {ExitCode.OK, ExitCode.FAILED}


class ShardEngine(Protocol):
    """Audits shards, each into its report."""

    async def run(
        self, plan: ShardPlan, on_result: Callable[[ShardResult], None]
    ) -> None:
        """Audit the shards of a plan; call `on_result` for each as it ends."""

    def stop(self, number: signal.Signals) -> None:
        """Stop after a signal; `run` returns soon. The second call stops at once."""
