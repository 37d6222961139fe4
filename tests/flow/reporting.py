"""Audits into a report file, in this process: stopped, crashed, resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import orjson

from auditor.audit.job import open_job, run_with_checkpoints
from auditor.audit.run import AuditRun
from auditor.report.summary import Summary
from auditor.report.writer import Report
from auditor.util.compressed_file import decompressing
from tests.flow.harness import PATIENCE_S, Lab


@dataclass(slots=True, kw_only=True)
class Reported:
    """The messages and the summary of a run."""

    summary: Summary
    messages: list[str] = field(default_factory=list)


async def report_to(
    here: Lab,
    output: Path,
    *references: str,
    messages: list[str] | None = None,
    meanwhile: Callable[[AuditRun, Report], AbstractAsyncContextManager[None]]
    | None = None,
    **changes: Any,
) -> Reported:
    """Audit these references into `output`; commit unless the run was stopped."""
    changes.setdefault("no_cache", True)
    settings = here.settings(*references, output=str(output), **changes)
    messages = [] if messages is None else messages
    with anyio.fail_after(PATIENCE_S):
        async with open_job(settings, clock=here.clock, notify=messages.append) as job:
            run, report = job.run, job.report
            if meanwhile is None:
                await run_with_checkpoints(run, report)
            else:
                async with meanwhile(run, report):
                    await run_with_checkpoints(run, report)
            if not run.summary().interrupted:
                await job.commit()
    return Reported(summary=run.summary(), messages=messages)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a report, without `audited_at`."""
    with decompressing(path.open("rb"), path.name) as stream:
        lines = [orjson.loads(line) for line in stream]
    return [
        {key: value for key, value in line.items() if key != "audited_at"}
        for line in lines
    ]


def files_next_to(output: Path) -> dict[str, bytes]:
    """The other files of a report, as a crash at this moment leaves them."""
    return {
        path.name: path.read_bytes()
        for path in output.parent.iterdir()
        if path.name.startswith(output.name + ".")
    }


@contextmanager
def restored(output: Path, files: dict[str, bytes]) -> Iterator[None]:
    """Replace the other files of a report by these."""
    for name in files_next_to(output):
        output.with_name(name).unlink()
    for name, data in files.items():
        output.with_name(name).write_bytes(data)
    yield
