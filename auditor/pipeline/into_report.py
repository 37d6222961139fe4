"""A run into its report, with what is finished safe from a crash."""

from __future__ import annotations

import anyio

from auditor.audit.run import Run
from auditor.errors import unwrapped
from auditor.report.writer import Report

# How much finished work a crash may cost.
KEEP_EVERY_S = 1.0


async def run_into(run: Run, report: Report) -> None:
    """Run; every second what is finished is made safe, in its turn or not."""
    with unwrapped():
        async with anyio.create_task_group() as group:
            group.start_soon(_keep_safe, run, report)
            await run.run()
            group.cancel_scope.cancel()


async def _keep_safe(run: Run, report: Report) -> None:
    while True:
        await anyio.sleep(KEEP_EVERY_S)
        await report.keep(run.early(), waits=run.waits)
