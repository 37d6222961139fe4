"""Ctrl-C and SIGTERM while DuckDB works.

Python runs signal handlers between its own instructions, and a query is one of them,
however long it takes. So a thread that the interpreter wakes at once tells DuckDB to
stop; then the handlers run, and temporary files are removed.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import duckdb

from auditor.errors import ExitCode

_END = b"\0"  # no signal has this number
# A query may begin just after the others were stopped, so they are told again.
_AGAIN_S = 0.1


@contextmanager
def interruptible(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """SIGINT raises `KeyboardInterrupt`, SIGTERM `SystemExit(143)`, in a query too.

    Elsewhere than in the main thread, or where a program has handlers of its own,
    nothing changes.
    """
    if not _is_ours():
        yield
        return
    received: list[int] = []
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)

    # DuckDB, too, runs the handlers while it works, and then raises an error of its
    # own: what came in is remembered here, whoever notices it first.
    def interrupt(number: int, _frame: object) -> None:
        received.append(number)
        raise _meaning(number)

    def watch() -> None:
        while True:
            try:
                byte = woken.recv(1)
            except TimeoutError:
                connection.interrupt()
                continue
            if byte == _END:
                return
            if byte[0] in {signal.SIGINT, signal.SIGTERM}:
                received.append(byte[0])
                connection.interrupt()
                woken.settimeout(_AGAIN_S)

    watcher = threading.Thread(target=watch, name="interruption", daemon=True)
    with closing(woken), closing(wakes):
        before = {
            number: signal.signal(number, interrupt)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        wakeup = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        watcher.start()
        try:
            yield
        except BaseException:
            if received:
                raise _meaning(max(received)) from None
            raise
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            wakes.send(_END)
            watcher.join()


def _meaning(number: int) -> BaseException:
    if number == signal.SIGTERM:
        return SystemExit(ExitCode.TERMINATED)
    return KeyboardInterrupt()


def _is_ours() -> bool:
    return (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
