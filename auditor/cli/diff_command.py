"""`auditor diff`"""

from __future__ import annotations

import sys

import click

from auditor.cli.command_support import format_option, limit_option
from auditor.cli.help_text import help_command
from auditor.cli.output import print_lines, print_message
from auditor.errors import ExitCode


@help_command("diff")
@click.argument("old")
@click.argument("new")
@format_option(
    *("text", "jsonl", "markdown"),
    help_text="The format of the output; jsonl: a line per difference, then totals.",
)
@click.option(
    "--ignore-registry",
    is_flag=True,
    help="Compare a mirror with its origin: ignore the registry's host.",
)
@click.option(
    "--growth",
    default="10%",
    metavar="PERCENT|SIZE",
    show_default=True,
    help="Report platforms that grew by at least this: 10% or 50MB.",
)
@limit_option(50, "text and markdown")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything differs.")
def command(
    *,
    old: str,
    new: str,
    output_format: str,
    ignore_registry: bool,
    growth: str,
    limit: int,
    exit_code: bool,
) -> int:
    """Show what changed between two reports.

    OLD and NEW are reports, also compressed (.gz, .zst), or quoted globs of reports.
    """
    from auditor.analysis.diff import compare, parse_growth_threshold
    from auditor.analysis.diff_text import diff_lines, diff_notices
    from auditor.util.terminal import screen_of

    with compare(
        [old],
        [new],
        ignore_registry=ignore_registry,
        growth=parse_growth_threshold(growth),
    ) as comparison:
        screen = screen_of(sys.stdout)
        print_lines(diff_lines(comparison, output_format, limit, screen))
        if output_format == "jsonl":
            for line in diff_notices(comparison):
                print_message(line)
        differs = exit_code and comparison.totals.differences > 0
    return ExitCode.FAILED if differs else ExitCode.OK
