"""The `auditor` command: finds the subcommand, turns errors into exit codes.

Subcommands are imported when they are called, so that `auditor --version` stays quick.
"""

from __future__ import annotations

import gc
import importlib
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from auditor.cli import early_signals
from auditor.cli.output import occupy_closed, output_is_told
from auditor.errors import AuditorError, ExitCode
from auditor.version import __version__

# The name of each command, where it is, and what the overview says of it.
COMMANDS = {
    "audit": "Audit references: one JSON line each, layers and architectures.",
    "ls": "List a registry's repositories, or a repository's tags.",
    "merge": "Put the reports of shares together (audit --shard).",
    "doctor": "Tell step by step what works at a registry, and what to try next.",
    "token": "Show what a registry's token grants; exit 1 if not pull.",
    "inspect": "Show one image: platforms, layers, configuration.",
    "demo": "Run a local registry and audit it; needs nothing else.",
    "diff": "Tell what changed from one report to the next.",
    "layers": "Tell what layers share, and which images hold one.",
    "check": "Hold a report against a policy; exit 1 where a rule is broken.",
    "query": "Ask reports a question in SQL.",
    "export": "Make tables of reports: CSV, Parquet, DuckDB or SQLite.",
    "history": "Keep nightly reports; tell when a tag moved, what grew.",
    "html": "Make one self-contained page of a report.",
    "cache": "Manage the digest cache: info, prune, verify.",
    "schema": "Print the JSON Schema of report lines.",
}

# Those that say how they end at a signal; Python ends the others.
_HEEDS_SIGNALS = frozenset({"audit"})

# Objects that are made before Python looks for cycles among them: some 12 MB of
# documents and records. Its own default is 700 objects. An audit makes many, hardly any
# in cycles, and keeps a bounded number: looking for cycles took a tenth of its time,
# and 3 % of a start (docs/development/performance.md).
_YOUNG = 50_000


class _Commands(click.Group):
    """Commands that are imported by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"auditor.cli.{cmd_name}_command")
        command: click.Command = module.command
        if cmd_name not in _HEEDS_SIGNALS:
            early_signals.leave()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            # Click would suggest one of those that are imported: none of them is.
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            if not near:
                raise
            words = f"{error.message} Did you mean '{near[0]}'?"
            raise click.UsageError(words, ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        with output_is_told():
            return super().invoke(ctx)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all audited; 1 finished with failed references, or the"
    " answer is no; 2 usage or configuration; 3 the report could not be written;"
    " 5 another run writes it; 70 a bug; 129, 130 and 143 interrupted.",
)
@click.version_option(__version__, prog_name="auditor")
def cli() -> None:
    """Audit what container registries hold.

    Reads references, fetches every manifest, and writes one JSON line per reference
    that says which layers and architectures it holds.
    """


def main() -> None:
    """Run the command line and exit with its code."""
    early_signals.heed()
    gc.set_threshold(_YOUNG, 20, 20)
    occupy_closed()
    sys.exit(early_signals.decided(run(sys.argv[1:])))


def run(arguments: list[str]) -> int:
    """The exit code of a command line. Errors are one sentence on stderr each."""
    say_as(_plain)
    try:
        code = cli.main(arguments, prog_name="auditor", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except early_signals.Ended as ended:
        say(str(ended))
        return ended.code
    except AuditorError as error:
        for line in str(error).splitlines():
            say(line)
        return error.exit_code
    except Exception:  # noqa: BLE001  (the last resort: a bug is shown whole)
        traceback.print_exc()
        say("this is a bug in auditor; please report the lines above")
        return ExitCode.BUG
    return code if isinstance(code, int) else ExitCode.OK


def say(sentence: str) -> None:
    """One line for a person, on stderr; whether it is heard changes nothing."""
    with suppress(OSError):
        click.echo(_line_of(sentence), err=True)


def say_as(line_of: Callable[[str], str]) -> None:
    """From now on, `say` prints what this makes of a sentence."""
    global _line_of  # noqa: PLW0603  (one standard error, one way to speak)
    _line_of = line_of


def _plain(sentence: str) -> str:
    return f"auditor: {sentence}"


_line_of: Callable[[str], str] = _plain
