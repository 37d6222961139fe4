"""The `auditor` command: finds the subcommand, and turns errors into exit codes.

Subcommands are imported when they are called, so that `auditor --version` is quick.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from auditor.cli import early_signals
from auditor.cli.help_text import HelpGroup
from auditor.cli.output import (
    occupy_closed_streams,
    plain_message,
    print_error,
    print_message,
    set_message_format,
    stdout_errors,
)
from auditor.errors import AuditorError, ExitCode
from auditor.version import __version__

# Each command with its line in the overview; it is in `NAME_command.py`.
COMMANDS = {
    "audit": "Audit references: platforms, layers and size of each image.",
    "nightly": "Audit, compare, check, publish and notify: the whole night.",
    "ls": "List a registry's repositories, or a repository's tags.",
    "merge": "Merge the reports of a sharded audit (audit --shard).",
    "doctor": "Check a registry step by step, with advice for each problem.",
    "explain": "Explain a failure, warning, rule or exit code, and what to do.",
    "token": "Show what a registry's token grants; exit 1 if not pull.",
    "inspect": "Show one image: platforms, layers, configuration.",
    "demo": "Run a local registry and audit it; needs nothing else.",
    "diff": "Show what changed between two reports.",
    "layers": "Show shared layers, and find the images that contain a layer.",
    "bases": "Show which base images have moved, and which images to rebuild.",
    "unused": "Show what runs nowhere, and what runs and is gone.",
    "cleanup": "Rehearse a clean-up: what it would free and break.",
    "packages": "Show which images have a package, by their SBOMs.",
    "check": "Check a report against a policy; exit 1 if a rule is broken.",
    "query": "Query reports with SQL.",
    "export": "Export reports as tables: CSV, Parquet, DuckDB or SQLite.",
    "history": "Keep nightly reports and show when a tag moved.",
    "html": "Make one self-contained page of a report.",
    "cache": "Manage the digest cache: info, prune, verify.",
    "config": "Print example configurations and policies to start from.",
    "schema": "Print the JSON Schema of report lines and other documents.",
    "completion": "Print the completion script for bash, zsh or fish.",
    "man": "Show the manual page of a command.",
    "help": "Show the help of a command, as --help.",
}
COMMAND_SECTIONS = {
    "Audit": ("audit", "nightly", "merge", "demo"),
    "Look at a registry": ("ls", "inspect", "doctor", "token"),
    "Read reports": (
        "diff",
        "layers",
        "packages",
        "bases",
        "unused",
        "cleanup",
        "check",
        "query",
        "export",
        "history",
        "html",
    ),
}

# Set by the completion function of a shell.
_COMPLETE_VARIABLE = "_AUDITOR_COMPLETE"

# Commands that handle signals themselves.
_HANDLE_SIGNALS = {"audit", "nightly"}

# Allocated objects before a garbage collection (Python's default is 700): about 12 MB
# of documents and records. An audit has hardly any reference cycles and keeps a bounded
# number of objects; collections took a tenth of its time, and 3 % of the start
# (docs/development/performance.md).
_GC_THRESHOLD = 50_000


class _Commands(HelpGroup):
    """A group that imports its commands by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"auditor.cli.{cmd_name}_command")
        command: click.Command = module.command
        if cmd_name not in _HANDLE_SIGNALS:
            early_signals.uninstall()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            # Click only suggests commands that are imported, which none is.
            import difflib
            import shlex

            if near := difflib.get_close_matches(args[0], COMMANDS, 1):
                advice = f"Did you mean '{near[0]}'?"
            elif "/" in args[0] or ":" in args[0]:
                advice = f"To audit it: auditor audit {shlex.quote(args[0])}"
            else:
                raise
            raise click.UsageError(f"{error.message} {advice}", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        with stdout_errors():
            return super().invoke(ctx)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        in_sections = {name for names in COMMAND_SECTIONS.values() for name in names}
        others = tuple(name for name in COMMANDS if name not in in_sections)
        for title, names in {**COMMAND_SECTIONS, "Other commands": others}.items():
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name]) for name in names])


@click.group(
    cls=_Commands,
    epilog="Exit codes: 0 all audited; 1 finished with failed references, or the"
    " answer is no; 2 usage or configuration; 3 the report could not be written;"
    " 5 another run writes the report; 70 a bug; 129, 130 and 143 interrupted.",
)
@click.version_option(__version__, "-V", "--version", prog_name="auditor")
def cli() -> None:
    """Audit the images in container registries.

    Reads references, fetches every manifest, and writes one JSON line per reference
    with its layers and architectures.
    """


def command_context(names: Sequence[str]) -> click.Context:
    """The context of a command for its help: `("nightly", "status")`.

    Raises click's `UsageError` for an unknown command.
    """
    context = click.Context(cli, info_name="auditor", **cli.context_settings)
    for name in names:
        group = context.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"'{name}': this command has no commands", context)
        _, command, _ = group.resolve_command(context, [name])
        assert command is not None
        context = click.Context(command, context, name)
    return context


def main() -> None:
    """Run the command line and exit with its code."""
    early_signals.install()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    occupy_closed_streams()
    sys.exit(early_signals.exit_code(run(sys.argv[1:])))


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code; errors are printed on stderr."""
    set_message_format(plain_message)
    if _COMPLETE_VARIABLE in os.environ:
        from auditor.cli.completion import register

        register()
    try:
        # The program's own help and version are printed before `invoke`.
        with stdout_errors():
            code = cli.main(arguments, prog_name="auditor", standalone_mode=False)
    except click.ClickException as error:
        _print_usage_error(error)
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except early_signals.EarlyInterrupt as interrupt:
        print_message(str(interrupt))
        return interrupt.code
    except AuditorError as error:
        for line in str(error).splitlines():
            print_error(line)
        return error.exit_code
    except Exception as error:  # noqa: BLE001  (a bug is shown with its traceback)
        if is_out_of_memory(error):
            print_error(
                "out of memory: the limit of this process or of the machine is too low"
                " (ulimit -v, cgroup); raise it, or lower --workers and"
                " --requests-at-once"
            )
            return ExitCode.OUTPUT
        traceback.print_exc()
        print_error("this is a bug in auditor; please report the lines above")
        return ExitCode.BUG
    return code if isinstance(code, int) else ExitCode.OK


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the program ended because it got no memory."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_out_of_memory, error.exceptions))
    # A thread needs memory for its stack; Python has no error of its own for it.
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and str(error) == "can't start new thread"
    )


def _print_usage_error(error: click.ClickException) -> None:
    """Print how click says it; on a terminal wrapped, with `Error:` in red."""
    printed = io.StringIO()
    error.show(printed)
    lines = printed.getvalue().splitlines()
    with suppress(OSError):
        if sys.stderr.isatty():
            from auditor.util.terminal import screen_of, styled, wrapped

            screen = screen_of(sys.stderr)
            lines = [part for line in lines for part in wrapped(line, screen, indent=7)]
            red = styled("Error:", "red", screen)
            lines = [
                red + line.removeprefix("Error:") if line.startswith("Error:") else line
                for line in lines
            ]
        click.echo("\n".join(lines), err=True)
