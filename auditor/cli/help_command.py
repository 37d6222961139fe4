"""`auditor help`"""

from __future__ import annotations

import click

from auditor.cli.help_text import help_command
from auditor.cli.main import command_context
from auditor.cli.output import allow_broken_pipe


@help_command("help")
@click.argument("names", nargs=-1, metavar="[COMMAND]...")
def command(*, names: tuple[str, ...]) -> None:
    """Show the help of a command; without COMMAND, all commands."""
    with allow_broken_pipe():
        click.echo(command_context(names).get_help())
