"""Progress on a terminal: done, failed, rate, time left."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio

from auditor.report.summary import Tally

log = logging.getLogger("auditor.progress")

# A line a minute: some hundred for a night, and never long without a sign of life.
LOG_EVERY_S = 60.0


async def log_progress(
    tally: Tally,
    asked: Callable[[], tuple[int, bool]],
    *,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> None:
    """Log how far a run is, every minute until it is cancelled."""
    while True:
        await sleep(LOG_EVERY_S)
        known, complete = asked()
        log.info(
            "%d of %d references%s done, %d of them failed",
            tally.audited + tally.failed + tally.filtered,
            known,
            "" if complete else " known so far",
            tally.failed,
        )


@contextmanager
def terminal_progress(
    tally: Tally, asked: Callable[[], tuple[int, bool]], *, expected: int | None = None
) -> Iterator[None]:
    """Show the tally on stderr while the body runs.

    `asked` tells how many references are known so far, and whether these are all.
    The time left is shown once they are, or from the start where it is `expected` how
    many there will be.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.0f}/s")

    class Numbers(ProgressColumn):
        max_refresh = 0.1

        def render(self, task: Task) -> Text:
            done = tally.audited + tally.failed + tally.filtered
            known, complete = asked()
            total = known if complete else expected
            progress.update(task.id, completed=done, total=total)
            failed = f", {tally.failed} failed" if tally.failed else ""
            return Text(failed, style="red")

    progress = Progress(
        SpinnerColumn(),
        TextColumn("auditing"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        Numbers(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        progress.add_task("audit", total=None)
        yield
