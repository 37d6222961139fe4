"""`auditor unused`"""

from __future__ import annotations

import sys

import click

from auditor.cli.command_support import format_option, limit_option
from auditor.cli.help_text import complete_files, help_command
from auditor.cli.output import print_lines
from auditor.errors import ExitCode


@help_command("unused")
@click.option(
    "--registry",
    multiple=True,
    required=True,
    metavar="REPORT",
    shell_complete=complete_files,
    help="A report of the registry, of all its tags; can be repeated.",
)
@click.option(
    "--running",
    multiple=True,
    required=True,
    metavar="REPORT",
    shell_complete=complete_files,
    help="A report of what ran, the folder of auditor nightly, or a data set of auditor"
    " history; can be repeated.",
)
@click.option(
    "--same-registry",
    "same_registries",
    multiple=True,
    metavar="RUNNING=REGISTRY",
    help="The host from which images run is another name of this registry; can be"
    " repeated. Digests are compared regardless of the host.",
)
@click.option(
    "--allow-incomplete",
    is_flag=True,
    help="Answer even if lines of the reports name no image.",
)
@format_option(
    *("text", "jsonl", "markdown", "csv", "list"),
    help_text="The format of the output; jsonl: all rows, then the totals; csv: what is"
    " unused; list: its references, for audit -f.",
)
@limit_option(50, "text and markdown")
@click.option(
    "--exit-code", is_flag=True, help="Exit with 1 if anything is unused or gone."
)
def command(
    *,
    registry: tuple[str, ...],
    running: tuple[str, ...],
    same_registries: tuple[str, ...],
    allow_incomplete: bool,
    output_format: str,
    limit: int,
    exit_code: bool,
) -> int:
    """Show what is in a registry and runs nowhere, and what runs and is gone.

    REPORT is a report, also compressed (.gz, .zst), or a quoted glob of reports. Give
    as many nights of what ran as there are, so that last month's job counts, too.
    """
    from auditor.analysis.unused import find_unused, parse_same_registries
    from auditor.analysis.unused_text import unused_lines, unused_summary
    from auditor.cli.output import print_message
    from auditor.util.terminal import screen_of

    with find_unused(
        registry,
        running,
        same_registries=parse_same_registries(same_registries),
        allow_incomplete=allow_incomplete,
    ) as usage:
        screen = screen_of(sys.stdout)
        print_lines(unused_lines(usage, output_format, limit, screen))
        totals = usage.totals
        if output_format in {"csv", "list"}:
            for line in unused_summary(usage):
                print_message(line)
        elif output_format == "jsonl":
            for line in usage.notices:
                print_message(line)
        found = exit_code and (totals.unused or totals.gone or totals.missing)
    return ExitCode.FAILED if found else ExitCode.OK
