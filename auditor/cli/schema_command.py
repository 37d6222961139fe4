"""`auditor schema`"""

from __future__ import annotations

import click

from auditor.cli.json_documents import SCHEMAS, schema_of

_NAMES = "\b\n" + "\n".join(f"{name:<14}{what}" for name, what in SCHEMAS.items())


@click.command("schema", epilog=f"NAME is one of:\n\n{_NAMES}")
@click.argument(
    "name", metavar="[NAME]", type=click.Choice(list(SCHEMAS)), default="report"
)
def command(*, name: str) -> None:
    """Print the JSON Schema (draft 2020-12) of report lines, or of another document."""
    import orjson

    from auditor.cli.extras import extras

    with extras(f"the schema of {name}"):
        schema = schema_of(name)
    click.echo(orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode())
