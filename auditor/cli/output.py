"""What a command prints: lines as they come, many at a time, or text in pieces."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from auditor.cli.standard_streams import (
    forget_output,
    output_is_told,
    reader_may_leave,
)
from auditor.errors import OutputError
from auditor.util.atomic_file import whole_file

# One system call for so many lines: some 100 KB.
LINES_AT_ONCE = 500
# The most that `--limit` may ask for: no table of so many rows is ever read.
MAX_ROWS = 1_000_000_000


def print_line(line: str) -> bool:
    """Print a line at once; false if nobody reads any more."""
    with output_is_told():
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            forget_output()
            return False
    return True


def print_lines(lines: Iterable[str]) -> None:
    """Print lines, many at a time, as long as somebody reads them."""
    iterator = iter(lines)
    with reader_may_leave():
        while batch := tuple(itertools.islice(iterator, LINES_AT_ONCE)):
            click.echo("\n".join(batch))


def print_pieces(pieces: Iterable[str], output: str) -> None:
    """Write the pieces to a file, or to standard output where `output` is `-`.

    A file appears only when it is whole. Raises `OutputError`; an earlier one stays as
    it was then.
    """
    if output == "-":
        iterator = iter(pieces)
        with reader_may_leave():
            while batch := tuple(itertools.islice(iterator, LINES_AT_ONCE)):
                click.echo("".join(batch), nl=False)
        return
    try:
        with whole_file(Path(output)) as stream:
            stream.writelines(piece.encode() for piece in pieces)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{output}: cannot be written: {reason}") from None
