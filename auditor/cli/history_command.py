"""`auditor history`"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from auditor.cli.command_support import format_option, reports_argument
from auditor.cli.output import allow_broken_pipe
from auditor.errors import ExitCode


@click.group("history")
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
