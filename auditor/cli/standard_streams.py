"""Standard input, output and error, as bad as the caller may have left them."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from auditor.errors import OutputError

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
