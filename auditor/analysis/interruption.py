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

    def terminate(*_: object) -> None:
        raise SystemExit(ExitCode.TERMINATED)

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
        before = signal.signal(signal.SIGTERM, terminate)
        wakeup = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        watcher.start()
        try:
            yield
        except BaseException:
            # DuckDB's own error may have come first.
            if signal.SIGTERM in received:
                raise SystemExit(ExitCode.TERMINATED) from None
            if signal.SIGINT in received:
                raise KeyboardInterrupt from None
            raise
        finally:
            signal.set_wakeup_fd(wakeup)
            signal.signal(signal.SIGTERM, before)
            wakes.send(_END)
            watcher.join()


def _is_ours() -> bool:
    return (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
