"""Progress on a terminal: done, failed, rate, time left, and what hosts wait for."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio

from auditor.cli.output import messages_over_progress
from auditor.registry.host_status import RETRYING
from auditor.report.summary import Tally
from auditor.util.text import safe_text
from auditor.wire.host_concurrency import per_second_text

if TYPE_CHECKING:
    from auditor.registry.host_status import HostStatus

log = logging.getLogger("auditor.progress")

# Hosts that a line of the log names, and the seconds that the terminal shows each.
_LOGGED, _TURN_S = 3, 3.0
# Columns of a terminal that has room for the bar and what hosts wait for.
_WIDE = 130
# The columns that the rest of the line takes, the numbers left out.
_USED_NARROW, _USED_WIDE = 18, 60
# One line a minute: a few hundred for a night.
LOG_INTERVAL_S = 60.0


async def log_progress(
    tally: Tally,
    finished_references: Callable[[], int],
    known_references: Callable[[], tuple[int, bool]],
    host_statuses: Callable[[], Sequence[HostStatus]] = tuple,
    *,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> None:
    """Log the progress of a run every minute until it is cancelled."""
    while True:
        await sleep(LOG_INTERVAL_S)
        count, complete = known_references()
        waits = statuses_text(host_statuses())
        log.info(
            "%d of %d references done, %d failed%s%s",
            finished_references(),
            count,
            tally.failed,
            "" if complete else "; still reading the input",
            waits and f"; {waits}",
        )


def statuses_text(statuses: Sequence[HostStatus]) -> str:
    """What hosts are waited for, in UTC, as the other times of the log."""
    shown = [status_text(one, time.gmtime, "Z") for one in _ordered(statuses)]
    more = [f"{len(shown) - _LOGGED} more"] if len(shown) > _LOGGED else []
    return "; ".join([*shown[:_LOGGED], *more])


def status_in_turn(statuses: Sequence[HostStatus], now: float) -> str:
    """What one host is waited for, each for some seconds in turn, "" for none."""
    if not statuses:
        return ""
    status = _ordered(statuses)[int(now / _TURN_S) % len(statuses)]
    more = f"; {len(statuses) - 1} more" if len(statuses) > 1 else ""
    return status_text(status) + more


def status_text(
    status: HostStatus,
    time_of: Callable[[float], time.struct_time] = time.localtime,
    zone: str = "",
) -> str:
    """The host, what it is waited for and until when, and the requests at once."""
    parts = [status.text] if status.text else []
    if status.until is not None:
        parts[0] += f" until {time.strftime('%H:%M:%S', time_of(status.until))}{zone}"
    if status.at_once is not None:
        parts.append(f"{status.at_once} at once")
    if status.per_second is not None:
        parts.append(per_second_text(status.per_second))
    text = ", ".join(parts)
    if text.startswith(RETRYING):  # it has the name
        return text
    return f"{safe_text(status.name)}: {text}"


def remaining_text(
    estimate_s: float | None, statuses: Sequence[HostStatus], now: float
) -> str:
    """The remaining time as H:MM:SS, from that at the speed so far.

    The longest pause until a known time (`now` and that are epoch seconds) is added: no
    host makes up for it. It is unknown while a host waits without a known end.
    """
    stopped = [one for one in statuses if one.text]
    ends = [one.until for one in stopped if one.until is not None]
    if estimate_s is None or len(ends) < len(stopped):
        return "-:--:--"
    pause_s = max(0.0, max(ends, default=now) - now)
    minutes, seconds = divmod(math.ceil(estimate_s + pause_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _ordered(statuses: Sequence[HostStatus]) -> list[HostStatus]:
    """Hosts that get no request first."""
    return sorted(statuses, key=lambda status: not status.text)


@contextmanager
def terminal_progress(
    tally: Tally,
    finished_references: Callable[[], int],
    known_references: Callable[[], tuple[int, bool]],
    host_statuses: Callable[[], Sequence[HostStatus]],
    *,
    expected: int | None,
) -> Iterator[None]:
    """Show the progress of a run on stderr while the body runs.

    `finished_references` returns the number of references that are done,
    `known_references` that of those read so far, and whether these are all. What
    `host_statuses` wait for takes the place of the bar on a narrow terminal. The
    remaining time is shown once they are, or from the start if `expected` is their
    number; pauses of hosts count.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
    )
    from rich.text import Text

    class Bar(BarColumn):
        def render(self, task: Task) -> Any:
            # The first column that depends on it.
            waits.text = status_in_turn(host_statuses(), time.monotonic())
            return Text() if narrow and waits.text else super().render(task)

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            if narrow and waits.text:
                return Text()
            speed = task.finished_speed or task.speed
            # Less would be shown as 0/s.
            return Text(f"{speed:.0f}/s" if speed and speed >= 0.5 else "")

    class Left(ProgressColumn):
        def render(self, task: Task) -> Text:
            if task.total is None or (narrow and waits.text):
                return Text()
            left = remaining_text(task.time_remaining, host_statuses(), time.time())
            return Text(left, style="progress.remaining")

    class Waits(ProgressColumn):
        text = ""

        def render(self, task: Task) -> Text:
            del task
            used = numbers.width + (_USED_NARROW if narrow else _USED_WIDE)
            text = Text(self.text, no_wrap=True)
            text.truncate(max(1, console.width - used), overflow="ellipsis")
            return text

    class Numbers(ProgressColumn):
        max_refresh = 0.1
        width = 0

        def render(self, task: Task) -> Text:
            done = finished_references()
            count, complete = known_references()
            total = count if complete else expected
            progress.update(task.id, completed=done, total=total)
            text = Text(f"{done}/{'?' if total is None else total}")
            if tally.failed:
                text.append(f", {tally.failed} failed", style="red")
            self.width = len(text)
            return text

    console = Console(stderr=True)
    narrow = console.width < _WIDE
    waits, numbers = Waits(), Numbers()
    progress = Progress(
        SpinnerColumn(),
        TextColumn("auditing"),
        Bar(bar_width=24),
        numbers,
        Rate(),
        Left(),
        waits,
        console=console,
        transient=True,
    )
    with progress, messages_over_progress():
        progress.add_task("audit", total=None)
        yield
