"""`auditor html`"""

from __future__ import annotations

import sys

import click

from auditor.cli.command_support import reports_argument, sbom_option
from auditor.cli.help_text import help_command
from auditor.cli.output import print_message, print_pieces
from auditor.errors import UsageError
from auditor.util.text import safe_text


@help_command("html")
@reports_argument
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    help="The page; - is standard output.",
)
@click.option(
    "--previous",
    multiple=True,
    metavar="OLD",
    help="An earlier report, to show what changed; can be repeated.",
)
@click.option(
    "--policy",
    metavar="FILE",
    help="A policy, as for `auditor check`, to show its violations.",
)
@sbom_option
@click.option(
    "--history",
    metavar="FOLDER",
    help="A data set of `auditor history`, to show the trend of its nights.",
)
def command(
    *,
    reports: tuple[str, ...],
    output: str,
    previous: tuple[str, ...],
    policy: str | None,
    sboms: tuple[str, ...],
    history: str | None,
) -> None:
    """Make one self-contained page of a report, to read and to share.

    REPORT and OLD are reports, also compressed (.gz, .zst), or quoted globs of reports.
    The page loads no other files. Long tables are truncated, which the page shows.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    from auditor.analysis.html.page import make_page
    from auditor.analysis.html.trend_section import history_points
    from auditor.analysis.report_views import check_output

    if sboms and policy is None:
        raise UsageError("--sbom: is for rules about packages; add --policy FILE")
    inputs = [*reports, *previous, *sboms, *([policy] if policy else [])]
    check_output(output, inputs)

    page = make_page(
        reports,
        previous=previous,
        policy_file=policy,
        sboms=sboms or None,
        nights=history_points(Path(history)) if history is not None else (),
        today=datetime.now(UTC).date(),
    )
    print_pieces([page], output)
    if output != "-" and sys.stderr.isatty():
        print_message(f"page: {safe_text(output, 4096)}; open it in a browser")
