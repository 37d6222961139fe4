"""What a command prints: lines as they come, many at a time, or text in pieces."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from auditor.errors import OutputError
from auditor.util.atomic_file import atomic_file

# -- standard_streams --
# Standard input, output and error, as bad as the caller may have left them.

# What writing to a descriptor gives where nobody, or nothing more, takes it.
_NOT_TAKEN = frozenset(
    {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
)


_STREAMS = (
    ("stdin", os.O_WRONLY, "r"),
    ("stdout", os.O_RDONLY, "w"),
    ("stderr", os.O_RDWR, "w"),
)


def occupy_closed() -> None:
    """Open what is closed of the descriptors 0, 1 and 2, the wrong way round.

    The next file or socket would get the number and be taken for standard output,
    and libuv ends the program. Reading or writing what was closed fails as it should;
    what is said on standard error goes nowhere.
    """
    for number, (name, flags, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest number that is free
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  (for good)
            setattr(sys, name, stream)


def forget_output() -> None:
    """Let standard output go nowhere: what could not be written is tried at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """End what prints an answer quietly where nobody reads it any more (`| head`)."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        forget_output()


@contextmanager
def output_is_told() -> Iterator[None]:
    """Make an `OutputError` of standard output that cannot be written."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in _NOT_TAKEN:
            raise
        forget_output()
        raise OutputError(
            f"standard output cannot be written: {error.strerror}"
        ) from None


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
        with atomic_file(Path(output)) as stream:
            stream.writelines(piece.encode() for piece in pieces)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{output}: cannot be written: {reason}") from None
