"""DuckDB as this program uses it: on disk, without network, within a memory limit."""

from __future__ import annotations

import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb

from auditor.errors import ExitCode

# -- interruption --
# Ctrl-C and SIGTERM while DuckDB works.
#
# Python runs signal handlers between its own instructions, and a query is one of them,
# however long it takes. So a thread that the interpreter wakes at once tells DuckDB to
# stop; then the handlers run, and temporary files are removed.

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


# What DuckDB may hold in memory, its buffers for reading lines aside. Beyond it, it
# works in the temporary folder. A machine of 4 GiB has room for it; on a smaller one
# DuckDB's own limit, 80 % of what the machine or the container has, is the lower one.
MEMORY_LIMIT_BYTES = 2 * 1024**3

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    # Extensions come from the network. What is needed (json, parquet, icu) is built in.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    # A table name in a query must never become a Python variable of this process.
    "python_enable_replacements": False,
}


@contextmanager
def work_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in a temporary folder (`TMPDIR`), gone at the end.

    It is a file, so tables made in it are compressed and need not fit in memory.
    """
    with tempfile.TemporaryDirectory(prefix="auditor-") as folder:
        path = Path(folder, "work.duckdb")
        with duckdb.connect(path, config=_CONFIG) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"SET temp_directory = {quoted(f'{folder}/spilled')}")
            connection.execute("PRAGMA disable_checkpoint_on_shutdown")
            _limit_memory(connection)
            with interruptible(connection):
                yield connection


def _limit_memory(connection: duckdb.DuckDBPyConnection) -> None:
    (own_limit,) = connection.execute(
        "SELECT parse_formatted_bytes(current_setting('memory_limit'))"
    ).fetchone() or (MEMORY_LIMIT_BYTES,)
    limit_bytes = min(own_limit, MEMORY_LIMIT_BYTES)
    connection.execute(f"SET memory_limit = '{limit_bytes}B'")


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
