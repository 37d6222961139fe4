"""`auditor query`"""

from __future__ import annotations

import sys

import click

from auditor.cli.extras import needs_extras
from auditor.cli.main import say
from auditor.cli.output import reader_may_leave
from auditor.errors import ExitCode
from auditor.util.text import format_count

_EPILOG = """
The views are images, platforms, layers, attachments, warnings and failures;
auditor query REPORT "describe layers" shows the columns of one. A report may
be a glob, .gz or .zst.
"""


@click.command("query", epilog=_EPILOG)
@click.argument("reports", nargs=-1, required=True, metavar="REPORT...")
@click.argument("question", metavar="SELECT")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "jsonl", "csv"]),
    default="table",
    help="How to print the answer. [default: table]",
)
@needs_extras
def command(*, reports: tuple[str, ...], question: str, form: str) -> int:
    """Ask report files a question in SQL (DuckDB's).

    It reads these reports and nothing else, and writes nothing.
    """
    from auditor.analysis.query import ask
    from auditor.analysis.query_output import MAX_TABLE_ROWS, RowFormat, write_answer

    whole = True
    with ask(reports, question) as answer, reader_may_leave():
        whole = write_answer(answer, RowFormat(form), sys.stdout)
    if not whole:
        say(
            "the answer is longer: a table ends after"
            f" {format_count(MAX_TABLE_ROWS, 'row')}; --format csv or jsonl prints all"
        )
    return ExitCode.OK
