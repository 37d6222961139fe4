"""Messages about hosts that give no answer, while a person waits for a command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from auditor.cli.output import notice_printer
from auditor.registry.host_status import NO_ANSWER

if TYPE_CHECKING:
    from auditor.config import Settings
    from auditor.registry.host_status import HostStatus
    from auditor.registry.registries import Registries
    from auditor.util.clock import Clock

# Seconds between two looks at what is waited for.
_LOOK_S = 1.0


@asynccontextmanager
async def open_watched_registries(
    settings: Settings, *, clock: Clock
) -> AsyncIterator[Registries]:
    """The registries of a run; retries and silent hosts are reported on stderr.

    Raises what `open_registries` does.
    """
    from auditor.registry.registries import open_registries

    say = notice_printer(settings)
    failure: Exception | None = None
    async with open_registries(settings, clock=clock, notify=say) as registries:
        async with anyio.create_task_group() as group:
            group.start_soon(report_silent_hosts, registries.statuses, say)
            try:
                yield registries
            except Exception as error:  # noqa: BLE001  (raised below, not in a group)
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure


async def report_silent_hosts(
    statuses: Callable[[], list[HostStatus]], say: Callable[[str], None]
) -> None:
    """Report each host once that gives no answer, and again after it gave one."""
    reported: set[str] = set()
    while True:
        await anyio.sleep(_LOOK_S)
        silent = {
            one.name: one.text for one in statuses() if one.text.startswith(NO_ANSWER)
        }
        for name in silent.keys() - reported:
            say(f"waiting for {name}: {silent[name]}")
        reported = set(silent)
