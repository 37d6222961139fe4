"""Progress on a terminal: done, failed, rate, time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from auditor.reports.summary import Tally


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
