"""`auditor export`"""

from __future__ import annotations

from pathlib import Path

import click

from auditor.cli.extras import needs_extras
from auditor.errors import ExitCode

_TABLES = ["images", "platforms", "layers", "attachments", "warnings", "failures"]


@click.command("export")
@click.argument("reports", nargs=-1, required=True, metavar="REPORT...")
@click.option(
    "--to",
    "target",
    type=click.Choice(["csv", "parquet", "duckdb", "sqlite"]),
    required=True,
    help="The format. csv and parquet make a folder, a file for each table.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="PATH",
    help="The folder or file to write.",
)
@click.option(
    "--table",
    "tables",
    type=click.Choice(_TABLES),
    multiple=True,
    help="Only this table (repeatable). [default: all]",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
@needs_extras
def command(
    *,
    reports: tuple[str, ...],
    target: str,
    output: str,
    tables: tuple[str, ...],
    force: bool,
) -> int:
    """Write reports as tables: images, platforms, layers, and so on.

    A report may be a glob, .gz or .zst. CSV is safe to open in a spreadsheet: what
    would be a formula has an apostrophe in front.
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
