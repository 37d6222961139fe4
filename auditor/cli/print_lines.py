"""Lines on standard output."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import click

from auditor.cli.standard_streams import reader_may_leave

# One system call for so many lines: some 100 KB.
LINES_AT_ONCE = 500
# The most that `--limit` may ask for: no table of so many rows is ever read.
MAX_ROWS = 1_000_000_000


def print_lines(lines: Iterable[str]) -> None:
    """Print lines, many at a time, as long as somebody reads them."""
    iterator = iter(lines)
    with reader_may_leave():
        while batch := tuple(itertools.islice(iterator, LINES_AT_ONCE)):
            click.echo("\n".join(batch))
