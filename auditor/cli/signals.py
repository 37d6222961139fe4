"""SIGINT, SIGTERM, SIGHUP: the first ends a run gracefully, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio

from auditor.audit.run import AuditRun
from auditor.cli import early_signals
from auditor.cli.output import print_message, quit_now
from auditor.errors import ExitCode, unwrap_exception_group
from auditor.report.writer import Report

# Long enough for requests in flight to a healthy registry, short enough for a person
# who pressed Ctrl-C.
GRACE_S = 5.0
NO_SBOMS = "the report is complete, the file of its SBOMs is not"
# Time that the reader of a pipe has after that for each further 64 KB.
READER_TIMEOUT_S = 10.0

EXIT_CODES = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    # The terminal was closed. Under nohup this signal is ignored, and stays ignored.
    signal.SIGHUP: ExitCode.HANGUP,
}


@contextmanager
def receive_signals() -> Iterator[AsyncIterator[signal.Signals]]:
    """Receive the signals that end a run, also those before the first wait.

    The earlier handlers are restored at the end. An ignored signal stays ignored.
    """
    handlers = {number: signal.getsignal(number) for number in EXIT_CODES}
    received = [n for n in EXIT_CODES if handlers[n] != signal.SIG_IGN]
    try:
        with anyio.open_signal_receiver(*received) as signals:
            yield signals
    finally:
        for number in received:
            signal.signal(number, handlers[number])


def interrupted_text(number: signal.Signals, action: str) -> str:
    """What is printed about a signal, and about the next one."""
    if number is signal.SIGINT:
        return f"interrupted: {action}; press Ctrl-C again to quit now"
    return f"interrupted by {number.name}: {action}; send it again to quit now"


class Interruption:
    """Handles the signals of a run, and holds the exit code of an interrupted one.

    The first signal cancels a run before it begins, stops a run in progress, and lets a
    finished run write its last lines. The second signal ends the program.
    """

    def __init__(self) -> None:
        self.code: ExitCode | None = None
        self._preparation = anyio.CancelScope()
        self._run: AuditRun | None = None
        self._report: Report | None = None
        self._is_done = False
        self._step: anyio.CancelScope | None = None
        self._late_code: ExitCode | None = None
        self._ended = threading.Event()

    async def run(self, work: Callable[[], Awaitable[ExitCode]]) -> ExitCode:
        """Run `work` and return its exit code, or that of a signal before it began."""
        code = None
        with receive_signals() as signals, unwrap_exception_group():
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, signals)
                try:
                    with self._preparation:
                        code = await work()
                finally:
                    self._ended.set()
                if code is None:
                    assert self.code is not None
                    code = self.code
                early_signals.exit_code(code)
                group.cancel_scope.cancel()
        assert code is not None
        return code

    def begin(self, run: AuditRun, report: Report) -> None:
        """Let a signal stop this run from now on."""
        self._run, self._report = run, report

    def finish(self) -> None:
        """Ignore the next signal: only the last lines are left to write."""
        self._is_done = True

    @contextmanager
    def step(self) -> Iterator[None]:
        """Let the first signal cancel the body: a step after the last lines.

        `code` is set then. A signal that was received while these were written counts.
        """
        with anyio.CancelScope() as scope:
            self._step = scope
            if self._late_code is not None:
                self.code = self._late_code
                scope.cancel()
            yield
        self._step = None

    async def _watch(self, signals: AsyncIterator[signal.Signals]) -> None:
        is_second = False
        async for number in signals:
            if is_second:
                self._save()
                quit_now(EXIT_CODES[number])
            is_second = True
            print_message(self._stop(number))

    def _stop(self, number: signal.Signals) -> str:
        """End the run gracefully; return the message about it."""
        if self._step is not None:
            self.code = EXIT_CODES[number]
            self._step.cancel()
            return interrupted_text(number, NO_SBOMS)
        if self._is_done:
            self._late_code = EXIT_CODES[number]
            return interrupted_text(number, "writing the last lines")
        self.code = code = EXIT_CODES[number]
        if self._run is None or self._report is None:
            self._preparation.cancel()
            return f"interrupted by {number.name} before the audit began"
        self._run.stop(GRACE_S)
        if self._report.writer.final is None:
            threading.Thread(
                target=self._end_unread, args=(self._report, code), daemon=True
            ).start()
        action = f"finishing requests in flight (up to {GRACE_S:g} s)"
        return interrupted_text(number, action)

    def _save(self) -> None:
        if self._run is not None and self._report is not None and not self._is_done:
            self._report.save_now(self._run.early_records(last=True))

    def _end_unread(self, report: Report, code: ExitCode) -> None:
        """End the program if the reader of standard output stops reading.

        In a thread: the run may wait for the reader where it cannot be cancelled.
        """
        self._ended.wait(GRACE_S)
        written = report.writer.bytes_written
        while not self._ended.wait(READER_TIMEOUT_S):
            if report.writer.bytes_written == written:
                print_message("the last lines are missing: standard output is blocked")
                quit_now(code)
            written = report.writer.bytes_written
