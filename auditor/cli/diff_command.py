"""`auditor diff`"""

from __future__ import annotations

import click

from auditor.cli.extras import needs_extras
from auditor.cli.output import MAX_ROWS
from auditor.errors import ExitCode


@click.command("diff")
@click.argument("old")
@click.argument("new")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "jsonl", "markdown"]),
    default="text",
    help="jsonl has a line for each difference, then the totals. [default: text]",
)
@click.option(
    "--ignore-registry",
    is_flag=True,
    help="Compare a mirror with its origin: the hosts may differ.",
)
@click.option(
    "--growth",
    default="10%",
    metavar="PERCENT|SIZE",
    help="A platform has grown from here on: 10% or 50MB. [default: 10%]",
)
@click.option(
    "--limit",
    type=click.IntRange(0, MAX_ROWS),
    default=50,
    help="Rows of each table of text and markdown; 0 for all. [default: 50]",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything differs.")
@needs_extras
def command(
    *,
    old: str,
    new: str,
    form: str,
    ignore_registry: bool,
    growth: str,
    limit: int,
    exit_code: bool,
) -> int:
    """Tell what changed from one report to the next.

    OLD and NEW are reports, also compressed ones (.gz, .zst), or quoted globs of them.
    """
    from auditor.analysis.diff import compare, parse_growth_threshold
    from auditor.analysis.diff_text import diff_lines
    from auditor.cli.output import print_lines

    with compare(
        [old],
        [new],
        ignore_registry=ignore_registry,
        growth=parse_growth_threshold(growth),
    ) as comparison:
        print_lines(diff_lines(comparison, form, limit))
        differs = exit_code and comparison.totals.differences > 0
    return ExitCode.FAILED if differs else ExitCode.OK
