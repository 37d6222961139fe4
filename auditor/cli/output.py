"""Standard streams, and printing: lines one at a time or in batches, text in pieces."""

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

# Lines per system call: about 100 KB.
LINES_PER_BATCH = 500

# Errors of writing to a descriptor whose reader is gone, or that is full or invalid.
_WRITE_ERRNOS = frozenset(
    {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
)
# In the order of their descriptors. A flag that is wrong for the stream makes its use
# an error.
_STREAMS = (
    ("stdin", os.O_WRONLY, "r"),
    ("stdout", os.O_RDONLY, "w"),
    ("stderr", os.O_RDWR, "w"),
)


def occupy_closed_streams() -> None:
    """Open those of the descriptors 0, 1 and 2 that the caller closed.

    Otherwise the next file or socket would get the number and be taken for standard
    output, and libuv would abort. Reading from a closed stdin or writing to a closed
    stdout remains an error; messages to a closed stderr are lost.
    """
    for number, (name, flags, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest number that is free
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  (for good)
            setattr(sys, name, stream)


def discard_stdout() -> None:
    """Redirect stdout to /dev/null: Python writes what is still buffered at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def allow_broken_pipe() -> Iterator[None]:
    """End the body silently when the reader of stdout is gone (`| head`)."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()


@contextmanager
def stdout_errors() -> Iterator[None]:
    """Raise `OutputError` if standard output cannot be written."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in _WRITE_ERRNOS:
            raise
        discard_stdout()
        raise OutputError(
            f"standard output cannot be written: {error.strerror}"
        ) from None


def print_line(line: str) -> bool:
    """Print and flush a line; return false if the reader is gone."""
    with stdout_errors():
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            discard_stdout()
            return False
    return True


def json_text(document: object, *, indent: bool = False) -> str:
    """A dataclass or mapping as JSON, in one line or indented."""
    import orjson

    from auditor.util.text import terminal_safe_json

    data = orjson.dumps(document, option=orjson.OPT_INDENT_2 if indent else 0)
    return terminal_safe_json(data).decode()


def print_lines(lines: Iterable[str]) -> None:
    """Print lines in batches, until the reader is gone."""
    print_pieces((line + "\n" for line in lines), "-")


def print_pieces(pieces: Iterable[str], output: str) -> None:
    """Write text atomically to a file, or to standard output if `output` is `-`.

    Raises `OutputError`.
    """
    if output == "-":
        iterator = iter(pieces)
        with allow_broken_pipe():
            while batch := tuple(itertools.islice(iterator, LINES_PER_BATCH)):
                # The lines have colours only where they are wanted (`screen_of`).
                click.echo("".join(batch), nl=False, color=True)
        return
    try:
        with atomic_file(Path(output)) as stream:
            stream.writelines(piece.encode() for piece in pieces)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{output}: cannot be written: {reason}") from None
