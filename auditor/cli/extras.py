"""What only some commands need, and what to install for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from auditor.errors import UsageError

DISTRIBUTION = "manifest-auditor"

# The modules that may be missing, and the extra that brings each.
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
    """Turns the import error of a module of `EXTRAS` into a `UsageError`.

    `what` needs it. Any other missing module is a bug and stays what it is.
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
    """The same function, run inside `extras`. Stands below `@click.command`."""

    @functools.wraps(command)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with extras():
            return command(*args, **kwargs)

    return guarded
