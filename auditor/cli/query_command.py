"""`auditor query`"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator

import click

from auditor.cli.command_support import format_option, names_a_file, sbom_option
from auditor.cli.help_text import help_command
from auditor.cli.output import allow_broken_pipe, print_lines, print_message
from auditor.errors import ExitCode, UsageError
from auditor.util.text import format_count, safe_text

_EPILOG = """
auditor query REPORT shows the tables and their columns; auditor query --examples shows
questions to start from. REPORT may be compressed (.gz, .zst), or a quoted glob.
"""
_QUERY = re.compile(
    r"\s*(select|from|with|describe|summarize|pivot|values|show|explain)\b|.*\s",
    re.IGNORECASE | re.DOTALL,
)
_ONE_ARGUMENT = (
    "the query must be one argument, in double quotes:"
    ' auditor query REPORT "SELECT ..."'
)


@help_command("query", epilog=_EPILOG)
@click.argument("arguments", nargs=-1, metavar="REPORT... [SELECT]")
@click.option("--examples", is_flag=True, help="Show questions and their queries.")
@sbom_option
@format_option("table", "jsonl", "csv")
def command(
    *,
    arguments: tuple[str, ...],
    examples: bool,
    sboms: tuple[str, ...],
    output_format: str,
) -> int:
    """Query reports with SQL (DuckDB's dialect).

    A query reads these reports and nothing else, and writes nothing. Without a query,
    the tables and columns are shown. With --sbom, there are the tables sboms and
    packages, too.
    """
    if examples:
        print_lines(_example_lines(arguments))
        return ExitCode.OK
    reports, question = _split(arguments)
    if question is None:
        print_lines(_view_lines(reports, sboms))
        return ExitCode.OK
    from auditor.analysis.completeness import unfinished_notices
    from auditor.analysis.query import (
        MAX_TABLE_ROWS,
        RowFormat,
        run_query,
        write_result,
    )
    from auditor.analysis.report_views import report_paths

    complete = True
    with run_query(reports, question, sboms=sboms) as result, allow_broken_pipe():
        complete = write_result(result, RowFormat(output_format), sys.stdout)
        if not result.row_count:
            print_message("0 rows")
        for notice in (*unfinished_notices(report_paths(reports)), *result.notices()):
            print_message(notice)
    if not complete:
        print_message(
            f"truncated after {format_count(MAX_TABLE_ROWS, 'row')}; print all with"
            " --format csv or jsonl"
        )
    return ExitCode.OK


def _split(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
    """The reports, and the query: the last argument, if it is no file."""
    if not arguments:
        raise UsageError(
            "name a report: auditor query REPORT shows its tables and columns;"
            " auditor query --examples shows queries"
        )
    *reports, last = arguments
    for word in reports:
        if re.fullmatch(r"select|from|with", word, re.IGNORECASE) and not names_a_file(
            word
        ):
            raise UsageError(_ONE_ARGUMENT)
    if names_a_file(last) or not (_QUERY.match(last) or not last):
        return arguments, None
    if not reports:
        raise UsageError(
            f"name the report before the query: auditor query REPORT"
            f' "{safe_text(last)}"'
        )
    return tuple(reports), last


def _view_lines(reports: tuple[str, ...], sboms: tuple[str, ...]) -> Iterator[str]:
    """Every view with its columns, their types and meanings."""
    from auditor.analysis.query import view_columns

    for view, row, columns in view_columns(reports, sboms):
        yield f"{view}: {row}"
        width = max(len(name) for name, _, _ in columns)
        for name, kind, meaning in columns:
            yield f"  {name:<{width}}  {kind:<6}  {meaning}"
        yield ""
    yield "Queries to start from: auditor query --examples"


def _example_lines(arguments: tuple[str, ...]) -> Iterator[str]:
    from auditor.analysis.query_examples import EXAMPLES

    report = shlex.quote(safe_text(arguments[0])) if arguments else "report.jsonl"
    for example in EXAMPLES:
        yield f"# {example.question}"
        if example.needs:
            yield f"# (needs auditor {example.needs})"
        options = f" {example.options}" if example.options else ""
        yield f'auditor query {report}{options} "'
        yield f'{example.sql}"'
        yield ""
