"""SIGINT, SIGTERM, SIGHUP: the first ends a run in good order, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import anyio

from auditor.cli.main import say
from auditor.errors import ExitCode
from auditor.pipeline.run import Run
from auditor.reports.report import Report

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


async def signals_heard() -> AsyncIterator[signal.Signals]:
    """The signals that end a run, as they come.

    One that whoever started us had us ignore is left alone.
    """
    heard = [one for one in CODES if signal.getsignal(one) != signal.SIG_IGN]
    if heard:
        with anyio.open_signal_receiver(*heard) as signals:
            async for number in signals:
                yield number


class Interruption:
    """Whether a run was interrupted, and the exit code that says so."""

    def __init__(self) -> None:
        self.code: ExitCode | None = None
        self._over = threading.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()

    async def watch(self, run: Run, report: Report) -> None:
        """Stop `run` at the first signal, the program at the second."""
        async for number in signals_heard():
            if self.code is not None:
                report.save(run.early(last=True))
                os._exit(CODES[number])
            self.code = CODES[number]
            run.stop(GRACE_S)
            say(
                f"{number.name}: finishing what is under way, {GRACE_S:g} s at"
                " most; once more ends it at once"
            )
            if report.final is None:
                threading.Thread(
                    target=self._end_unread, args=(report, self.code), daemon=True
                ).start()

    def _end_unread(self, report: Report, code: ExitCode) -> None:
        """End the program where the reader of a stream does not read any more.

        A thread of its own: wherever the run waits for the reader, shielded or not.
        """
        self._over.wait(GRACE_S)
        before = report.written
        while not self._over.wait(READER_S):
            if report.written == before:
                say("ended without the last lines: nobody reads them")
                os._exit(code)
            before = report.written
