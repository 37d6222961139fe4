"""SIGINT, SIGTERM, SIGHUP: the first ends a run in good order, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio

from auditor.audit.run import AuditRun
from auditor.cli import early_signals
from auditor.cli.main import say
from auditor.errors import ExitCode, unwrap_exception_group
from auditor.report.writer import Report

# Long enough for the requests that are under way on a healthy registry, short enough
# for a person who pressed Ctrl-C.
GRACE_S = 5.0
# What a reader of standard output or of a pipe may take after that for 64 KB more.
READER_S = 10.0

CODES = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    # The terminal was closed. Under nohup this signal is ignored, and stays so.
    signal.SIGHUP: ExitCode.HANGUP,
}


@contextmanager
def signals_heard() -> Iterator[AsyncIterator[signal.Signals]]:
    """The signals that end a run, as they come, from now on and not only when they are
    waited for; who heard them before does so after.

    One that whoever started us had us ignore is left alone.
    """
    before = {one: signal.getsignal(one) for one in CODES}
    heard = [one for one in CODES if before[one] != signal.SIG_IGN]
    try:
        with anyio.open_signal_receiver(*heard) as signals:
            yield signals
    finally:
        for one in heard:
            signal.signal(one, before[one])


class Interruption:
    """Whether a run was interrupted, and the exit code that says so.

    At the first signal a run that is still being made is given up, one that is
    `under_way` stopped, and one that `is_over` left to its last lines. The second one
    ends the program.
    """

    def __init__(self) -> None:
        self.code: ExitCode | None = None
        self._making = anyio.CancelScope()
        self._run: AuditRun | None = None
        self._report: Report | None = None
        self._is_over = False
        self._ended = threading.Event()

    async def heard(self, work: Callable[[], Awaitable[ExitCode]]) -> ExitCode:
        """The exit code of `work`, or that of the signal which came before it began."""
        code = None
        with signals_heard() as signals, unwrap_exception_group():
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, signals)
                try:
                    with self._making:
                        code = await work()
                finally:
                    self._ended.set()
                if code is None:
                    assert self.code is not None
                    code = self.code
                early_signals.decided(code)
                group.cancel_scope.cancel()
        assert code is not None
        return code

    def under_way(self, run: AuditRun, report: Report) -> None:
        """From now on there is something to be stopped."""
        self._run, self._report = run, report

    def is_over(self) -> None:
        """From now on nothing is."""
        self._is_over = True

    async def _watch(self, signals: AsyncIterator[signal.Signals]) -> None:
        is_second = False
        async for number in signals:
            if is_second:
                self._save()
                os._exit(CODES[number])
            is_second = True
            say(f"{number.name}: {self._end(CODES[number])}")

    def _end(self, code: ExitCode) -> str:
        """End early with this code, in good order; what is done about it."""
        if self._is_over:
            return "the last lines are being written; once more ends it at once"
        self.code = code
        if self._run is None or self._report is None:
            self._making.cancel()
            return "ended before anything was audited"
        self._run.stop(GRACE_S)
        if self._report.final is None:
            threading.Thread(
                target=self._end_unread, args=(self._report, code), daemon=True
            ).start()
        return (
            f"finishing what is under way, {GRACE_S:g} s at most; once more ends it at"
            " once"
        )

    def _save(self) -> None:
        if self._run is not None and self._report is not None and not self._is_over:
            self._report.save_now(self._run.early(last=True))

    def _end_unread(self, report: Report, code: ExitCode) -> None:
        """End the program where the reader of a stream does not read any more.

        A thread of its own: wherever the run waits for the reader, shielded or not.
        """
        self._ended.wait(GRACE_S)
        before = report.bytes_written
        while not self._ended.wait(READER_S):
            if report.bytes_written == before:
                say("ended without the last lines: nobody reads them")
                os._exit(code)
            before = report.bytes_written
