"""What commands print: results on standard output, messages on standard error."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from auditor.errors import OutputError
from auditor.util.atomic_file import atomic_file, is_special_file

if TYPE_CHECKING:
    from auditor.config import Settings
    from auditor.errors import Failure

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


def check_file(path: str) -> None:
    """Raise `OutputError` if no file can be written at `path`."""
    file = Path(path)
    folder = file.parent
    if is_special_file(file):
        return
    if os.path.isdir(file):  # noqa: PTH112
        reason = "it is a folder; give a file in it"
    elif not os.path.isdir(folder):  # noqa: PTH112  (for any text)
        reason = "its folder does not exist"
    elif not os.access(folder, os.W_OK | os.X_OK):
        reason = "its folder is not writable"
    else:
        return
    raise OutputError(f"{path}: cannot be written: {reason}")


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
    check_file(output)
    try:
        with atomic_file(Path(output)) as stream:
            stream.writelines(piece.encode() for piece in pieces)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{output}: cannot be written: {reason}") from None


def print_error(sentence: str) -> None:
    """Print one line about a failure, as `print_message`, its prefix in red."""
    print_message(sentence, prefix_style="red")


def print_failure(name: str, failure: Failure) -> None:
    """Print what failed, why, and the command that says what to do."""
    print_error(f"{name}: {failure.kind}: {failure.detail}")
    print_message(f"what to do: auditor explain {failure.code}")


def print_message(
    sentence: str, style: str | None = None, *, prefix_style: str | None = None
) -> None:
    """Print one line for a person on stderr; ignore a closed or full stderr.

    On a terminal, a long line is broken between words; `style` is the colour of the
    line, `prefix_style` that of the name of the program before it.
    """
    text = _format_message(sentence)
    with suppress(OSError):
        if sys.stderr.isatty() and _format_message is plain_message:
            from auditor.util.terminal import screen_of, styled, wrapped

            screen = screen_of(sys.stderr)
            indent = _PREFIX_CHARS + len(sentence) - len(sentence.lstrip()) + 2
            lines = wrapped(text, screen, indent=indent)
            if style is not None:
                lines = [styled(line, style, screen) for line in lines]
            elif prefix_style is not None:
                prefix, rest = lines[0][:_PREFIX_CHARS], lines[0][_PREFIX_CHARS:]
                lines[0] = styled(prefix, prefix_style, screen) + rest
            text = "\n".join(lines)
        click.echo(_line_start + text, err=True)


def notice_printer(settings: Settings) -> Callable[[str], None]:
    """The function that prints notices; with `--quiet` it prints nothing."""
    return (lambda _: None) if settings.quiet else print_message


def print_summary(settings: Settings, lines: Sequence[str], *, failed: bool) -> None:
    """Print the lines of a summary, the first in colour."""
    if not settings.quiet:
        colours = ["red" if failed else "green", *[None] * (len(lines) - 1)]
        for line, colour in zip(lines, colours, strict=True):
            print_message(line, colour)


def set_message_format(format_message: Callable[[str], str]) -> None:
    """Make `print_message` format each sentence with this function."""
    global _format_message  # noqa: PLW0603  (one standard error, one format)
    _format_message = format_message


@contextmanager
def messages_over_progress() -> Iterator[None]:
    """Erase the line of progress before each message while the body runs."""
    from auditor.util.terminal import ERASE_LINE

    global _line_start  # noqa: PLW0603  (one standard error, one cursor)
    _line_start = ERASE_LINE
    try:
        yield
    finally:
        _line_start = ""


_line_start = ""


def quit_now(code: int) -> NoReturn:
    """End the program without its last lines, as after a second Ctrl-C.

    The line of progress is erased, and the cursor that it hides is shown again.
    """
    if _line_start:
        from auditor.util.terminal import SHOW_CURSOR

        with suppress(OSError):
            click.echo(_line_start + SHOW_CURSOR, nl=False, err=True)
    os._exit(code)


def plain_message(sentence: str) -> str:
    """The format of messages, unless they are log lines."""
    return f"auditor: {sentence}"


_format_message: Callable[[str], str] = plain_message
# Of "auditor: ".
_PREFIX_CHARS = 9
