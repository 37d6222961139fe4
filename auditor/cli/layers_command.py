"""`auditor layers`"""

from __future__ import annotations

import click

from auditor.cli.click_options import format_option
from auditor.cli.extras import needs_extras
from auditor.cli.output import MAX_ROWS


@click.command("layers")
@click.argument("reports", nargs=-1, required=True, metavar="REPORT...")
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
@click.option(
    "--limit",
    type=click.IntRange(0, MAX_ROWS),
    default=20,
    show_default=True,
    help="Rows of each table in text and markdown; 0 for all.",
)
@needs_extras
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
    from auditor.cli.output import print_lines

    if digests:
        distinct = tuple(dict.fromkeys(digests))
        with search_digests(reports, distinct) as search:
            print_lines(digest_use_lines(search, distinct, output_format, limit))
        return
    with open_layer_inventory(reports) as inventory:
        print_lines(inventory_lines(inventory, output_format, limit))
