"""Text in pieces, on standard output or in a file that appears only when whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import click

from auditor.cli.print_lines import LINES_AT_ONCE
from auditor.cli.standard_streams import reader_may_leave
from auditor.errors import OutputError
from auditor.reports.whole_file import whole_file


def print_pieces(pieces: Iterable[str], output: str) -> None:
    """Write the pieces to a file, or to standard output where `output` is `-`.

    Raises `OutputError`; an earlier file stays as it was then.
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
