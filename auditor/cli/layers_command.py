"""`auditor layers`"""

from __future__ import annotations

import sys

import click

from auditor.cli.command_support import (
    format_option,
    limit_option,
    reports_argument,
)
from auditor.cli.help_text import help_command
from auditor.cli.output import print_lines, print_message


@help_command("layers")
@reports_argument
@click.option(
    "--digest",
    "digests",
    multiple=True,
    metavar="DIGEST",
    help="Find the references that contain this layer, manifest, config or attachment;"
    " its first digits are enough, such as 12; can be repeated.",
)
@format_option(
    *("text", "jsonl", "markdown", "csv"),
    help_text="The format of the output; jsonl: all rows, then the totals; csv: the"
    " storage of repositories, namespaces and architectures.",
)
@limit_option(20, "text and markdown")
def command(
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
    from auditor.util.terminal import screen_of

    screen = screen_of(sys.stdout)
    if digests:
        with search_digests(reports, digests) as search:
            print_lines(digest_use_lines(search, output_format, limit, screen))
        return
    with open_layer_inventory(reports) as inventory:
        print_lines(inventory_lines(inventory, output_format, limit, screen))
        if output_format in {"csv", "jsonl"}:
            for line in inventory.notices():
                print_message(line)
