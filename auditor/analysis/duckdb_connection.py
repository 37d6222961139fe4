"""DuckDB in a temporary file, without network, within a memory limit.

Python runs signal handlers between two of its instructions, and a whole query is a
single instruction. `interruptible` therefore has a thread that the interpreter wakes
when a signal arrives and that makes DuckDB stop; then the handlers run and temporary
files are removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from auditor.errors import ExitCode, OutputError
from auditor.util.text import safe_text

# DuckDB's memory limit, without its buffers for reading lines; beyond it, DuckDB
# spills to disk. It fits a machine of 4 GiB; on a smaller one DuckDB's own limit, 80 %
# of the memory of the machine or container, is lower.
MEMORY_LIMIT_BYTES = 2 * 1024**3
# Result rows in memory at once: some megabytes.
BATCH_ROWS = 2000

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    # Extensions are downloaded; the ones needed (json, parquet, icu) are built in.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    # A table name in a query must never become a Python variable of this process.
    "python_enable_replacements": False,
    # The database is thrown away; each table would wait for the disk, 50 of a plan.
    "fsync_mode": "NONE",
}


@contextmanager
def work_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in a temporary folder (in `TMPDIR`), removed at the end.

    It is a file, so that tables are compressed and do not have to fit in memory. Raises
    `OutputError` if it cannot be written.
    """
    with _disk_errors(), _work_folder() as folder:
        path = Path(folder, "work.duckdb")
        with duckdb.connect(path, config=_CONFIG) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"SET temp_directory = {quoted(f'{folder}/spilled')}")
            connection.execute("PRAGMA disable_checkpoint_on_shutdown")
            (default_bytes,) = connection.execute(
                "SELECT parse_formatted_bytes(current_setting('memory_limit'))"
            ).fetchone() or (MEMORY_LIMIT_BYTES,)
            limit_bytes = min(default_bytes, MEMORY_LIMIT_BYTES)
            connection.execute(f"SET memory_limit = '{limit_bytes}B'")
            with interruptible(connection):
                yield connection


# The names of work folders begin so; what is younger may not be locked yet, in seconds.
_FOLDER_PREFIX = "auditor-work-"
_YOUNG_S = 60.0


# A file of a work database, and the operating system's reason.
_WORK_FILE = re.compile(
    rf'file "(?P<folder>[^"]*)/{_FOLDER_PREFIX}[^"]*": (?P<reason>.+?)\.?\s*$',
    re.MULTILINE,
)


def disk_error(error: duckdb.Error) -> OutputError | None:
    """The error about a work database that cannot be written; None for any other."""
    match = _WORK_FILE.search(str(error))
    return match and OutputError(
        f"{safe_text(match['folder'])}: temporary data cannot be written:"
        f" {safe_text(match['reason'])}; set TMPDIR to a folder with more space"
    )


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Raise `disk_error`."""
    try:
        yield
    except duckdb.Error as error:
        if full := disk_error(error):
            raise full from None
        raise


@contextmanager
def _work_folder() -> Iterator[str]:
    """A temporary folder, locked while it is used."""
    with tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX) as folder:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            _lock(descriptor)
            yield folder
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether the folder could be locked; some file systems cannot."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def remove_abandoned_work() -> None:
    """Remove the work folders in `TMPDIR` of this user's processes that were killed."""
    newest = time.time() - _YOUNG_S
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.geteuid() or status.st_mtime > newest:
                continue
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            descriptor = os.open(folder, flags)
            try:
                if _lock(descriptor):
                    shutil.rmtree(folder)
            finally:
                os.close(descriptor)


def stream_rows(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Mapping[str, object] | None = None,
) -> Iterator[dict[str, Any]]:
    """The result rows as dictionaries, a batch in memory at a time.

    Each call has a cursor of its own, so that several results can be read at once.
    """
    cursor = connection.cursor().execute(query, parameters)
    names = [column[0] for column in cursor.description or ()]
    while batch := cursor.fetchmany(BATCH_ROWS):
        for row in batch:
            yield dict(zip(names, row, strict=True))


def limit_clause(limit: int) -> str:
    """`LIMIT` for a number of rows; 0 means no limit."""
    return f" LIMIT {limit:d}" if limit else ""


def quoted(text: str) -> str:
    """The text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


# -- interruption --

# Ends the thread; no signal has this number.
_END = b"\0"
# A query can start just after the others were interrupted, so this is repeated.
_REPEAT_S = 0.1


@contextmanager
def interruptible(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Make SIGINT raise `KeyboardInterrupt` and SIGTERM `SystemExit(143)` in a query.

    Has no effect outside the main thread, or if the program has handlers of its own.
    """
    if not _has_default_handlers():
        yield
        return
    received: list[int] = []
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    # DuckDB can run the handlers while it works and then raises an error of its own, so
    # the signals are recorded by whichever notices them first.
    def interrupt(number: int, _frame: object) -> None:
        received.append(number)
        raise _exception(number)

    def watch() -> None:
        while True:
            try:
                byte = receiver.recv(1)
            except TimeoutError:
                connection.interrupt()
                continue
            if byte == _END:
                return
            if byte[0] in {signal.SIGINT, signal.SIGTERM}:
                received.append(byte[0])
                connection.interrupt()
                receiver.settimeout(_REPEAT_S)

    watcher = threading.Thread(target=watch, name="interruption", daemon=True)
    with closing(receiver), closing(sender):
        before = {
            number: signal.signal(number, interrupt)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        watcher.start()
        try:
            yield
        except GeneratorExit:
            # The signal came while a `with` around this one ended, so that the garbage
            # collector closes this one: its exception is already on its way.
            raise
        except BaseException:
            if received:
                raise _exception(max(received)) from None
            raise
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            sender.send(_END)
            watcher.join()


def _exception(number: int) -> BaseException:
    if number == signal.SIGTERM:
        return SystemExit(ExitCode.TERMINATED)
    return KeyboardInterrupt()


def _has_default_handlers() -> bool:
    return (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
