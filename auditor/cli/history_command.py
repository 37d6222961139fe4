"""`auditor history`"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from auditor.cli.extras import needs_extras
from auditor.cli.output import reader_may_leave
from auditor.errors import ExitCode


@click.group("history")
def command() -> None:
    """Keep nightly reports in a data set of Parquet files; ask what changed when."""


@command.command("add")
@click.argument("dataset", metavar="DATASET")
@click.argument("reports", nargs=-1, required=True, metavar="REPORT...")
@needs_extras
def add_command(*, dataset: str, reports: tuple[str, ...]) -> int:
    """Add a run: one report, or those of one night. Adding it again changes nothing."""
    from auditor.analysis.history import add

    run, new = add(Path(dataset), reports)
    click.echo(f"{run.name} {'added' if new else 'was already there'}")
    return ExitCode.OK


@command.command("show")
@click.argument("dataset", metavar="DATASET")
@click.argument("target", required=False, metavar="[REPOSITORY|REFERENCE]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "jsonl", "csv"]),
    default="table",
    help="How to print it. [default: table]",
)
@needs_extras
def show_command(*, dataset: str, target: str | None, form: str) -> int:
    """Show the runs; how a repository grew; or, with a tag, when that tag moved."""
    from auditor.analysis.history import show
    from auditor.analysis.query_output import RowFormat, write_answer

    with show(Path(dataset), target) as answer, reader_may_leave():
        write_answer(answer, RowFormat(form), sys.stdout)
    return ExitCode.OK
