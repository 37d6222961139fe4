"""Progress on a terminal: done, failed, rate, time left."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio

from auditor.cli.main import messages_over_progress
from auditor.report.summary import Tally

log = logging.getLogger("auditor.progress")

# One line a minute: a few hundred for a night.
LOG_INTERVAL_S = 60.0


async def log_progress(
    tally: Tally,
    known_references: Callable[[], tuple[int, bool]],
    *,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> None:
    """Log the progress of a run every minute until it is cancelled."""
    while True:
        await sleep(LOG_INTERVAL_S)
        count, complete = known_references()
        log.info(
            "%d of %d references done, %d failed%s",
            tally.audited + tally.failed + tally.filtered,
            count,
            tally.failed,
            "" if complete else "; still reading the input",
        )


@contextmanager
def terminal_progress(
    tally: Tally,
    known_references: Callable[[], tuple[int, bool]],
    *,
    expected: int | None = None,
) -> Iterator[None]:
    """Show the progress of a run on stderr while the body runs.

    `known_references` returns the number of references read so far, and whether these
    are all. The remaining time is shown once they are, or from the start if `expected`
    is their number.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
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
            # Less would be shown as 0/s.
            return Text(f"{speed:.0f}/s" if speed and speed >= 0.5 else "")

    class Numbers(ProgressColumn):
        max_refresh = 0.1

        def render(self, task: Task) -> Text:
            done = tally.audited + tally.failed + tally.filtered
            count, complete = known_references()
            total = count if complete else expected
            progress.update(task.id, completed=done, total=total)
            text = Text(f"{done}/{'?' if total is None else total}")
            if tally.failed:
                text.append(f", {tally.failed} failed", style="red")
            return text

    progress = Progress(
        SpinnerColumn(),
        TextColumn("auditing"),
        BarColumn(bar_width=24),
        Numbers(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with progress, messages_over_progress():
        progress.add_task("audit", total=None)
        yield
