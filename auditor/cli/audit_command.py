"""`auditor audit`"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from auditor.cli import early_signals
from auditor.cli.command_support import (
    extras,
    name_files,
    run_async,
    settings_from,
    settings_options,
)
from auditor.cli.help_text import help_command
from auditor.cli.output import (
    check_file,
    notice_printer,
    print_line,
    print_message,
    print_summary,
)
from auditor.cli.side_outputs import check_side_outputs, write_side_outputs
from auditor.config import (
    EngineName,
    OptionGroup,
    ProgressMode,
    ReportFormat,
    Settings,
    signature_policy_of,
)
from auditor.errors import ExitCode, UsageError
from auditor.model import Shape

if TYPE_CHECKING:
    from auditor.audit.job import AuditJob
    from auditor.audit.run import AuditRun
    from auditor.cli.side_outputs import SbomOutcome
    from auditor.cli.signals import Interruption
    from auditor.report.audit_table import AuditTable

_EPILOG = """
A reference is [HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]. The tag and the repository may
be patterns: host/team/app:1.*, host/team/**:v1.*, host/*:* (everything). The report
goes to standard output or -o FILE, progress and summary to standard error.
"""


@help_command("audit", epilog=_EPILOG)
@settings_options(*OptionGroup)
def command(**flags: Any) -> int:
    """Audit references: print a table, or write one JSON line for each.

    References come from the arguments, from lists (-f) and from the configuration
    (-c), in any combination; each is audited once.
    """
    settings = settings_from(flags)
    if not settings.has_input and not settings.allow_empty:
        raise UsageError(
            "nothing to audit: give references, or a list of them with -f"
            " (see auditor audit --help)"
        )

    settings = name_files(settings)
    if settings.dry_run:
        early_signals.uninstall()
        return run_async(dry_run, settings)
    _check_format(settings, flags["format"])
    if settings.shard is not None and flags["sbom"] is None:
        # A key or variable `sbom` is for the whole audit, a flag for this shard.
        settings = replace(settings, sbom=None)
    if settings.processes > 1 or settings.engine is not EngineName.LOCAL:
        from auditor.cli.sharded_audit import audit_sharded

        with extras():
            return run_async(audit_sharded, settings, flags, _table(settings))
    return run_async(audit, settings)


def _check_format(settings: Settings, flag: str | None) -> None:
    """Refuse a table that would not be printed.

    In a file or variable, `format` applies to the audits that can print one.
    """
    if flag != ReportFormat.TABLE:
        return
    if settings.output != "-":
        reason = "-o FILE writes JSON lines; leave out one of them"
    elif settings.shape is not Shape.IMAGE:
        reason = f"has a line per image; leave out --shape {settings.shape}"
    else:
        return
    raise UsageError(f"--format table: {reason}")


async def audit(settings: Settings) -> int:
    """Audit the references of the settings, write the report; return the exit code."""
    import functools

    from auditor.cli.signals import Interruption
    from auditor.input.lists import check_lists

    check_lists(settings)
    check_side_outputs(settings)
    if settings.sbom is not None:
        from auditor.cli.side_outputs import check_sbom_settings

        check_sbom_settings(settings)
    interruption = Interruption()
    return await interruption.run(functools.partial(_audit, settings, interruption))


async def _audit(settings: Settings, interruption: Interruption) -> ExitCode:
    import anyio

    from auditor.audit.job import open_job, report_options, run_with_checkpoints
    from auditor.cli.progress import log_progress
    from auditor.errors import unwrap_exception_group
    from auditor.input.cluster import read_cluster
    from auditor.input.lists import await_first_item
    from auditor.input.source_scan import open_input
    from auditor.report.summary_text import (
        empty_input_sentence,
        next_commands,
        summary_lines,
    )
    from auditor.util.clock import SystemClock

    say = notice_printer(settings)
    clock = SystemClock()
    started_s = clock.monotonic()
    cluster = await read_cluster(settings)
    async with open_input(settings, cluster=cluster.items) as opened:
        items = await await_first_item(opened.items, settings)
        audit_input = replace(opened, items=items)
        settings, late_at_s = _with_time_left(settings, clock.monotonic(), started_s)
        signatures = signature_policy_of(settings)
        options, table = report_options(settings, signatures), _table(settings)
        if table is not None:
            options = replace(options, encode=table, rest=table.rest)
        async with open_job(
            settings,
            clock=clock,
            notify=say,
            audit_input=audit_input,
            options=options,
            signatures=signatures,
            pull_secrets=cluster.pull_secrets,
        ) as job:
            run, report = job.run, job.report
            interruption.begin(run, report)
            with _progress(settings, run), unwrap_exception_group():
                async with anyio.create_task_group() as group:
                    group.start_soon(
                        log_progress,
                        run.tally,
                        run.finished_references,
                        run.known_references,
                        run.host_statuses,
                    )
                    await run_with_checkpoints(run, report)
                    group.cancel_scope.cancel()
            sboms = await _complete(settings, job, interruption, late_at_s)
    summary = run.summary().to_json()
    if sboms is not None:
        summary["sboms"] = sboms.counts.to_json()
    # The table has shown the failures.
    shown = summary if table is None else {**summary, "failures": {}}
    failed = summary["references"]["failed"] > 0
    print_summary(settings, summary_lines(shown), failed=failed)
    if (hint := report.resume_hint) is not None:
        say(hint)
    elif settings.shard is None and (sentence := empty_input_sentence(summary)):
        (say if settings.allow_empty else print_message)(sentence)
    elif sys.stderr.isatty() and summary["references"]["audited"]:
        for line in next_commands(settings.output):
            say(line)
    write_side_outputs(settings, summary)
    if sboms is not None:
        (print_message if sboms.failed else say)(sboms.line)
    if interruption.code is not None:
        return interruption.code
    code = ExitCode.OK if sboms is None else sboms.exit_code()
    return ExitCode.FAILED if failed else code


def _with_time_left(
    settings: Settings, now_s: float, started_s: float
) -> tuple[Settings, float | None]:
    """The settings with the rest of the deadline, and when it is."""
    if settings.deadline_s is None:
        return settings, None
    late_at_s = started_s + settings.deadline_s
    return replace(settings, deadline_s=max(0.0, late_at_s - now_s)), late_at_s


async def _complete(
    settings: Settings,
    job: AuditJob,
    interruption: Interruption,
    late_at_s: float | None,
) -> SbomOutcome | None:
    """Complete the report, then the file with its SBOMs if there is to be one."""
    interruption.finish()
    await job.report.write_rest()
    if interruption.code is None:
        await job.commit()
    if interruption.code is not None or settings.sbom is None:
        return None
    from auditor.cli.side_outputs import not_written, read_sboms

    outcome: SbomOutcome | None = None
    with interruption.step():
        outcome = await read_sboms(
            settings, registries=job.registries, cache=job.cache, late_at_s=late_at_s
        )
    return outcome or not_written(settings.sbom)


def _table(settings: Settings) -> AuditTable | None:
    """The table on standard output; None if JSON lines are written."""
    form = settings.format
    if settings.output != "-" or form is ReportFormat.JSONL:
        return None
    is_terminal = sys.stdout.isatty()
    if settings.shape is not Shape.IMAGE:
        return None
    if form is ReportFormat.AUTO and not is_terminal:
        return None
    from auditor.report.audit_table import AuditTable
    from auditor.util.terminal import screen_of

    over_progress = is_terminal and _shows_progress(settings)
    return AuditTable(screen_of(sys.stdout), over_progress=over_progress)


def _shows_progress(settings: Settings) -> bool:
    is_wanted = settings.progress is ProgressMode.ALWAYS or (
        settings.progress is ProgressMode.AUTO
        and sys.stderr.isatty()
        and not _writes_to_pipe(settings)
    )
    return is_wanted and not settings.quiet


def _writes_to_pipe(settings: Settings) -> bool:
    """Whether a program reads the report: it may print on the same terminal."""
    if settings.output != "-":
        return False
    try:
        return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):  # no descriptor
        return False


def _progress(settings: Settings, run: AuditRun) -> AbstractContextManager[None]:
    if not _shows_progress(settings):
        return nullcontext()
    from auditor.cli.progress import terminal_progress
    from auditor.input.lists import count_lines

    return terminal_progress(
        run.tally,
        run.finished_references,
        run.known_references,
        run.host_statuses,
        expected=count_lines(settings),
    )


async def dry_run(settings: Settings) -> int:
    """Print the references that would be audited, then a forecast of the requests.

    No report is written. Returns 1 if an entry of the input is not a reference, or a
    listing is incomplete.
    """
    from auditor.cache.digest_cache import open_cache
    from auditor.diagnose.dry_run import DryRun, forecast_lines
    from auditor.input.cluster import read_cluster
    from auditor.input.input_items import InputEntry, RejectedEntry
    from auditor.input.lists import check_lists, input_items
    from auditor.registry.registries import open_registries
    from auditor.report.summary import write_summary
    from auditor.util.clock import SystemClock
    from auditor.util.text import format_count

    check_lists(settings)
    if settings.summary is not None:
        check_file(settings.summary)
    clock = SystemClock()
    without_age = 0
    is_read = True

    def put(entry: InputEntry) -> bool:
        nonlocal is_read, without_age
        if isinstance(entry, RejectedEntry):
            print_message(f"{entry.text}: {entry.failure.kind}: {entry.failure.detail}")
        else:
            without_age += entry.age_unknown
            is_read = print_line(str(entry.reference))
        return is_read

    cluster = await read_cluster(settings)
    async with (
        open_registries(
            settings, clock=clock, pull_secrets=cluster.pull_secrets
        ) as registries,
        open_cache(settings, now=clock.epoch) as cache,
    ):
        run = DryRun(
            settings,
            input_items(settings, cluster=cluster.items),
            registries=registries,
            clock=clock,
            cache=cache,
        )
        await run.run(put)
        forecast = await run.forecast()
    if not is_read:
        return ExitCode.OK  # the reader (`head`) has enough
    for line in forecast_lines(forecast, run.uses_tokens):
        print_message(line)
    if without_age:
        print_message(
            f"--since: {format_count(without_age, 'tag')} printed without a filter: the"
            " listing has no time for them"
        )
    if settings.summary is not None:
        write_summary(settings.summary, forecast)
    return ExitCode.FAILED if forecast.references.refused else ExitCode.OK
