"""`auditor completion`"""

from __future__ import annotations

import click

from auditor.cli.completion import SHELLS, script
from auditor.cli.help_text import help_command
from auditor.cli.main import cli
from auditor.cli.output import allow_broken_pipe

_EPILOG = """
Commands, options and values of options are completed, and registries, repositories and
tags from the digest cache and from the configuration (-c, AUDITOR_CONFIG). Nothing is
sent.
"""


@help_command("completion", epilog=_EPILOG)
@click.argument("shell", type=click.Choice(SHELLS))
def command(*, shell: str) -> None:
    """Print the completion script of a shell."""
    with allow_broken_pipe():
        click.echo(script(shell, cli), nl=False)
