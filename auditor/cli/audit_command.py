"""`auditor audit`"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from auditor.cli import early_signals
from auditor.cli.extras import extras
from auditor.cli.main import say
from auditor.cli.options import settings_from, settings_options
from auditor.cli.side_outputs import check_beside, write_beside
from auditor.config import Engine, Group, Progress, Settings
from auditor.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from auditor.audit.run import Run
    from auditor.cli.signals import Interruption

_EPILOG = """
A reference is [HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]. The tag may be a pattern, and
the repository, too: host/team/app:1.*, host/team/**:v1.*, host/*:* (everything). The
report goes to standard output or -o FILE, progress and summary to standard error.
"""


@click.command("audit", epilog=_EPILOG)
@settings_options(*Group)
def command(**flags: Any) -> int:
    """Audit references and write one JSON line for each.

    References come from the arguments, from lists (-f) and from the configuration
    (-c), all mixed; each is audited once.
    """
    settings = settings_from(flags)
    if not settings.references and not settings.lists:
        raise UsageError(
            "nothing to audit: name references, or a list of them with -f"
            " (auditor audit --help tells more)"
        )
    from auditor.cli.run_async import run_async

    if settings.dry_run:
        from auditor.cli.dry_run import dry_run

        early_signals.leave()
        return run_async(dry_run, settings)
    if settings.processes > 1 or settings.engine is not Engine.LOCAL:
        from auditor.cli.sharded_audit import shared_audit

        with extras():
            return run_async(shared_audit, settings, flags)
    return run_async(audit, settings)


async def audit(settings: Settings) -> int:
    """Audit what the settings say, write the report, tell a person; the exit code."""
    import functools

    from auditor.cli.signals import Interruption
    from auditor.input.lists import check_lists

    check_lists(settings)
    check_beside(settings)
    interruption = Interruption()
    return await interruption.heard(functools.partial(_audit, settings, interruption))


async def _audit(settings: Settings, interruption: Interruption) -> ExitCode:
    import anyio

    from auditor.audit.run import open_job, run_into
    from auditor.cli.progress import log_progress
    from auditor.errors import unwrapped
    from auditor.report.summary_text import (
        NOTHING_NAMED,
        nothing_was_named,
        summary_lines,
    )
    from auditor.util.clock import SystemClock

    async with open_job(settings, clock=SystemClock(), tell=say) as job:
        run, report = job.run, job.report
        interruption.under_way(run, report)
        with _progress(settings, run), unwrapped():
            async with anyio.create_task_group() as group:
                group.start_soon(log_progress, run.tally, run.asked)
                await run_into(run, report)
                group.cancel_scope.cancel()
        interruption.is_over()
        if interruption.code is None:
            await job.commit()
    summary = run.summary().to_json()
    for line in summary_lines(summary):
        say(line)
    if report.leftover is not None:
        say(report.way_on)
    elif settings.shard is None and nothing_was_named(summary):
        say(NOTHING_NAMED)
    write_beside(settings, summary)
    if interruption.code is not None:
        return interruption.code
    return ExitCode.FAILED if summary["references"]["failed"] else ExitCode.OK


def _progress(settings: Settings, run: Run) -> AbstractContextManager[None]:
    shown = settings.progress is Progress.ALWAYS or (
        settings.progress is Progress.AUTO and sys.stderr.isatty()
    )
    if not shown:
        return nullcontext()
    from auditor.cli.progress import terminal_progress
    from auditor.input.lists import count_lines

    return terminal_progress(run.tally, run.asked, expected=count_lines(settings))
