"""`auditor layers`"""

from __future__ import annotations

import click

from auditor.cli.extras import needs_extras
from auditor.cli.output import MAX_ROWS


@click.command("layers")
@click.argument("reports", nargs=-1, required=True, metavar="REPORT...")
@click.option(
    "--digest",
    "digests",
    multiple=True,
    metavar="DIGEST",
    help="Tell instead which references lead to this layer, manifest, config or"
    " attachment; may be repeated.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "jsonl", "markdown"]),
    default="text",
    help="jsonl has every row, then the totals. [default: text]",
)
@click.option(
    "--limit",
    type=click.IntRange(0, MAX_ROWS),
    default=20,
    help="Rows of each table of text and markdown; 0 for all. [default: 20]",
)
@needs_extras
def command(
    *, reports: tuple[str, ...], digests: tuple[str, ...], form: str, limit: int
) -> None:
    """Tell what layers share, and which images contain one.

    REPORT is a report, also a compressed one (.gz, .zst), or a quoted glob of them.
    Bytes are those of compressed layers; a layer counts once for each registry.
    """
    from auditor.analysis.find_digest import search_digests
    from auditor.analysis.layers import open_layer_inventory
    from auditor.analysis.layers_text import digest_use_lines, inventory_lines
    from auditor.cli.output import print_lines

    if digests:
        distinct = tuple(dict.fromkeys(digests))
        with search_digests(reports, distinct) as search:
            print_lines(digest_use_lines(search, distinct, form, limit))
        return
    with open_layer_inventory(reports) as inventory:
        print_lines(inventory_lines(inventory, form, limit))
