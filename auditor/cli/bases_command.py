"""`auditor bases`"""

from __future__ import annotations

import sys

from auditor.cli.command_support import (
    format_option,
    limit_option,
    reports_argument,
)
from auditor.cli.help_text import help_command
from auditor.cli.output import print_lines


@help_command("bases")
@reports_argument
@format_option(
    *("text", "jsonl", "markdown", "csv"),
    help_text="The format of the output; jsonl: all rows, then the totals; csv: the"
    " images to rebuild.",
)
@limit_option(20, "text and markdown")
def command(*, reports: tuple[str, ...], output_format: str, limit: int) -> None:
    """Show which base images have moved, and which images to rebuild.

    REPORT is a report of an audit with --check-bases, also compressed (.gz, .zst), or a
    quoted glob of reports. Bases with most stale images come first, and images whose
    rebuild mends most tags.
    """
    from auditor.analysis.stale_bases import base_lines, open_base_inventory
    from auditor.util.terminal import screen_of

    with open_base_inventory(reports) as inventory:
        print_lines(base_lines(inventory, output_format, limit, screen_of(sys.stdout)))
