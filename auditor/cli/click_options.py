"""What commands share: click options from the table of options, and the settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from auditor.config import Option, OptionGroup, Settings, load_settings, options_of
from auditor.errors import ProtocolError, UsageError
from auditor.oci.reference import Reference, parse_reference

Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(*groups: OptionGroup) -> Callable[[Command], Command]:
    """A decorator that adds the options of these groups to a command.

    The command gets the flags that were given, as text: `settings_from` reads them
    together with the file and the environment.
    """

    def decorate(command: Command) -> Command:
        for option in reversed(options_of(*groups)):
            command = _click_option(option)(command)
        return command

    return decorate


def _click_option(option: Option) -> Callable[[Command], Command]:
    value = option.value
    if option.positional:
        return click.argument(option.name, nargs=-1, metavar=f"[{value.metavar}]...")
    return click.option(
        *option.flags,
        option.name,
        help=_help(option),
        default=None,
        multiple=value.is_list,
        metavar=None if value.is_switch else "|".join(value.choices) or value.metavar,
        is_flag=value.is_switch,
    )


def _help(option: Option) -> str:
    default = option.default
    if default in (None, (), "", True, False):
        return option.help
    return (
        f"{option.help} [default: {default:g}]"
        if isinstance(default, float)
        else f"{option.help} [default: {default}]"
    )


def format_option(
    *formats: str, help_text: str = "The format of the output."
) -> Callable[[Command], Command]:
    """The option `--format`, whose first choice is the default."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help=help_text,
    )


def settings_from(flags: dict[str, Any]) -> Settings:
    """The settings: defaults < file < environment < these flags, by option name.

    Raises `ConfigError` with every error.
    """
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    return load_settings(environment=os.environ, flags=given)


def reference_argument(text: str) -> Reference:
    """Parse a reference; a `UsageError` says why it is invalid."""
    try:
        return parse_reference(text)
    except ProtocolError as error:
        raise UsageError(error.detail) from None
