"""`auditor html`"""

from __future__ import annotations

import click

from auditor.cli.extras import needs_extras


@click.command("html")
@click.argument("report")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    help="The page; - is standard output.",
)
@click.option(
    "--previous",
    metavar="OLD",
    help="An earlier report: the page then says what changed.",
)
@click.option(
    "--policy",
    metavar="FILE",
    help="A policy, as for `auditor check`: the page then says what breaks it.",
)
@needs_extras
def command(
    *, report: str, output: str, previous: str | None, policy: str | None
) -> None:
    """Make one self-contained page of a report, to read and to send round.

    REPORT and OLD are reports, also compressed ones (.gz, .zst), or quoted globs of
    them. The page loads nothing and holds at most so many rows; it says what was cut.
    """
    from datetime import UTC, datetime

    from auditor.analysis.html.page import make_page, write_page
    from auditor.analysis.report_files import check_output

    check_output(output, [one for one in (report, previous, policy) if one])

    page = make_page(
        [report],
        previous=[previous] if previous else [],
        policy_file=policy,
        today=datetime.now(UTC).date(),
    )
    if output == "-":
        click.echo(page, nl=False)
    else:
        write_page(output, page)
