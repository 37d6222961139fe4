"""`auditor schema`"""

from __future__ import annotations

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema (draft 2020-12) of report lines."""
    import orjson

    from auditor.report.shapes import report_schema

    click.echo(orjson.dumps(report_schema(), option=orjson.OPT_INDENT_2).decode())
