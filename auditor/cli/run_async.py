"""An event loop for one command."""

from __future__ import annotations

import gc
import importlib.util
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from auditor.cli.logs import start_logging
from auditor.config import Settings

Result = TypeVar("Result")


# Objects that are made before Python looks for cycles among them: some 5 MB of
# documents and records. Its own default is 700 objects.
_YOUNG = 20_000


def _collect_garbage_rarely() -> None:
    """An audit makes many objects, hardly any in cycles, and keeps a bounded number:
    looking for cycles took a tenth of its time (docs/performance.md)."""
    gc.freeze()  # what is loaded stays anyway
    gc.set_threshold(_YOUNG, 20, 20)


def run_async(
    function: Callable[..., Awaitable[Result]], settings: Settings, *arguments: object
) -> Result:
    """What `function(settings, *arguments)` gives, on uvloop where it is installed."""
    start_logging(settings)
    _collect_garbage_rarely()
    return anyio.run(
        function,
        settings,
        *arguments,
        backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None},
    )
