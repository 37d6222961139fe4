"""`auditor export`"""

from __future__ import annotations

from pathlib import Path

import click

from auditor.cli.command_support import reports_argument, sbom_option
from auditor.cli.help_text import help_command
from auditor.cli.output import print_message
from auditor.errors import ExitCode, UsageError
from auditor.util.text import safe_text

_TABLES = [
    "images",
    "platforms",
    "layers",
    "attachments",
    "bases",
    "signatures",
    "warnings",
    "failures",
    "sources",
    "input_labels",
]
# With --sbom only.
_SBOM_TABLES = ["sboms", "packages"]


@help_command("export")
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
    type=click.Choice([*_TABLES, *_SBOM_TABLES]),
    multiple=True,
    metavar="TABLE",
    help=f"Only this table; can be repeated: {', '.join(_TABLES)}; with --sbom also"
    f" {' and '.join(_SBOM_TABLES)}. [default: all]",
)
@sbom_option
@click.option("--force", is_flag=True, help="Replace an existing folder or file.")
def command(
    *,
    reports: tuple[str, ...],
    target: str,
    output: str,
    tables: tuple[str, ...],
    sboms: tuple[str, ...],
    force: bool,
) -> int:
    """Export reports as tables: images, platforms, layers, and so on.

    REPORT may be compressed (.gz, .zst), or a quoted glob. CSV is safe to open in a
    spreadsheet: a text that would be a formula gets an apostrophe in front. With
    --sbom, there are the tables sboms and packages, too.
    """
    from auditor.analysis.completeness import unfinished_notices
    from auditor.analysis.export import ExportFormat, export
    from auditor.analysis.report_views import check_output, report_paths

    check_output(output, (*reports, *sboms))
    offered = [*_TABLES, *_SBOM_TABLES] if sboms else _TABLES
    for name in tables:
        if name not in offered:
            raise UsageError(f"--table {name}: needs --sbom FILE, of auditor audit")
    for notice in unfinished_notices(report_paths(reports)):
        print_message(notice)
    left = export(
        reports,
        target=ExportFormat(target),
        output=Path(output),
        tables=[name for name in offered if not tables or name in tables],
        force=force,
        sboms=sboms,
    )
    if left:
        names = ", ".join(file.name for file in left)
        print_message(
            f"{safe_text(output)}: of an earlier export, and not replaced: {names}"
        )
    return ExitCode.OK
