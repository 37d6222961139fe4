"""`auditor audit --dry-run`"""

from __future__ import annotations

from auditor.cli.main import say
from auditor.cli.output import print_line
from auditor.cli.side_outputs import check_file
from auditor.config import Settings
from auditor.errors import ExitCode


async def dry_run(settings: Settings) -> int:
    """Print the references that would be audited, then what they would take.

    No report is written and none is touched. Exits with 1 if something in the input
    can be no reference, or a list is not whole.
    """
    from auditor.cache.store import open_store
    from auditor.diagnose.dry_run import DryRun, forecast_lines
    from auditor.input.lists import check_lists, items_of
    from auditor.input.steps import Entry, Refused
    from auditor.registry.registries import open_registries
    from auditor.report.summary import write_summary
    from auditor.util.clock import SystemClock

    check_lists(settings)
    if settings.summary is not None:
        check_file(settings.summary)
    clock = SystemClock()
    is_read = True

    def put(entry: Entry) -> bool:
        nonlocal is_read
        if isinstance(entry, Refused):
            say(f"{entry.text}: {entry.failure.kind}: {entry.failure.detail}")
        else:
            is_read = print_line(str(entry.reference))
        return is_read

    async with (
        open_registries(settings, clock=clock) as registries,
        open_store(settings, now=clock.epoch) as store,
    ):
        run = DryRun(
            settings,
            items_of(settings),
            registries=registries,
            clock=clock,
            store=store,
        )
        await run.run(put)
        forecast = await run.forecast()
    if not is_read:
        return ExitCode.OK  # `head` has what it wanted
    for line in forecast_lines(forecast):
        say(line)
    if settings.summary is not None:
        write_summary(settings.summary, forecast.to_json())
    return ExitCode.FAILED if forecast.refused else ExitCode.OK
