"""The store's database: a file that is ours alone, or a private one without a name."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from auditor.fast_dataclass import dataclass

# -- schema --
# The tables of the store.
#
# `content`   raw bytes by digest; `outer` is the sha256 of all bytes where the digest is
#             over a part of them (signed schema 1), `used` epoch seconds, a day exact
# `held`      which registry answered with it, what Content-Type it said, and when
# `tags`      what a tag named when it was last asked for, and what the headers said
# `places`    numbers for a registry (repository '') and its repositories
# `hosts`     what was learned of a registry's HEAD and digest headers
# `images`    what was put together of an image and all below it: by which rules and for
#             which options (`variant`), from when until when all below is taken to be
#             there (epoch seconds), `used` as of content, and a check over the row

# "audr": tells our files from other programs' (PRAGMA application_id).
APPLICATION_ID = 0x61756472
# Of these tables and of what stands in them. A store is a cache: one of another
# format is made anew. `images` came later, and is made where it is missing: a program
# that does not know it does it no harm, and needs it not.
FORMAT = 1

TABLES = (
    "CREATE TABLE content (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE,"
    " outer_digest BLOB, packed INTEGER NOT NULL, body BLOB NOT NULL,"
    " used INTEGER NOT NULL)",
    "CREATE INDEX content_used ON content (used)",
    "CREATE TABLE held (content INTEGER NOT NULL, registry INTEGER NOT NULL, said,"
    " confirmed INTEGER NOT NULL, PRIMARY KEY (content, registry)) WITHOUT ROWID",
    "CREATE TABLE places (id INTEGER PRIMARY KEY, registry TEXT NOT NULL,"
    " repository TEXT NOT NULL, UNIQUE (registry, repository))",
    "CREATE TABLE tags (place INTEGER NOT NULL, tag TEXT NOT NULL,"
    " digest BLOB NOT NULL, header TEXT, said, seen INTEGER NOT NULL,"
    " mark INTEGER NOT NULL, PRIMARY KEY (place, tag)) WITHOUT ROWID",
    "CREATE TABLE hosts (registry INTEGER PRIMARY KEY, distrusted INTEGER NOT NULL,"
    " no_head_until INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS images (id INTEGER PRIMARY KEY, digest BLOB NOT NULL,"
    " registry INTEGER NOT NULL, variant BLOB NOT NULL, since INTEGER NOT NULL,"
    " until INTEGER NOT NULL, used INTEGER NOT NULL, packed INTEGER NOT NULL,"
    " body BLOB NOT NULL, mark INTEGER NOT NULL, UNIQUE (digest, registry))",
)
# Of those the ones that a store of this format may be without.
LATER_TABLES = TABLES[-1:]


# A transaction takes milliseconds: who waits for so long waits for a stopped process.
BUSY_S = 30.0
# The reader stands on the event loop. It never waits for writers (WAL), only for
# another process that recovers the file after a crash.
READER_BUSY_S = 0.5
# Pages of SQLite kept in memory for each connection.
CACHE_KIB = 4096
_CACHE = f"PRAGMA cache_size = -{CACHE_KIB}"
# What SQLite puts beside a database.
_BESIDE = ("-wal", "-shm", "-journal")
# The least page of SQLite: it takes a smaller file for an empty one.
LEAST_BYTES = 512
_NO_STORE = "not a store; name another file with --store"
_SETUP_TRIES = 50
_SETUP_WAIT_S = 0.05


class StoreError(Exception):
    """The store cannot be used; one sentence says why."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Two connections to one file. `said` is what a person should know of it."""

    reader: sqlite3.Connection
    writer: sqlite3.Connection
    said: str | None


def open_file(path: Path) -> Opened:
    """Open a store, making or remaking it where that is needed.

    Raises `StoreError` where it cannot be used; a file that is not recognisably a
    store is left as it is.
    """
    try:
        _own(path)
        try:
            writer, said = _prepared(path)
        except _DamagedError:
            remove(path)
            _own(path)
            writer, said = _prepared(path)[0], f"{path}: was damaged, and is made anew"
        try:
            reader = _connect(str(path), READER_BUSY_S)
        except BaseException:
            writer.close()
            raise
        return Opened(reader, writer, said)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from None
    except (sqlite3.Error, _DamagedError) as error:
        raise StoreError(f"{path}: {error}") from None


def open_private() -> sqlite3.Connection:
    """A database that nobody else sees. SQLite deletes its file as it makes it, so
    that nothing is left of it however the process ends."""
    connection = _connect("", BUSY_S)
    with _closed_on_error(connection):
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        for table in TABLES:
            connection.execute(table)
    return connection


def open_existing(path: Path) -> sqlite3.Connection:
    """One connection to a store that is there. Raises `StoreError` where none is."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise StoreError(f"{path}: not a regular file")
        _refuse_links(path)
        connection = _connect(str(path), BUSY_S)
        with _closed_on_error(connection):
            application = _number(connection, "application_id")
            version = _number(connection, "user_version")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if (application, version) == (APPLICATION_ID, FORMAT):
                _add_later_tables(connection)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from None
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from None
    if (application, version) != (APPLICATION_ID, FORMAT):
        connection.close()
        raise StoreError(
            f"{path}: not a store"
            if application != APPLICATION_ID
            else f"{path}: a store of format {version}; this program's is {FORMAT}"
        )
    return connection


class _DamagedError(Exception):
    """A store whose tables cannot be read."""


def _own(path: Path) -> None:
    """See to it that there is a file that only its owner reads, and no link."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        os.close(os.open(path, flags, 0o600))
    # An existing one is not opened here: closing it would drop the locks that another
    # connection of this process may hold (sqlite.org/howtocorrupt.html, section 2.2).
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path}: not a regular file")
    if 0 < found.st_size < LEAST_BYTES:
        raise StoreError(f"{path}: {_NO_STORE}")
    _refuse_links(path)
    if found.st_mode & 0o077:
        path.chmod(0o600)


def remove(path: Path) -> None:
    """Remove a store that is damaged, with what SQLite put beside it."""
    for name in ("", *_BESIDE):
        with contextlib.suppress(OSError):
            Path(f"{path}{name}").unlink()


def is_corrupt(error: Exception) -> bool:
    """Whether SQLite says that the file itself is damaged."""
    return isinstance(error, sqlite3.Error) and _code(error) in {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }


def _refuse_links(path: Path) -> None:
    for name in _BESIDE:
        if Path(f"{path}{name}").is_symlink():
            raise StoreError(f"{path}{name}: a link, which is not followed")


def _prepared(path: Path) -> tuple[sqlite3.Connection, str | None]:
    """A connection for writing, once the tables are there."""
    for last in (*(False,) * _SETUP_TRIES, True):
        connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            return connection, _set_up(connection, path)
        except sqlite3.Error as error:
            connection.close()
            # Two processes that make the file at the same time: SQLite answers one of
            # them at once, whatever its timeout (sqlite.org/c3ref/busy_handler.html).
            if (
                _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
                and not last
            ):
                time.sleep(_SETUP_WAIT_S)
                continue
            if not is_corrupt(error):
                raise
            if _is_ours(path):
                raise _DamagedError(str(error)) from None
            raise StoreError(f"{path}: {_NO_STORE}") from None
        except BaseException:
            connection.close()
            raise
    raise AssertionError("the last try returns or raises")


def _set_up(connection: sqlite3.Connection, path: Path) -> str | None:
    connection.execute(_CACHE)
    # In this order: another process may make them meanwhile, all in one transaction.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    version = _number(connection, "user_version")
    application = _number(connection, "application_id")
    if application != APPLICATION_ID and (application or tables):
        raise StoreError(f"{path}: {_NO_STORE}")
    if not tables:
        # Given back as it empties; has to be said before the first table.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    if application == APPLICATION_ID and version == FORMAT and tables:
        _add_later_tables(connection)
        return None
    connection.execute("BEGIN IMMEDIATE")
    if _number(connection, "user_version") != FORMAT:  # not made meanwhile
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            " AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        for (name,) in names:
            connection.execute(f'DROP TABLE "{name}"')
        for table in TABLES:
            connection.execute(table)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")
    if version and version != FORMAT:
        return f"{path}: was of format {version}, and is made anew in format {FORMAT}"
    return None


def _add_later_tables(connection: sqlite3.Connection) -> None:
    for table in LATER_TABLES:
        connection.execute(table)


def _connect(name: str, busy_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        name, timeout=busy_s, isolation_level=None, check_same_thread=False
    )
    # That it is no database shows in the first statement.
    with _closed_on_error(connection):
        connection.execute(_CACHE)
    return connection


@contextlib.contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    """From Python 3.13 on, a connection that nobody closed is a `ResourceWarning`."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _is_ours(path: Path) -> bool:
    """Whether the file's header says so, whatever is wrong with the rest of it
    (sqlite.org/fileformat.html, "The Database Header")."""
    with path.open("rb") as stream:
        header = stream.read(100)
    said = int.from_bytes(header[68:72], "big")
    return header.startswith(b"SQLite format 3\0") and said == APPLICATION_ID


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    (number,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(number)


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
