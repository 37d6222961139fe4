"""What the environment and the command line say, over what a file says."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from auditor.config.option import ENVIRONMENT_PREFIX
from auditor.config.options import BY_NAME, OPTIONS
from auditor.config.taker import Taker, Values
from auditor.config.validation_errors import unknown
from auditor.util.text import safe_text

# As much of a value as shows which one was meant.
_SHOWN_CHARS = 60

_BY_VARIABLE = {option.variable: option for option in OPTIONS if option.variable}
# What somebody who knows the flag only may expect the variable to be called.
_EXPECTED = {
    ENVIRONMENT_PREFIX + option.flag.strip("-").replace("-", "_").upper(): variable
    for variable, option in _BY_VARIABLE.items()
}


def read_environment(
    environment: Mapping[str, str], *, others: Collection[str], taker: Taker
) -> Values:
    """Read the `AUDITOR_...` variables; an empty one says nothing.

    `others` are variables that the configuration names for something else.
    """
    values: Values = {}
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in others:
            continue
        option, text = _BY_VARIABLE.get(name), environment[name]
        if option is None:
            # Its value may be a secret.
            taker.mistakes.add(safe_text(name), _unknown_variable(name))
        elif text:
            place = f"{name}={safe_text(text, _SHOWN_CHARS)}"
            taker.take(values, option, text, place=place, as_text=True)
    return values


def _unknown_variable(name: str) -> str:
    meant = _EXPECTED.get(name)
    if meant is not None:
        return f"unknown variable; did you mean {meant}?"
    return unknown("variable", name, _BY_VARIABLE.keys())


def read_flags(flags: Mapping[str, object], *, taker: Taker) -> Values:
    """Read flags by option name, typed or as text; null and () say nothing."""
    values: Values = {}
    for name, value in flags.items():
        if value is None or value == ():
            continue
        option = BY_NAME[name]
        as_text = isinstance(value, str)
        taker.take(values, option, value, place=option.flag, as_text=as_text)
    return values
