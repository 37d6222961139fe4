"""`auditor merge`"""

from __future__ import annotations

import click

from auditor.cli.main import say
from auditor.errors import ExitCode


@click.command("merge")
@click.argument("parts", nargs=-1, required=True, metavar="PART...")
@click.option(
    "-o",
    "--output",
    default="-",
    metavar="FILE",
    help="Where the report goes; - is standard output. [default: -]",
)
@click.option(
    "--summary",
    metavar="FILE",
    help="Write the summary of the whole audit as JSON to this file.",
)
def command(*, parts: tuple[str, ...], output: str, summary: str | None) -> int:
    """Put the reports of all shares (audit --shard) together.

    PART is a report with its shard file (PART.shard) beside it: a path, or a URL that
    fsspec reads. The lines are in the order of the whole input. All shares have to be
    there: a report without one would have gaps.
    """
    import anyio

    from auditor.cli.extras import extras
    from auditor.cli.side_outputs import check_file
    from auditor.report.summary import write_summary
    from auditor.report.summary_text import summary_lines
    from auditor.scale.shared_run import join

    if summary is not None:
        check_file(summary)
    with extras():
        whole = anyio.run(join, parts, output)
    for line in summary_lines(whole):
        say(line)
    if summary is not None:
        write_summary(summary, whole)
    return ExitCode.FAILED if whole["references"]["failed"] else ExitCode.OK
