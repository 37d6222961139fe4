"""`auditor query`"""

from __future__ import annotations

import sys

import click

from auditor.cli.command_support import format_option, reports_argument
from auditor.cli.main import print_message
from auditor.cli.output import allow_broken_pipe
from auditor.errors import ExitCode
from auditor.util.text import format_count

_EPILOG = """
The views are images, platforms, layers, attachments, warnings and failures;
auditor query REPORT "describe layers" shows the columns of one. REPORT may be
compressed (.gz, .zst), or a quoted glob.
"""


@click.command("query", epilog=_EPILOG)
@reports_argument
@click.argument("question", metavar="SELECT")
@format_option("table", "jsonl", "csv")
def command(*, reports: tuple[str, ...], question: str, output_format: str) -> int:
    """Query reports with SQL (DuckDB's dialect).

    A query reads these reports and nothing else, and writes nothing.
    """
    from auditor.analysis.query import (
        MAX_TABLE_ROWS,
        RowFormat,
        run_query,
        write_result,
    )

    complete = True
    with run_query(reports, question) as result, allow_broken_pipe():
        complete = write_result(result, RowFormat(output_format), sys.stdout)
        if not result.row_count:
            print_message("0 rows")
        for notice in result.notices():
            print_message(notice)
    if not complete:
        print_message(
            f"truncated after {format_count(MAX_TABLE_ROWS, 'row')}; print all with"
            " --format csv or jsonl"
        )
    return ExitCode.OK
