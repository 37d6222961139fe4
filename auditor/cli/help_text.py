"""The help of each command: options in groups, expert options last, then examples.

`HelpCommand` and `HelpGroup` print it; `auditor man` makes manual pages of the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

EXPERT = "Expert options"

Completer = Callable[[click.Context, click.Parameter, str], list[Any]]
_OWN = "Options"
# More than any summary of a command has.
_SUMMARY_CHARS = 200


class GroupedOption(click.Option):
    """An option under a heading of the help."""

    def __init__(self, *arguments: Any, heading: str = _OWN, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.heading = heading


def option_sections(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The headings with their options, each as its flags and its help.

    The command's own options come first, expert options last.
    """
    sections: dict[str, list[tuple[str, str]]] = {_OWN: []}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            heading = getattr(parameter, "heading", _OWN)
            sections.setdefault(heading, []).append(record)
    expert = sections.pop(EXPERT, [])
    # A few expert options of a command do not need a heading each.
    own = sections.pop(_OWN)
    ordered = {**sections, _OWN: own} if len(own) == 1 else {_OWN: own, **sections}
    for heading, records in {**ordered, EXPERT: expert}.items():
        if records:
            yield heading, records


def complete_references(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[Any]:
    """Complete a reference; for `shell_complete` of arguments."""
    from auditor.cli.completion import references

    return references(context, incomplete)


def complete_files(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[Any]:
    """Complete the name of a file."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def complete_words(*words: str) -> Completer:
    """Complete one of these words."""

    def complete(
        _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[Any]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in words if word.startswith(incomplete)]

    return complete


def full_name(context: click.Context) -> str:
    """The name of a command without the program: `nightly status`."""
    return context.command_path.partition(" ")[2]


def examples_of(context: click.Context) -> tuple[tuple[str, str], ...]:
    """The examples of a command, each a command line and what it does."""
    from auditor.cli.command_examples import EXAMPLES

    return EXAMPLES.get(full_name(context), ())


class _Help(click.Command):
    """The parts that commands and groups have in common."""

    def __init__(self, name: str | None = None, **more: Any) -> None:
        # Here and not at the top: a context may be made without its parents.
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        more["context_settings"] = settings | (more.get("context_settings") or {})
        super().__init__(name, **more)

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """Both names, also for a context that was made without its settings."""
        return ["-h", "--help"]

    def get_help(self, ctx: click.Context) -> str:
        return bold_headings(super().get_help(ctx))

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        for heading, records in option_sections(self, ctx):
            with formatter.section(heading):
                formatter.write_dl(records, col_max=26)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if examples := examples_of(ctx):
            with formatter.section("Examples"):
                for line, purpose in examples:
                    indent = " " * formatter.current_indent
                    formatter.write(f"{indent}{line}\n")
                    formatter.indent()
                    formatter.write_text(purpose)
                    formatter.dedent()
        super().format_epilog(ctx, formatter)


class HelpCommand(_Help):
    """A command with options in groups and examples."""


class HelpGroup(_Help, click.Group):
    """A group of such commands."""

    command_class = HelpCommand

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write each command with its whole summary, which click would truncate."""
        names = self.list_commands(ctx)
        commands = {name: self.get_command(ctx, name) for name in names}
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(_SUMMARY_CHARS))
                    for name, command in commands.items()
                    if command is not None
                ]
            )


def help_command(
    name: str, **more: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    """The decorator of a command, as `click.command`."""
    return click.command(name, cls=HelpCommand, **more)


def help_group(name: str, **more: Any) -> Callable[[Callable[..., Any]], click.Group]:
    """The decorator of a group of commands, as `click.group`."""
    return click.group(name, cls=HelpGroup, **more)


def bold_headings(text: str) -> str:
    """The help with bold headings if standard output shows colours."""
    from auditor.util.terminal import screen_of, styled

    screen = screen_of(sys.stdout)
    if not screen.colours:
        return text
    return "\n".join(
        styled(line, "bold", screen)
        if line.endswith(":") and line[:1].isalpha()
        else line
        for line in text.split("\n")
    )
