"""DuckDB as this program uses it: on disk, without network, within a memory limit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from auditor.analysis.interruption import interruptible

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
