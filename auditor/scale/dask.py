"""A run shared out over a Dask cluster.

Dask does again what a lost worker had begun. A share that was finished is found in its
part, so that only what was not finished is asked of the registry again.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from distributed import Client, Future, as_completed

from auditor.audit.run import open_job, run_into_report
from auditor.config import Settings, load_settings, sharded_run_settings
from auditor.errors import AuditorError, ExitCode, UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.lists import items_of
from auditor.scale.parts import PartStore, open_part, part_name, whole_part
from auditor.scale.processes import LEAST_S, Plan, Share
from auditor.util.clock import SystemClock
from auditor.util.shard import Shard

# -- dask_part --
# One share, audited by a worker of a Dask cluster.

log = logging.getLogger("auditor.scale")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOrder:
    """What a worker is told: nothing of it is a secret.

    `flags` are those of the command line, `references` and `lists` (what `put_lists`
    gave) the whole input, and `record_settings` what the settings have to come to: the worker
    reads its own environment, files and credentials. `deadline_at`: when the time of
    the whole run is up, in epoch seconds.
    """

    flags: Mapping[str, Any]
    references: Sequence[str]
    lists: Sequence[tuple[str, str]]
    record_settings: Mapping[str, Any]
    parts: str
    runs_at_once: int
    deadline_at: float | None = None


def audit_part(order: PartOrder, number: int, of: int) -> tuple[int, tuple[str, ...]]:
    """Audit a share and leave its report; the exit code and what explains a bad one."""
    shard = Shard(number=number, of=of)
    try:
        return _audit(order, shard), ()
    except AuditorError as error:
        return error.exit_code, tuple(str(error).splitlines())


def _audit(order: PartOrder, shard: Shard) -> ExitCode:
    parts = PartStore(order.parts)
    # Done by a worker that was lost before it could say so.
    if (head := whole_part(parts, shard)) is not None:
        return _code(head.summary["references"]["failed"])
    settings = _settings(order, shard)
    with tempfile.TemporaryDirectory(prefix="auditor-part-") as folder:
        report = Path(folder, part_name(shard))
        names = {_fetched(copy, Path(folder)): name for copy, name in order.lists}
        settings = replace(settings, lists=tuple(names), output=str(report))
        failed = anyio.run(
            functools.partial(_run, settings, names),
            backend_options={
                "use_uvloop": importlib.util.find_spec("uvloop") is not None
            },
        )
        parts.put(report, shard)
    return _code(failed)


def _code(failed: int) -> ExitCode:
    return ExitCode.FAILED if failed else ExitCode.OK


def _settings(order: PartOrder, shard: Shard) -> Settings:
    flags = {
        **order.flags,
        "runs_at_once": str(order.runs_at_once),
        "shard": str(shard),
    }
    settings = load_settings(environment=os.environ, flags=flags)
    own, wanted = sharded_run_settings(settings), order.record_settings
    differs = sorted(name for name in wanted if own.get(name) != wanted[name])
    if differs:
        raise UsageError(
            f"a worker's own environment or configuration says otherwise:"
            f" {', '.join(differs)}; it has to be the same on every worker"
        )
    return replace(
        settings,
        references=tuple(order.references),
        deadline_s=_left_s(order, settings),
        summary=None,
        metrics=None,
        resume=False,
    )


def _left_s(order: PartOrder, settings: Settings) -> float | None:
    """The rest of the whole run's time, by the worker's clock."""
    if order.deadline_at is None or settings.deadline_s is None:
        return settings.deadline_s
    left_s = order.deadline_at - SystemClock().epoch()
    return max(LEAST_S, min(left_s, settings.deadline_s))


def _fetched(name: str, folder: Path) -> str:
    copy = folder / name.rpartition("/")[2]
    with open_part(name) as source, copy.open("wb") as into:
        shutil.copyfileobj(source, into)
    return str(copy)


async def _run(settings: Settings, names: Mapping[str, str]) -> int:
    items = items_of(settings, names=names)
    async with open_job(
        settings, clock=SystemClock(), notify=log.info, items=items
    ) as job:
        await run_into_report(job.run, job.report)
        await job.commit()
    return job.run.tally.failed


_Outcome = tuple[int, tuple[str, ...]]

# How long a scheduler may take to answer: it is there or it is not.
_CONNECT_S = 30
# A share that fails by a bug or an accident of its worker is tried by another one.
_RETRIES = 2


class Cluster:
    """The workers of a Dask scheduler: an `Engine`. Use it as a context manager."""

    def __init__(self, scheduler: str) -> None:
        try:
            self._client = Client(
                scheduler, timeout=_CONNECT_S, set_as_default=False, name="auditor"
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(
                f"--scheduler: no Dask scheduler answers at {scheduler}"
                f" ({type(error).__name__})"
            ) from None
        self.order: PartOrder | None = None
        self._stopped = False
        self._running: as_completed | None = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def workers(self) -> int:
        """How many shares the cluster can audit at the same time."""
        return sum(self._client.nthreads().values())

    async def run(self, plan: Plan, ended: Callable[[Share], None]) -> None:
        """Audit the shares of a plan; `ended` is told of each as it ends."""
        await anyio.to_thread.run_sync(self._run, plan, ended)

    def stop(self, number: signal.Signals) -> None:
        """End early. What a worker has begun it finishes, and its part can be used; who
        says it twice does not wait for that."""
        del number
        if self._stopped and self._running is not None:
            self._running.clear()
        self._stopped = True

    def _run(self, plan: Plan, ended: Callable[[Share], None]) -> None:
        todo = iter(plan.shards)
        under_way: dict[object, Shard] = {}

        def submit(count: int) -> list[Future[_Outcome]]:
            futures = []
            for shard in islice(todo, count):
                future = self._client.submit(
                    audit_part,
                    self.order,
                    shard.number,
                    shard.of,
                    retries=_RETRIES,
                    pure=False,
                )
                under_way[future.key] = shard
                futures.append(future)
            return futures

        with self._client.as_current():
            # Never more than the plan allows, however many workers come.
            running = self._running = as_completed(submit(plan.at_once))
            for future in running:
                ended(_share(future, under_way.pop(future.key)))
                if not self._stopped:
                    running.update(submit(1))


def _share(future: Future[_Outcome], shard: Shard) -> Share:
    if future.status == "finished":
        code, last_words = future.result()
        return Share(shard=shard, code=code, last_words=last_words)
    # Lost with more workers than Dask allows for, or a bug on the worker.
    error = future.exception()
    last_words = (f"{type(error).__name__}: {error}",)
    return Share(shard=shard, code=ExitCode.BUG, last_words=last_words)
