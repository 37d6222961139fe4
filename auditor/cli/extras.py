"""Modules that only some commands need, and how to install them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from auditor.errors import UsageError

DISTRIBUTION = "manifest-auditor"

# Modules that may be missing, with the extra that installs each.
EXTRAS = {
    "duckdb": "analysis",
    "jinja2": "analysis",
    "prometheus_client": "analysis",
    "distributed": "dask",
    "fsspec": "dask",
}

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@contextmanager
def extras(what: str = "this command") -> Iterator[None]:
    """Turn the import error of a module in `EXTRAS` into a `UsageError`.

    `what` is the feature that needs it. Any other missing module is a bug.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        raise UsageError(
            f"{what} needs {module}, which is not installed:"
            f" pip install '{DISTRIBUTION}[{EXTRAS[module]}]'"
        ) from None


def needs_extras(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """A decorator to run a command inside `extras`, placed below `@click.command`."""

    @functools.wraps(command)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with extras():
            return command(*args, **kwargs)

    return guarded
