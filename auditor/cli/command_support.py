"""What commands share: options, the settings, the event loop, and missing extras."""

from __future__ import annotations

import gc
import os
import resource
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from auditor.cli.help_text import (
    EXPERT,
    Completer,
    GroupedOption,
    complete_files,
    complete_references,
    complete_words,
)
from auditor.config import Option, OptionGroup, Settings, load_settings, options_of
from auditor.config.value_types import ValueType
from auditor.errors import ProtocolError, UsageError
from auditor.util.text import how_to_install

Command = TypeVar("Command", bound=Callable[..., Any])
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Upper bound of `--limit`; no table with this many rows is ever read.
_MAX_ROWS = 1_000_000_000

# -- options ---------------------------------------------------------------------


def settings_options(*groups: OptionGroup) -> Callable[[Command], Command]:
    """A decorator that adds the options of these groups, texts for `settings_from`."""

    def decorate(command: Command) -> Command:
        for option in reversed(options_of(*groups)):
            command = _click_option(option)(command)
        return command

    return decorate


def _click_option(option: Option) -> Callable[[Command], Command]:
    value = option.value
    if option.positional:
        return click.argument(
            option.name,
            nargs=-1,
            metavar=f"[{value.metavar}]...",
            shell_complete=complete_references,
        )
    return click.option(
        *option.flags,
        option.name,
        cls=GroupedOption,
        heading=EXPERT if option.is_expert else option.group.value,
        help=_help(option),
        default=None,
        multiple=value.is_list,
        metavar=None if value.is_switch else "|".join(value.choices) or value.metavar,
        is_flag=value.is_switch,
        shell_complete=_completer(value),
    )


def _completer(value: ValueType) -> Completer | None:
    if value.choices:
        return complete_words(*value.choices)
    return complete_files if value.is_path else None


def _help(option: Option) -> str:
    default = option.default
    if default in (None, (), "", True, False):
        return option.help
    shown = option.value.shown(default)
    return f"{option.help} [default: {shown}]"


def format_option(
    *formats: str, help_text: str = "The format of the output."
) -> Callable[[Command], Command]:
    """The option `--format`; the first choice is the default."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help=help_text,
    )


def json_option(command: Command) -> Command:
    """The option `--format text|json`; the command gets `as_json`."""
    return click.option(
        "--format",
        "as_json",
        type=click.Choice(("text", "json")),
        default="text",
        show_default=True,
        callback=lambda _context, _option, value: value == "json",
        help="The format of the output.",
    )(command)


def limit_option(default: int, formats: str) -> Callable[[Command], Command]:
    """The option `--limit`: the rows of each table."""
    return click.option(
        "--limit",
        type=click.IntRange(0, _MAX_ROWS),
        default=default,
        metavar="N",
        show_default=True,
        help=f"Maximum rows of each table in {formats}; 0 for all.",
    )


def output_option(what: str) -> Callable[[Command], Command]:
    """The option `--output` for `what`; standard output by default."""
    return click.option(
        *("-o", "--output"),
        default="-",
        metavar="FILE",
        show_default=True,
        help=f"The {what}; - is standard output.",
    )


def reports_argument(command: Command) -> Command:
    """The arguments `REPORT...`, at least one."""
    return click.argument(
        "reports",
        nargs=-1,
        required=True,
        metavar="REPORT...",
        shell_complete=complete_files,
    )(command)


def names_a_file(text: str) -> bool:
    """Whether an argument is a file, or a glob of files, and nothing else."""
    import glob

    try:
        return bool(text) and (Path(text).exists() or bool(glob.glob(text)))  # noqa: PTH207
    except (OSError, ValueError):  # too long for a name, as a query can be
        return False


def sbom_option(command: Command) -> Command:
    """The option `--sbom FILE`, repeated; the command gets `sboms`."""
    return click.option(
        "--sbom",
        "sboms",
        multiple=True,
        metavar="FILE",
        shell_complete=complete_files,
        help="The file that auditor audit --sbom wrote, or a quoted glob; can be"
        " repeated.",
    )(command)


# -- settings and event loop -----------------------------------------------------


def settings_from(flags: dict[str, Any]) -> Settings:
    """The settings: defaults < file < environment < these flags, by option name."""
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    return load_settings(environment=os.environ, flags=given)


def name_files(settings: Settings) -> Settings:
    """The settings of a run that starts now: its files have their paths.

    A resumed run gets the names of the unfinished report that it continues.
    """
    from auditor.config import with_file_names
    from auditor.config.file_names import has_placeholders, placeholder_values
    from auditor.util.clock import SystemClock, rfc3339

    now_s = SystemClock().epoch()
    values = placeholder_values(rfc3339(now_s), socket.gethostname())
    if settings.resume and has_placeholders(settings.output):
        from auditor.cli.output import notice_printer
        from auditor.report.resume import resumed_values

        values = resumed_values(
            settings.output,
            values,
            now_s=now_s,
            max_age_s=settings.resume_max_age_s,
            notify=notice_printer(settings),
        )
    return with_file_names(settings, values)


def name_file(option: str, name: str) -> str:
    """The path of a file whose name may have placeholders; raises `UsageError`."""
    from auditor.config.file_names import (
        FileNameError,
        check_report_name,
        expand,
        placeholder_values,
    )
    from auditor.util.clock import SystemClock, rfc3339

    try:
        if option == "--output":
            check_report_name(name)
        now = rfc3339(SystemClock().epoch())
        values = placeholder_values(now, socket.gethostname())
        return expand(name, values)
    except FileNameError as error:
        raise UsageError(f"{option}: {error}") from None


@contextmanager
def invalid_argument(prefix: str = "") -> Iterator[None]:
    """Turn the `ProtocolError` of a parser into a `UsageError`."""
    try:
        yield
    except ProtocolError as error:
        raise UsageError(f"{prefix}{error.detail}") from None


def run_async(
    function: Callable[..., Awaitable[Result]], settings: Settings, *arguments: object
) -> Result:
    """Run `function(settings, *arguments)` with logging, on uvloop if installed.

    The limit of open files is raised as far as the system allows.
    """
    import anyio

    from auditor.cli.logs import start_logging
    from auditor.util.open_files import raise_open_files_limit

    start_logging(settings)
    raise_open_files_limit()
    gc.freeze()  # loaded modules are not examined
    try:
        return anyio.run(
            function,
            settings,
            *arguments,
            backend_options={"use_uvloop": _can_use_uvloop()},
        )
    finally:
        # DuckDB's module reports frozen objects as leaks when the program ends.
        gc.unfreeze()


def _can_use_uvloop() -> bool:
    """Whether uvloop is installed and the memory of the process is not limited.

    libuv ends the program with SIGABRT if it gets no memory for a thread (its
    threadpool.c, `init_threads`); asyncio raises an exception.
    """
    is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    return not is_limited and find_spec("uvloop") is not None


# -- extras ----------------------------------------------------------------------

# Modules that may be missing, with the extra that installs each.
EXTRAS = {
    "distributed": "dask",
    "fsspec": "dask",
    "apprise": "notify",
}


@contextmanager
def extras() -> Iterator[None]:
    """Turn the import error of a module in `EXTRAS` into a `UsageError`.

    Any other missing module is a bug.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        raise UsageError(
            f"this command needs {module}, which is not installed:"
            f" {how_to_install(module)}"
        ) from None


def absolute_program() -> list[str]:
    """What starts this auditor from anywhere: its path, or Python's and `-m auditor`.

    Started by `python -m auditor`, it is the program beside Python, if there is one.
    """
    program = Path(sys.argv[0]).absolute()
    if program.name != "__main__.py":
        return [str(program)]
    program = Path(sys.executable).with_name("auditor")
    if program.is_file():
        return [str(program)]
    return [sys.executable, "-m", "auditor"]
