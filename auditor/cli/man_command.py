"""`auditor man`: manual pages, made of the same help."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from auditor.cli.help_text import (
    examples_of,
    help_command,
    option_sections,
)
from auditor.cli.main import COMMANDS, command_context
from auditor.cli.output import allow_broken_pipe
from auditor.errors import OutputError
from auditor.version import __version__

_EPILOG = """
On a terminal, man(1) shows the page; into a pipe or a file, its source is printed.
"""


@help_command("man", epilog=_EPILOG)
@click.argument("names", nargs=-1, metavar="[COMMAND]...")
@click.option(
    "--folder", metavar="FOLDER", help="Write the pages of all commands into FOLDER."
)
def command(*, names: tuple[str, ...], folder: str | None) -> None:
    """Show the manual page of a command; without COMMAND, of auditor."""
    if folder is not None:
        _write_pages(Path(folder))
        return
    page = manual_page(command_context(names))
    if sys.stdout.isatty() and (man := shutil.which("man")) is not None:
        subprocess.run([man, "-l", "-"], input=page.encode(), check=False)  # noqa: S603
        return
    with allow_broken_pipe():
        click.echo(page, nl=False)


def _write_pages(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for context in all_contexts():
            page = manual_page(context)
            (folder / f"{_page_name(context)}.1").write_text(page, "utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None


def all_contexts() -> Iterator[click.Context]:
    """The contexts of `auditor` and of every command."""
    pending: list[tuple[str, ...]] = [(), *((name,) for name in COMMANDS)]
    while pending:
        names = pending.pop(0)
        yield (context := command_context(names))
        if names and isinstance(context.command, click.Group):
            below = context.command.list_commands(context)
            pending += [(*names, name) for name in below]


# -- man(7) ----------------------------------------------------------------------


def manual_page(context: click.Context) -> str:
    """The page of a command in the macros of man(7)."""
    return "".join(f"{line}\n" for line in _page(context))


def _page_name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _page(context: click.Context) -> Iterator[str]:
    shown, name = context.command, _page_name(context)
    yield f'.TH "{name.upper()}" 1 "" "auditor {__version__}" "auditor manual"'
    yield ".SH NAME"
    summary = shown.get_short_help_str(200).rstrip(".")
    yield f"{_text(name)} \\- {_text(summary)}"
    yield ".SH SYNOPSIS"
    pieces = _text(" ".join(shown.collect_usage_pieces(context)))
    yield f"\\fB{_text(context.command_path)}\\fR {pieces}"
    yield ".SH DESCRIPTION"
    yield from _paragraphs(shown.help or "")
    yield ".SH OPTIONS"
    sections = list(option_sections(shown, context))
    for heading, records in sections:
        if len(sections) > 1:
            yield f".SS {_text(heading)}"
        for flags, text in records:
            yield ".TP"
            yield f"\\fB{_text(flags)}\\fR"
            yield _text(text)
    if commands := list(_commands(context)):
        yield ".SH COMMANDS"
        for command_name, text in commands:
            yield ".TP"
            yield f"\\fB{_text(command_name)}\\fR"
            yield _text(text)
    if examples := examples_of(context):
        yield ".SH EXAMPLES"
        for line, purpose in examples:
            yield ".TP"
            yield f"\\fB{_text(line)}\\fR"
            yield _text(purpose)
    if shown.epilog:
        yield ".SH NOTES"
        yield from _paragraphs(shown.epilog)
    yield ".SH SEE ALSO"
    yield ", ".join(f"\\fB{_text(one)}\\fR(1)" for one in _related(context))


def _commands(context: click.Context) -> Iterator[tuple[str, str]]:
    group = context.command
    if not context.parent:
        yield from COMMANDS.items()
    elif isinstance(group, click.Group):
        for name in group.list_commands(context):
            below = group.get_command(context, name)
            if below is not None:
                yield name, below.get_short_help_str(200)


def _related(context: click.Context) -> list[str]:
    if context.parent is None:
        return [f"auditor-{name}" for name in COMMANDS]
    below = [] if context.parent.parent is None else [_page_name(context.parent)]
    if isinstance(context.command, click.Group):
        names = context.command.list_commands(context)
        below += [f"{_page_name(context)}-{name}" for name in names]
    return ["auditor", *below]


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text, without the marks of click (U+0008)."""
    cleaned = text.replace("\b", "")
    for number, paragraph in enumerate(re.split(r"\n\s*\n", cleaned.strip())):
        if number:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _text(text: str) -> str:
    r"""Text for roff: no escape, no request at the start of a line, hyphens as typed.

    groff_man(7), "Portability": `\e` is a backslash, `\-` the hyphen of a command line.
    """
    escaped = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in {".", "'"} else escaped
