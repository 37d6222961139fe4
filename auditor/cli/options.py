"""click options made from the table of options."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from auditor.config import Group, Option, Settings, load, options_of
from auditor.errors import ProtocolError, UsageError
from auditor.oci.reference import Reference, parse_reference

Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(*groups: Group) -> Callable[[Command], Command]:
    """A decorator that adds the options of these groups to a command.

    Only what was given on the command line reaches the command, as text: the
    resolver checks and converts it together with the file and the environment.
    """

    def decorate(command: Command) -> Command:
        for option in reversed(options_of(*groups)):
            command = _click_option(option)(command)
        return command

    return decorate


def _click_option(option: Option) -> Callable[[Command], Command]:
    if option.positional:
        return click.argument(option.name, nargs=-1, metavar=f"[{option.metavar}]...")
    return click.option(
        *option.flags,
        option.name,
        help=_help(option),
        default=None,
        multiple=option.multiple,
        metavar=None if option.is_switch else _metavar(option),
        is_flag=option.is_switch,
    )


def _metavar(option: Option) -> str:
    return "|".join(option.choices) or option.metavar


def _help(option: Option) -> str:
    default = option.default
    if default in (None, (), "", True, False):
        return option.help
    return (
        f"{option.help} [default: {default:g}]"
        if isinstance(default, float)
        else f"{option.help} [default: {default}]"
    )


def settings_from(flags: dict[str, Any]) -> Settings:
    """The settings: defaults < file < environment < these flags.

    Raises `ConfigError` with every mistake.
    """
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    return load(environment=os.environ, flags=given)


# -- reference --
# A reference given as an argument.


def reference_argument(text: str) -> Reference:
    """The reference, or a `UsageError` that says what is wrong with it."""
    try:
        return parse_reference(text)
    except ProtocolError as error:
        raise UsageError(error.detail) from None
