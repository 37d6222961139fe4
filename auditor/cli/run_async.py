"""The event loop of a command."""

from __future__ import annotations

import gc
import importlib.util
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from auditor.cli.logs import start_logging
from auditor.config import Settings

Result = TypeVar("Result")


def run_async(
    function: Callable[..., Awaitable[Result]], settings: Settings, *arguments: object
) -> Result:
    """Run `function(settings, *arguments)`, on uvloop if it is installed."""
    start_logging(settings)
    gc.freeze()  # loaded modules are never collected
    return anyio.run(
        function,
        settings,
        *arguments,
        backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None},
    )
