"""Audits shards on a Dask cluster.

Dask repeats the task of a lost worker. If the worker had uploaded the report, the task
finds it, so that only unfinished shards are requested from the registry again.
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

from auditor.audit.job import open_job, run_with_checkpoints
from auditor.config import Settings, load_settings, sharded_run_settings
from auditor.errors import AuditorError, ExitCode, UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.source_scan import open_input
from auditor.scale.shard_dir import (
    RemoteShardDir,
    complete_report,
    open_by_name,
    report_name,
)
from auditor.scale.sharded_run import MIN_DEADLINE_S, ShardPlan, ShardResult
from auditor.util.clock import SystemClock
from auditor.util.shard import Shard

log = logging.getLogger("auditor.scale")

# A scheduler that does not answer within this time is not there.
_CONNECT_TIMEOUT_S = 30
# Attempts of other workers at a shard that failed by a bug or with its worker.
_RETRIES = 2

# The exit code and the messages of a task.
_TaskResult = tuple[int, tuple[str, ...]]


# -- on the client ---------------------------------------------------------------


class DaskEngine:
    """A `ShardEngine` on the workers of a Dask scheduler, and a context manager.

    `task` must be set before `run`.
    """

    def __init__(self, scheduler: str) -> None:
        try:
            self._client = Client(
                scheduler,
                timeout=_CONNECT_TIMEOUT_S,
                set_as_default=False,
                name="auditor",
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(
                f"--scheduler: no Dask scheduler at {scheduler}"
                f" ({type(error).__name__}); check the address"
            ) from None
        self.task: ShardTask | None = None
        self._stopped = False
        self._running: as_completed | None = None

    def __enter__(self) -> DaskEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def workers(self) -> int:
        """The number of shards that the cluster can audit at the same time."""
        return sum(self._client.nthreads().values())

    async def run(
        self, plan: ShardPlan, on_result: Callable[[ShardResult], None]
    ) -> None:
        """Audit the shards of a plan; call `on_result` for each as it ends."""
        await anyio.to_thread.run_sync(self._run, plan, on_result)

    def stop(self, number: signal.Signals) -> None:
        """Stop after begun shards, which can be used; the second call: at once."""
        del number
        if self._stopped and self._running is not None:
            self._running.clear()
        self._stopped = True

    def _run(self, plan: ShardPlan, on_result: Callable[[ShardResult], None]) -> None:
        shards = iter(plan.shards)
        submitted: dict[object, Shard] = {}

        def submit(count: int) -> list[Future[_TaskResult]]:
            futures = []
            for shard in islice(shards, count):
                future = self._client.submit(
                    audit_shard,
                    self.task,
                    shard.number,
                    shard.of,
                    retries=_RETRIES,
                    pure=False,
                )
                submitted[future.key] = shard
                futures.append(future)
            return futures

        with self._client.as_current():
            # Never more than the plan allows, however many workers join.
            running = self._running = as_completed(submit(plan.at_once))
            for future in running:
                on_result(_result(future, submitted.pop(future.key)))
                if not self._stopped:
                    running.update(submit(1))


def _result(future: Future[_TaskResult], shard: Shard) -> ShardResult:
    if future.status == "finished":
        code, messages = future.result()
        return ShardResult(shard=shard, code=code, messages=messages)
    # Lost with more workers than Dask accepts, or a bug on the worker.
    error = future.exception()
    messages = (f"{type(error).__name__}: {error}",)
    return ShardResult(shard=shard, code=ExitCode.BUG, messages=messages)


# -- on the workers --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """The input of a worker; contains no secret.

    `flags` are those of the command line, `references` and `lists` (from `put_lists`)
    the whole input, and `expected_settings` the result of `sharded_run_settings`: the
    worker reads its own environment, files and credentials. `deadline_at` is the
    deadline of the whole run in epoch seconds.
    """

    flags: Mapping[str, Any]
    references: Sequence[str]
    lists: Sequence[tuple[str, str]]
    expected_settings: Mapping[str, Any]
    shard_dir: str
    runs_at_once: int
    deadline_at: float | None = None


def audit_shard(task: ShardTask, number: int, of: int) -> _TaskResult:
    """Audit a shard and upload its report; return the exit code and error messages."""
    shard = Shard(number=number, of=of)
    try:
        return _audit(task, shard), ()
    except AuditorError as error:
        return error.exit_code, tuple(str(error).splitlines())


def _audit(task: ShardTask, shard: Shard) -> ExitCode:
    shard_dir = RemoteShardDir(task.shard_dir)
    # Audited by a worker that was lost before it returned.
    if (info := complete_report(shard_dir, shard)) is not None:
        return _exit_code(info.summary["references"]["failed"])
    settings = _settings(task, shard)
    with tempfile.TemporaryDirectory(prefix="auditor-shard-") as folder:
        report = Path(folder, report_name(shard))
        names = {_download(copy, Path(folder)): name for copy, name in task.lists}
        settings = replace(settings, lists=tuple(names), output=str(report))
        failed = anyio.run(
            functools.partial(_run_audit, settings, names),
            backend_options={
                "use_uvloop": importlib.util.find_spec("uvloop") is not None
            },
        )
        shard_dir.put(report, shard)
    return _exit_code(failed)


def _exit_code(failed: int) -> ExitCode:
    return ExitCode.FAILED if failed else ExitCode.OK


def _settings(task: ShardTask, shard: Shard) -> Settings:
    flags = {**task.flags, "runs_at_once": str(task.runs_at_once), "shard": str(shard)}
    settings = load_settings(environment=os.environ, flags=flags)
    actual, expected = sharded_run_settings(settings), task.expected_settings
    differences = sorted(
        name for name in expected if actual.get(name) != expected[name]
    )
    if differences:
        raise UsageError(
            "the environment or configuration of a worker differs in"
            f" {', '.join(differences)}; make it the same on all workers"
        )
    return replace(
        settings,
        references=tuple(task.references),
        deadline_s=_remaining_s(task, settings),
        summary=None,
        metrics=None,
        sbom=None,
        resume=False,
    )


def _remaining_s(task: ShardTask, settings: Settings) -> float | None:
    """The time until the deadline of the whole run, by the worker's clock."""
    if task.deadline_at is None or settings.deadline_s is None:
        return settings.deadline_s
    remaining_s = task.deadline_at - SystemClock().epoch()
    return max(MIN_DEADLINE_S, min(remaining_s, settings.deadline_s))


def _download(name: str, folder: Path) -> str:
    copy = folder / name.rpartition("/")[2]
    with open_by_name(name) as source, copy.open("wb") as into:
        shutil.copyfileobj(source, into)
    return str(copy)


async def _run_audit(settings: Settings, names: Mapping[str, str]) -> int:
    async with (
        open_input(settings, names=names) as audit_input,
        open_job(
            settings, clock=SystemClock(), notify=log.info, audit_input=audit_input
        ) as job,
    ):
        await run_with_checkpoints(job.run, job.report)
        await job.commit()
    return job.run.tally.failed
