"""`auditor history`"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from auditor.cli.command_support import format_option, reports_argument
from auditor.cli.help_text import help_group
from auditor.cli.output import allow_broken_pipe, print_message
from auditor.errors import ExitCode, UsageError


@help_group("history")
def command() -> None:
    """Keep nightly reports as Parquet files and show when a tag moved."""


@command.command("add")
@click.argument("dataset", metavar="DATASET")
@reports_argument
def add_command(*, dataset: str, reports: tuple[str, ...]) -> int:
    """Add a run: the report, or reports, of one night.

    Adding the same run again changes nothing.
    """
    from auditor.analysis.history import add

    run, new = add(Path(dataset), reports)
    click.echo(f"{run.name} {'added' if new else 'is already in the history'}")
    return ExitCode.OK


@command.command("prune")
@click.argument("dataset", metavar="DATASET")
@click.option(
    "--keep",
    required=True,
    metavar="RULES",
    help="How many runs to keep, as in daily=30,weekly=12,monthly=12; last and yearly"
    " are rules, too.",
)
@click.option(
    "--dry-run", is_flag=True, help="Only print the runs that would be removed."
)
def prune_command(*, dataset: str, keep: str, dry_run: bool) -> int:
    """Remove the runs that no rule keeps.

    The rules are restic's: daily=30 keeps the newest complete run of each of the last
    30 days that have one. The last complete run is always kept.
    """
    from auditor.analysis.history import remove, stored_runs
    from auditor.config.toml_tables import parse_keep
    from auditor.nightly.retention import expired_nights

    try:
        rules = parse_keep(keep)
    except ValueError as error:
        raise UsageError(f"--keep: {error}") from None
    runs = stored_runs(Path(dataset))
    expired = expired_nights(runs, rules)
    for run in expired:
        if not dry_run:
            remove(run)
        click.echo(f"{'would remove' if dry_run else 'removed'} {run.name}")
    if not any(run.complete for run in runs):
        print_message(
            "no run is complete (each was cut short, or found no image): every run is"
            " kept"
        )
    elif not expired:
        click.echo("no run to remove")
    return ExitCode.OK


@command.command("show")
@click.argument("dataset", metavar="DATASET")
@click.argument("reference", metavar="REFERENCE")
@format_option("table", "jsonl", "csv")
def show_command(*, dataset: str, reference: str, output_format: str) -> int:
    """Show the states of a reference, each with its first and last time."""
    from auditor.analysis.history import show
    from auditor.analysis.query import RowFormat, write_result

    form = RowFormat(output_format)
    for_people = form is RowFormat.TABLE
    with (
        show(Path(dataset), reference, for_people=for_people) as result,
        allow_broken_pipe(),
    ):
        write_result(result, form, sys.stdout)
    return ExitCode.OK
