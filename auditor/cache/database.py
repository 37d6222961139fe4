"""The SQLite file of the digest cache: its schema, and how it is opened safely.

The file is readable by its owner only, symbolic links are refused, and a file that is
not recognisably a digest cache is never changed. A damaged cache and one of another
schema version are recreated: everything in it can be fetched again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("auditor.cache")

# In the user's cache directory.
FILE_NAME = "digests.sqlite"
# "audr": PRAGMA application_id tells our files from those of other programs.
APPLICATION_ID = 0x61756472
SCHEMA_VERSION = 2

# content       bytes by digest. `sha256` is over all bytes, set where `digest` covers
#               only a part of them (signed schema 1). `used_at` is exact to a day.
# confirmed     which registry answered with a content, as which media type, and when
# repositories  numbers for registries (repository '') and their repositories
# tags          the digest of a tag at the last request, and that response's headers
# hosts         whether a registry's HEAD and digest headers can be relied on
# limits        the concurrent requests that a host (its origin) stood
# All times are epoch seconds.
_LIMITS = (
    "CREATE TABLE IF NOT EXISTS limits (origin TEXT PRIMARY KEY,"
    " at_once INTEGER NOT NULL, seen_at INTEGER NOT NULL) WITHOUT ROWID"
)
TABLES = (
    "CREATE TABLE content (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE,"
    " sha256 BLOB, deflated INTEGER NOT NULL, body BLOB NOT NULL,"
    " used_at INTEGER NOT NULL)",
    "CREATE INDEX content_used_at ON content (used_at)",
    "CREATE TABLE confirmed (content INTEGER NOT NULL, registry INTEGER NOT NULL,"
    " content_type, confirmed_at INTEGER NOT NULL, PRIMARY KEY (content, registry))"
    " WITHOUT ROWID",
    "CREATE TABLE repositories (id INTEGER PRIMARY KEY, registry TEXT NOT NULL,"
    " repository TEXT NOT NULL, UNIQUE (registry, repository))",
    "CREATE TABLE tags (repository INTEGER NOT NULL, tag TEXT NOT NULL,"
    " digest BLOB NOT NULL, header TEXT, content_type, seen_at INTEGER NOT NULL,"
    " checksum INTEGER NOT NULL, PRIMARY KEY (repository, tag)) WITHOUT ROWID",
    "CREATE TABLE hosts (registry INTEGER PRIMARY KEY, distrusted INTEGER NOT NULL,"
    " no_head_until INTEGER NOT NULL)",
    _LIMITS,
)

# Seconds to wait for a lock. A transaction takes milliseconds; a longer wait means that
# the process that holds the lock is stopped.
BUSY_S = 30.0
# The reader runs on the event loop. In WAL mode it never waits for a writer, only for
# another process that recovers the file after a crash.
READER_BUSY_S = 0.5
# SQLite's page cache for each connection.
PAGE_CACHE_KIB = 4096
# Suffixes of the files that SQLite creates next to a database.
_SIDE_FILES = ("-wal", "-shm", "-journal")
# SQLite's smallest page: it takes a smaller file for an empty database.
MIN_DATABASE_BYTES = 512
_NOT_A_CACHE = "not a digest cache; name another file with --cache"
_SETUP_RETRIES = 50
_SETUP_RETRY_S = 0.05


class CacheError(Exception):
    """The cache cannot be used; the message names the file and the reason."""


def open_database(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """A reader and a writer of a cache file; create it, or recreate a damaged or older
    one, which is logged.

    Raises `CacheError` if it cannot be used; a file that is not recognisably a cache is
    left unchanged.
    """
    with _cache_errors(path):
        _secure_file(path)
        try:
            writer = _connect_writer(path)
        except _DamagedError:
            remove_database(path)
            _secure_file(path)
            writer = _connect_writer(path)
            log.warning("digest cache %s: was damaged; created a new one", path)
        with _close_on_error(writer):
            return _connect(str(path), READER_BUSY_S), writer


def open_temporary_database() -> sqlite3.Connection:
    """A database without a name: SQLite deletes its file as soon as it is created, so
    nothing is left however the process ends."""
    connection = _connect("", BUSY_S)
    with _close_on_error(connection):
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        for table in TABLES:
            connection.execute(table)
    return connection


def open_existing_database(path: Path) -> sqlite3.Connection:
    """A connection to an existing cache file of this schema version.

    Raises `CacheError` if the file does not exist or is of another version.
    """
    with _cache_errors(path):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise CacheError(f"{path}: not a regular file")
        _refuse_links(path)
        connection = _connect(str(path), BUSY_S)
        with _close_on_error(connection):
            application_id = _pragma(connection, "application_id")
            version = _pragma(connection, "user_version")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if application_id != APPLICATION_ID:
                raise CacheError(f"{path}: {_NOT_A_CACHE}")
            if version != SCHEMA_VERSION:
                raise CacheError(
                    f"{path}: has schema version {version}, this program uses"
                    f" {SCHEMA_VERSION}; the next audit creates a new cache"
                )
        return connection


def remove_database(path: Path) -> None:
    """Delete a damaged cache and the files that SQLite created next to it."""
    for suffix in ("", *_SIDE_FILES):
        with contextlib.suppress(OSError):
            Path(f"{path}{suffix}").unlink()


def is_corrupt(error: Exception) -> bool:
    """Whether SQLite reports that the file itself is damaged."""
    codes = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    return _primary_code(error) in codes


def is_busy(error: sqlite3.Error) -> bool:
    """Whether SQLite reports that another connection holds a lock."""
    return _primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class _DamagedError(Exception):
    """The tables of a cache cannot be read."""


@contextlib.contextmanager
def _cache_errors(path: Path) -> Iterator[None]:
    """Raises `CacheError` for any error of the file."""
    try:
        yield
    except OSError as error:
        raise CacheError(f"{path}: {error.strerror or error}") from None
    except (sqlite3.Error, _DamagedError) as error:
        raise CacheError(f"{path}: {error}") from None


def _secure_file(path: Path) -> None:
    """Make sure that `path` is a regular file with mode 0600; create it if missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        os.close(os.open(path, flags, 0o600))
    # An existing file is not opened here: closing it would drop the locks of other
    # connections in this process (sqlite.org/howtocorrupt.html, section 2.2).
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise CacheError(f"{path}: not a regular file")
    if 0 < status.st_size < MIN_DATABASE_BYTES:
        raise CacheError(f"{path}: {_NOT_A_CACHE}")
    _refuse_links(path)
    if status.st_mode & 0o077:
        path.chmod(0o600)


def _refuse_links(path: Path) -> None:
    for suffix in _SIDE_FILES:
        if Path(f"{path}{suffix}").is_symlink():
            raise CacheError(f"{path}{suffix}: symbolic links are not followed")


def _connect_writer(path: Path) -> sqlite3.Connection:
    """A connection for writing, after the tables exist."""
    attempts = 0
    while True:
        try:
            connection = _connect(str(path), BUSY_S)
            with _close_on_error(connection):
                _create_tables(connection, path)
            return connection  # noqa: TRY300
        except sqlite3.Error as error:
            attempts += 1
            # When two processes create the file at the same time, SQLite reports "busy"
            # at once, whatever the timeout (sqlite.org/c3ref/busy_handler.html).
            if is_busy(error) and attempts <= _SETUP_RETRIES:
                time.sleep(_SETUP_RETRY_S)
                continue
            if not is_corrupt(error):
                raise
            if _has_our_header(path):
                raise _DamagedError(str(error)) from None
            raise CacheError(f"{path}: {_NOT_A_CACHE}") from None


def _create_tables(connection: sqlite3.Connection, path: Path) -> None:
    # The order matters: another process may create everything meanwhile, in one
    # transaction.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    version = _pragma(connection, "user_version")
    application_id = _pragma(connection, "application_id")
    if application_id != APPLICATION_ID and (application_id or tables):
        raise CacheError(f"{path}: {_NOT_A_CACHE}")
    if not tables:
        # Returns free pages to the file system; must be set before the first table.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    if application_id == APPLICATION_ID and version == SCHEMA_VERSION and tables:
        has_limits = "SELECT 1 FROM sqlite_master WHERE name = 'limits'"
        if connection.execute(has_limits).fetchone() is None:
            connection.execute(_LIMITS)  # added without a new version
        return
    connection.execute("BEGIN IMMEDIATE")
    if _pragma(connection, "user_version") != SCHEMA_VERSION:  # not created meanwhile
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            " AND name NOT LIKE 'sqlite_%'"
        ).fetchall():
            connection.execute(f'DROP TABLE "{name}"')
        for table in TABLES:
            connection.execute(table)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
    if version and version != SCHEMA_VERSION:
        log.warning(
            "digest cache %s: had schema version %s; created a new one with version %s",
            path,
            version,
            SCHEMA_VERSION,
        )


def _connect(name: str, busy_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        name, timeout=busy_s, isolation_level=None, check_same_thread=False
    )
    # The first statement fails if the file is not a database.
    with _close_on_error(connection):
        connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
    return connection


@contextlib.contextmanager
def _close_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    """Close the connection if the body fails; Python 3.13 warns about an open one."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _has_our_header(path: Path) -> bool:
    """Whether the header names this program, whatever is wrong with the rest of the
    file (sqlite.org/fileformat.html, "The Database Header")."""
    with path.open("rb") as stream:
        header = stream.read(100)
    application_id = int.from_bytes(header[68:72], "big")
    return header.startswith(b"SQLite format 3\0") and application_id == APPLICATION_ID


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (number,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(number)


def _primary_code(error: Exception) -> int:
    """SQLite's primary result code; 0 for another error."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
