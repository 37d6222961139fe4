"""`auditor merge`"""

from __future__ import annotations

import click

from auditor.cli.command_support import (
    extras,
    name_file,
    output_option,
    reports_argument,
)
from auditor.cli.help_text import help_command
from auditor.cli.output import check_file, print_message
from auditor.errors import ExitCode


@help_command("merge")
@reports_argument
@output_option("report file")
@click.option(
    "--summary",
    metavar="FILE",
    help="Write the summary of the whole audit as JSON to this file.",
)
def command(*, reports: tuple[str, ...], output: str, summary: str | None) -> int:
    """Merge the reports of a sharded audit (audit --shard).

    REPORT is the report of a shard, with its shard file (REPORT.shard) next to it: a
    path, or a URL that fsspec supports. The reports of all shards are required. The
    lines are written in the order of the whole input.
    """
    import anyio

    from auditor.report.summary import write_summary
    from auditor.report.summary_text import summary_lines
    from auditor.scale.merge_shards import merge_shards

    output = name_file("--output", output)
    if summary is not None:
        summary = name_file("--summary", summary)
        check_file(summary)
    with extras():
        totals = anyio.run(merge_shards, reports, output)
    for line in summary_lines(totals):
        print_message(line)
    if summary is not None:
        write_summary(summary, totals)
    return ExitCode.FAILED if totals["references"]["failed"] else ExitCode.OK
