"""The commands that read finished reports, `NAME_command` each."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from auditor.cli.command_support import (
    format_option,
    limit_option,
    needs_extras,
    output_option,
    reports_argument,
)
from auditor.cli.main import print_message
from auditor.cli.output import allow_broken_pipe, print_lines, print_pieces
from auditor.errors import ExitCode
from auditor.util.text import format_count

_QUERY_EPILOG = """
The views are images, platforms, layers, attachments, warnings and failures;
auditor query REPORT "describe layers" shows the columns of one. REPORT may be
compressed (.gz, .zst), or a quoted glob.
"""
_TABLES = ["images", "platforms", "layers", "attachments", "warnings", "failures"]


@click.command("diff")
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
@needs_extras
def diff_command(
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
    from auditor.analysis.diff_text import diff_lines

    with compare(
        [old],
        [new],
        ignore_registry=ignore_registry,
        growth=parse_growth_threshold(growth),
    ) as comparison:
        print_lines(diff_lines(comparison, output_format, limit))
        differs = exit_code and comparison.totals.differences > 0
    return ExitCode.FAILED if differs else ExitCode.OK


@click.command("layers")
@reports_argument
@click.option(
    "--digest",
    "digests",
    multiple=True,
    metavar="DIGEST",
    help="Find the references that contain this layer, manifest, config or attachment;"
    " can be repeated.",
)
@format_option(
    *("text", "jsonl", "markdown"),
    help_text="The format of the output; jsonl: all rows, then the totals.",
)
@limit_option(20, "text and markdown")
@needs_extras
def layers_command(
    *,
    reports: tuple[str, ...],
    digests: tuple[str, ...],
    output_format: str,
    limit: int,
) -> None:
    """Show shared layers, and find the images that contain a layer.

    REPORT is a report, also compressed (.gz, .zst), or a quoted glob of reports. Sizes
    are those of compressed layers; a layer counts once per registry.
    """
    from auditor.analysis.find_digest import search_digests
    from auditor.analysis.layers import open_layer_inventory
    from auditor.analysis.layers_text import digest_use_lines, inventory_lines

    if digests:
        distinct = tuple(dict.fromkeys(digests))
        with search_digests(reports, distinct) as search:
            print_lines(digest_use_lines(search, distinct, output_format, limit))
        return
    with open_layer_inventory(reports) as inventory:
        print_lines(inventory_lines(inventory, output_format, limit))


@click.command("check")
@reports_argument
@click.option(
    "--policy",
    "policy_file",
    required=True,
    metavar="FILE",
    help="The policy, a TOML file.",
)
@click.option(
    "--previous",
    multiple=True,
    metavar="REPORT",
    help="An earlier report, for tags that must not move; can be repeated.",
)
@format_option(
    *("table", "markdown", "jsonl", "sarif", "junit", "github"),
    help_text="The format of the output; github: annotations of a job.",
)
@limit_option(50, "table and markdown")
@output_option("output file")
@click.option(
    "--metrics",
    metavar="FILE",
    help="Also write the counts to this Prometheus textfile (*.prom).",
)
@needs_extras
def check_command(
    *,
    reports: tuple[str, ...],
    policy_file: str,
    previous: tuple[str, ...],
    output_format: str,
    limit: int,
    output: str,
    metrics: str | None,
) -> int:
    """Check a report against a policy; exit 1 if a rule is broken.

    REPORT is a report, also compressed (.gz, .zst), or a quoted glob of reports.
    """
    from auditor.analysis.check.evaluate import check_reports
    from auditor.analysis.check.findings import findings_metrics
    from auditor.analysis.check.formats import output_formats
    from auditor.analysis.check.policy_file import load_policy
    from auditor.analysis.reports import check_output

    for file in (output, metrics or "-"):
        check_output(file, (*reports, *previous, policy_file))
    policy = load_policy(policy_file)
    now = datetime.now(UTC)
    with check_reports(reports, policy, today=now.date(), earlier=previous) as findings:
        print_pieces(output_formats(limit)[output_format](findings), output)
        if metrics is not None:
            from auditor.report.metrics import write_textfile

            write_textfile(metrics, findings_metrics(findings, now))
        passed = findings.passed
    return ExitCode.OK if passed else ExitCode.FAILED


@click.command("query", epilog=_QUERY_EPILOG)
@reports_argument
@click.argument("question", metavar="SELECT")
@format_option("table", "jsonl", "csv")
@needs_extras
def query_command(
    *, reports: tuple[str, ...], question: str, output_format: str
) -> int:
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
    if not complete:
        print_message(
            f"truncated after {format_count(MAX_TABLE_ROWS, 'row')}; print all with"
            " --format csv or jsonl"
        )
    return ExitCode.OK


@click.command("export")
@reports_argument
@click.option(
    "--to",
    "target",
    type=click.Choice(["csv", "parquet", "duckdb", "sqlite"]),
    required=True,
    help="The format. csv and parquet write a folder with a file for each table.",
)
@click.option(
    "-o", "--output", required=True, metavar="PATH", help="The folder or file to write."
)
@click.option(
    "--table",
    "tables",
    type=click.Choice(_TABLES),
    multiple=True,
    help="Only this table; can be repeated. [default: all]",
)
@click.option("--force", is_flag=True, help="Replace an existing folder or file.")
@needs_extras
def export_command(
    *,
    reports: tuple[str, ...],
    target: str,
    output: str,
    tables: tuple[str, ...],
    force: bool,
) -> int:
    """Export reports as tables: images, platforms, layers, and so on.

    REPORT may be compressed (.gz, .zst), or a quoted glob. CSV is safe to open in a
    spreadsheet: a text that would be a formula gets an apostrophe in front.
    """
    from auditor.analysis.export import ExportFormat, export
    from auditor.analysis.reports import check_output

    check_output(output, reports)
    export(
        reports,
        target=ExportFormat(target),
        output=Path(output),
        tables=[name for name in _TABLES if not tables or name in tables],
        force=force,
    )
    return ExitCode.OK


@click.group("history")
def history_command() -> None:
    """Keep nightly reports as Parquet files and show when a tag moved."""


@history_command.command("add")
@click.argument("dataset", metavar="DATASET")
@reports_argument
@needs_extras
def history_add_command(*, dataset: str, reports: tuple[str, ...]) -> int:
    """Add a run: the report, or reports, of one night.

    Adding the same run again changes nothing.
    """
    from auditor.analysis.history import add

    run, new = add(Path(dataset), reports)
    click.echo(f"{run.name} {'added' if new else 'is already in the history'}")
    return ExitCode.OK


@history_command.command("show")
@click.argument("dataset", metavar="DATASET")
@click.argument("reference", metavar="REFERENCE")
@format_option("table", "jsonl", "csv")
@needs_extras
def history_show_command(*, dataset: str, reference: str, output_format: str) -> int:
    """Show the states of a reference, each with its first and last time."""
    from auditor.analysis.history import show
    from auditor.analysis.query import RowFormat, write_result

    with show(Path(dataset), reference) as result, allow_broken_pipe():
        write_result(result, RowFormat(output_format), sys.stdout)
    return ExitCode.OK


@click.command("html")
@reports_argument
@click.option(
    *("-o", "--output"),
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
@needs_extras
def html_command(
    *,
    reports: tuple[str, ...],
    output: str,
    previous: tuple[str, ...],
    policy: str | None,
) -> None:
    """Make one self-contained page of a report, to read and to share.

    REPORT and OLD are reports, also compressed (.gz, .zst), or quoted globs of reports.
    The page loads no other files. Long tables are truncated, which the page shows.
    """
    from auditor.analysis.html.page import make_page
    from auditor.analysis.reports import check_output

    check_output(output, [*reports, *previous, *([policy] if policy else [])])
    page = make_page(
        reports, previous=previous, policy_file=policy, today=datetime.now(UTC).date()
    )
    print_pieces([page], output)
