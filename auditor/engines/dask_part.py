"""One share, audited by a worker of a Dask cluster."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from auditor.audit.run import open_job, run_into
from auditor.config import Settings, decisive_of_shares, load
from auditor.engines.part_store import PartStore
from auditor.engines.plan import LEAST_S
from auditor.errors import AuditorError, ExitCode, UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.lists import items_of
from auditor.scale.parts import open_part, part_name, whole_part
from auditor.util.clock import SystemClock
from auditor.util.shard import Shard

log = logging.getLogger("auditor.scale")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOrder:
    """What a worker is told: nothing of it is a secret.

    `flags` are those of the command line, `references` and `lists` (what `put_lists`
    gave) the whole input, and `decisive` what the settings have to come to: the worker
    reads its own environment, files and credentials. `deadline_at`: when the time of
    the whole run is up, in epoch seconds.
    """

    flags: Mapping[str, Any]
    references: Sequence[str]
    lists: Sequence[tuple[str, str]]
    decisive: Mapping[str, Any]
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
    settings = load(environment=os.environ, flags=flags)
    own, wanted = decisive_of_shares(settings), order.decisive
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
        settings, clock=SystemClock(), tell=log.info, items=items
    ) as job:
        await run_into(job.run, job.report)
        await job.commit()
    return job.run.tally.failed
