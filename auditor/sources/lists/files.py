"""Opening a list: a file, or standard input."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from auditor.errors import UsageError
from auditor.input.items import Item
from auditor.input.lists import read_list
from auditor.sources.lists.lines import read_lines

STANDARD_INPUT = "-"


def open_list(path: str) -> AbstractContextManager[io.BufferedIOBase]:
    """The bytes of a list; "-" is standard input, which stays open at the end.

    Raises `UsageError` with a sentence for what cannot be opened.
    """
    try:
        if path == STANDARD_INPUT:
            # Not `sys.stdin.buffer`: it is locked while a thread waits in it, and an
            # interpreter that ends meanwhile aborts.
            return open(sys.stdin.fileno(), "rb", closefd=False)
        return Path(path).open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None


def read_list_file(path: str, *, name: str | None = None) -> Iterator[Item]:
    """The items of a list, which is closed at its end; `name`, or else its path, is
    what their places are said to be in.

    Raises `UsageError` where the list cannot be opened or read on.
    """
    name = name or list_name(path)
    with open_list(path) as stream:
        try:
            yield from read_list(read_lines(stream, name), name)
        except OSError as error:
            raise _unreadable(name, error) from None


def list_name(path: str) -> str:
    """What a list is called in places."""
    return "stdin" if path == STANDARD_INPUT else path


def _unreadable(path: str, error: OSError) -> UsageError:
    return UsageError(f"{path}: the list cannot be read: {error.strerror or error}")
