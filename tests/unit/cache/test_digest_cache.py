"""The digest cache: contents, tags and host notes survive a run, damage does not."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import platformdirs
import pytest

from auditor.cache import database, storage
from auditor.cache.batch import HostNotes
from auditor.cache.database import SCHEMA_VERSION, CacheError, open_existing_database
from auditor.cache.digest_cache import (
    LIMIT_S,
    NO_HEAD_S,
    USED_STEP_S,
    DigestCache,
    cache_path,
)
from auditor.cache.maintenance import prune, used_bytes
from auditor.config import Settings

NOW = 1_795_399_200.0
HOST = "registry.example.com"
OTHER = "other.example.com"
INDEX = "application/vnd.oci.image.index.v1+json"


class Time:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "digests.sqlite"


Opener = Callable[..., DigestCache]


@pytest.fixture
def opened(path: Path, time: Time) -> Iterator[Opener]:
    """Opens the cache of the test, closing the one opened before."""
    caches: list[DigestCache] = []

    def opener(**changes: int) -> DigestCache:
        while caches:
            caches.pop().close()
        caches.append(DigestCache(path, now=time, **changes))
        return caches[0]

    yield opener
    for cache in caches:
        cache.close()


def digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def put(cache: DigestCache, body: bytes, registry: str = HOST) -> str:
    name = digest(body)
    cache.put(registry, name, body, content_type=INDEX)
    return name


def ask(path: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    """Query the file directly."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def body_of(cache: DigestCache, name: str, registry: str = HOST) -> bytes | None:
    found = cache.get(registry, name)
    return None if found is None else found.body


def _before_and_after(cache: DigestCache, opened: Opener) -> Iterator[DigestCache]:
    yield cache
    yield opened()


SMALL, LARGE = b"{}", b'{"layers": [' + b'"sha256:00", ' * 200 + b"]}"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("body", [b"", SMALL, LARGE, Random(1).randbytes(5000)])
def test_a_content_is_returned_at_once_and_in_the_next_run(
    opened: Opener, body: bytes, algorithm: str
) -> None:
    name = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
    cache = opened()
    cache.put(HOST, name, body, content_type=INDEX)
    for reader in _before_and_after(cache, opened):
        found = reader.get(HOST, name)
        assert found is not None
        assert found.confirmation is not None
        assert (found.body, found.confirmation.content_type) == (body, INDEX)
        assert found.confirmation.confirmed_at == int(NOW)


def test_a_repetitive_body_is_stored_deflated(opened: Opener, path: Path) -> None:
    put(opened(), LARGE)
    opened()
    ((deflated, stored),) = ask(path, "SELECT deflated, body FROM content")
    assert isinstance(stored, bytes)
    assert deflated == 1
    assert len(stored) < len(LARGE) / 4


def test_a_confirmation_of_one_registry_does_not_hold_for_another(
    opened: Opener,
) -> None:
    name = put(opened(), SMALL)
    found = opened().get(OTHER, name)
    assert found is not None
    assert (found.body, found.confirmation) == (SMALL, None)


def test_a_tag_is_stored_with_its_headers(opened: Opener) -> None:
    cache = opened()
    names = {"a": (INDEX, digest(b"")), "b": (None, None), "c": ("text/plain", "x")}
    for tag, (content_type, header) in names.items():
        cache.put_tag(HOST, "team/app", tag, digest=digest(b"1"), header=header,
                      content_type=content_type)  # fmt: skip
    for reader in _before_and_after(cache, opened):
        for tag, (content_type, header) in names.items():
            seen = reader.tag(HOST, "team/app", tag)
            assert seen is not None
            assert (seen.digest, seen.header, seen.content_type) == (
                digest(b"1"), header, content_type,
            )  # fmt: skip
    assert opened().tag(HOST, "team/other", "a") is None
    assert opened().tag(OTHER, "team/app", "a") is None


def test_host_notes_hold_in_the_next_run(opened: Opener, time: Time) -> None:
    cache = opened()
    assert cache.head_is_reliable(HOST)
    cache.disable_head(HOST)
    cache.distrust_digest_headers(OTHER)
    assert not cache.head_is_reliable(HOST)
    cache = opened()
    assert not cache.head_is_reliable(HOST)
    assert not cache.head_is_reliable(OTHER)
    time.now += NO_HEAD_S + 1
    assert cache.head_is_reliable(HOST)
    assert not cache.head_is_reliable(OTHER)
    assert cache.host_notes(OTHER) == HostNotes(distrusted=True)


def test_disabled_head_is_ignored_if_the_clock_was_wrong(
    opened: Opener, time: Time
) -> None:
    opened().disable_head(HOST)
    time.now -= 10 * NO_HEAD_S
    assert opened().head_is_reliable(HOST)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE content SET body = X'00'",
        "UPDATE content SET body = 'text'",
        "UPDATE content SET deflated = 7",
        "UPDATE content SET digest = X'00'",
    ],
)
def test_a_damaged_content_is_absent_counted_and_removed(
    opened: Opener, path: Path, damage: str
) -> None:
    name = put(opened(), SMALL)
    opened().close()
    ask(path, damage)
    cache = opened()
    assert cache.get(HOST, name) is None
    gone = "digest" in damage  # found under another name: simply not there
    assert cache.damaged == (0 if gone else 1)
    opened().close()
    cache = opened()
    assert len(ask(path, "SELECT 1 FROM content")) == (1 if gone else 0)
    assert body_of(cache, put(cache, SMALL)) == SMALL


def test_all_bytes_of_a_signed_schema_1_manifest_are_verified(
    opened: Opener, path: Path
) -> None:
    name = digest(b"payload")
    signed = b'{"payload": "payload", "signatures": [1]}'
    opened().put(HOST, name, signed, content_type=None, is_partial_digest=True)
    assert body_of(opened(), name) == signed
    opened().close()
    ask(path, "UPDATE content SET body = ?", signed.replace(b"1", b"2"))
    assert body_of(opened(), name) is None


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tags SET tag = '2'",
        "UPDATE tags SET header = 'x'",
        "UPDATE tags SET digest = X'00'",
        "UPDATE tags SET content_type = 3",
        "UPDATE tags SET seen_at = 'x'",
    ],
)
def test_a_damaged_tag_is_absent_and_removed(
    opened: Opener, path: Path, damage: str
) -> None:
    opened().put_tag(HOST, "app", "1", digest=digest(b""), header=None,
                     content_type=INDEX)  # fmt: skip
    opened().close()
    ask(path, damage)
    cache = opened()
    assert cache.tag(HOST, "app", "1") is None
    assert cache.tag(HOST, "app", "2") is None
    assert cache.damaged == 1
    opened().close()
    assert ask(path, "SELECT * FROM tags") == []


def test_the_file_is_readable_by_its_owner_only(opened: Opener, path: Path) -> None:
    put(opened(), SMALL)
    path.chmod(0o644)
    put(opened(), LARGE)
    for name in path.parent.iterdir():
        assert stat.S_IMODE(name.stat().st_mode) == 0o600, name
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_symbolic_links_are_not_followed(
    opened: Opener, path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    target = path.parent / "target"
    Path(f"{path}{suffix}").symlink_to(target)
    cache = opened()
    assert cache.path is None
    name = put(cache, SMALL)
    assert body_of(cache, name) == SMALL
    cache.close()
    assert not target.exists()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(
    ("content", "message_part"),
    [
        (b"references\n" * 50, "not a digest cache"),
        (b"x", "not a digest cache"),
        (None, "not a regular file"),
    ],
)
def test_a_file_that_is_not_a_cache_is_not_changed_and_the_run_continues(
    opened: Opener,
    path: Path,
    content: bytes | None,
    message_part: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path.parent.mkdir()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    cache = opened()
    name = put(cache, SMALL)
    assert body_of(cache, name) == SMALL
    cache.close()
    (message,) = caplog.messages
    assert message_part in message
    assert str(path) in message
    if content is not None:
        assert path.read_bytes() == content


def test_the_database_of_another_program_is_not_changed(
    opened: Opener, path: Path
) -> None:
    path.parent.mkdir()
    ask(path, "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    assert opened().path is None
    assert path.read_bytes() == before


def test_a_cache_of_another_schema_version_is_recreated_with_one_warning(
    opened: Opener, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = put(opened(), SMALL)
    opened().close()
    ask(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    ask(path, "CREATE TABLE of_the_future (x)")
    assert body_of(opened(), name) is None
    (message,) = caplog.messages
    assert f"had schema version {SCHEMA_VERSION + 1}" in message
    put(opened(), SMALL)
    assert body_of(opened(), name) == SMALL
    assert len(caplog.messages) == 1


def _overwrite(path: Path, start: int) -> None:
    data = bytearray(path.read_bytes())
    data[start:] = b"\xa5" * (len(data) - start)
    path.write_bytes(data)


@pytest.mark.parametrize("start", [100, 4096, 2 * 4096 + 50])
def test_a_damaged_file_never_returns_a_wrong_body(
    opened: Opener, path: Path, start: int, caplog: pytest.LogCaptureFixture
) -> None:
    cache = opened()
    bodies = [os.urandom(300) for _ in range(200)]
    names = [put(cache, body) for body in bodies]
    opened().close()
    _overwrite(path, start)
    cache = opened()
    for name, body in zip(names, bodies, strict=True):
        assert body_of(cache, name) in {None, body}
    again = [put(cache, body) for body in bodies]
    assert [body_of(cache, name) for name in again] == bodies
    cache.close()
    assert len(caplog.messages) <= 2
    # The next run, or the one after it, has a cache file again.
    for _ in range(2):
        put(opened(), SMALL)
    assert body_of(opened(), digest(SMALL)) == SMALL


def test_a_truncated_file_is_recreated(opened: Opener, path: Path) -> None:
    cache = opened()
    names = [put(cache, os.urandom(300)) for _ in range(200)]
    opened().close()
    os.truncate(path, path.stat().st_size // 2)
    cache = opened()
    assert {body_of(cache, name) is None for name in names} >= {True}
    name = put(cache, SMALL)
    assert body_of(cache, name) == SMALL


@pytest.mark.parametrize(
    ("limit", "message_part"),
    [
        # SQLITE_FULL is also the code for ENOSPC, SQLITE_READONLY for read-only disks.
        ("PRAGMA max_page_count = 20", "full"),
        ("PRAGMA query_only = 1", "readonly"),
    ],
)
def test_a_full_or_read_only_disk_costs_one_warning(
    opened: Opener,
    limit: str,
    message_part: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = database.open_database

    def with_limit(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        reader, writer = real(path)
        writer.execute(limit)
        return reader, writer

    monkeypatch.setattr(storage, "open_database", with_limit)
    cache = opened()
    bodies = [os.urandom(1000) for _ in range(1500)]
    names = [put(cache, body) for body in bodies]
    cache._storage.flush()
    assert [body_of(cache, name) for name in names] == bodies
    cache.close()
    assert len(caplog.messages) == 1
    assert message_part in caplog.messages[0]


def test_reads_do_not_wait_for_the_lock_of_another_process(
    opened: Opener, path: Path
) -> None:
    name = put(opened(), SMALL)
    cache = opened()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    names = [put(cache, os.urandom(100)) for _ in range(storage.BATCH_ROWS + 10)]
    # Reads do not wait, and entries are returned before they are written.
    assert body_of(cache, name) == SMALL
    assert all(body_of(cache, one) for one in names)
    other.execute("COMMIT")
    other.close()
    assert all(body_of(opened(), one) for one in names)


def test_memory_is_bounded_when_the_disk_is_too_slow(
    opened: Opener, path: Path
) -> None:
    cache = opened()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range((storage.MAX_WAITING_BATCHES + 2) * storage.BATCH_ROWS):
        put(cache, str(number).encode())
    assert cache.not_stored > 0
    assert len(cache._storage.pending.contents) <= (
        (storage.MAX_WAITING_BATCHES + 1) * storage.BATCH_ROWS
    )
    other.execute("ROLLBACK")
    other.close()


def test_bytes_are_bounded_when_the_disk_is_too_slow(
    opened: Opener, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 batches of one manifest of 4 MB each would be 256 MB."""
    monkeypatch.setattr(storage, "BATCH_BYTES", 10_000)
    monkeypatch.setattr(storage, "MAX_WAITING_BYTES", 200_000)
    cache = opened()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(50):
        put(cache, b"%d" % number * 10_000)
    waiting = cache._storage.pending.contents.values()
    assert sum(len(entry.body) for entry in waiting) <= 200_000 + 2 * 20_000
    assert cache.not_stored > 0
    other.execute("ROLLBACK")
    other.close()


def test_closing_does_not_wait_for_a_stopped_process(
    opened: Opener,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(storage, "CLOSE_S", 0.05)
    cache = opened()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    put(cache, SMALL)
    cache.close()
    assert len(caplog.messages) == 1
    assert f"the digest cache {path} is locked by another process" in caplog.messages[0]
    other.execute("ROLLBACK")
    other.close()


def test_threads_that_create_the_file_at_the_same_time_all_open_it(
    path: Path, time: Time
) -> None:
    caches: list[DigestCache] = []
    start = threading.Barrier(4)

    def make() -> None:
        start.wait()
        caches.append(DigestCache(path, now=time))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [cache.path for cache in caches] == [path] * 4
    names = [put(cache, str(n).encode()) for n, cache in enumerate(caches)]
    for cache in caches:
        cache.close()
    with DigestCache(path, now=time) as cache:
        assert all(body_of(cache, name) for name in names)


def test_the_least_recently_used_contents_are_pruned_first(
    opened: Opener, time: Time, path: Path
) -> None:
    cache = opened()
    old = [put(cache, os.urandom(1000)) for _ in range(300)]
    kept = put(cache, SMALL)
    for tag, name in (("old", old[0]), ("kept", kept)):
        cache.put_tag(HOST, "app", tag, digest=name, header=name, content_type=INDEX)
    time.now += 2 * USED_STEP_S
    cache = opened(max_bytes=400_000)
    assert body_of(cache, kept) == SMALL
    new = [put(cache, os.urandom(1000)) for _ in range(100)]
    cache = opened(max_bytes=400_000)
    assert all(body_of(cache, name) for name in new)
    assert body_of(cache, kept) == SMALL
    assert not all(body_of(cache, name) for name in old)
    assert cache.tag(HOST, "app", "kept") is not None
    cache.close()
    assert path.stat().st_size < 450_000


def test_pruning_unused_contents_keeps_used_ones(
    opened: Opener, time: Time, path: Path
) -> None:
    cache = opened()
    unused, used = put(cache, SMALL), put(cache, LARGE)
    cache.put_tag(HOST, "app", "1", digest=unused, header=None, content_type=None)
    time.now += 3 * USED_STEP_S
    assert body_of(opened(), used) == LARGE
    opened().close()
    connection = open_existing_database(path)
    assert prune(connection, 2**40, unused_since=int(time.now) - USED_STEP_S) == 1
    assert used_bytes(connection) > 0
    connection.close()
    cache = opened()
    assert body_of(cache, unused) is None
    assert body_of(cache, used) == LARGE
    assert cache.tag(HOST, "app", "1") is None


@pytest.mark.parametrize("content", [None, b"", b"x" * 5000])
def test_only_an_existing_cache_is_opened(path: Path, content: bytes | None) -> None:
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CacheError, match=str(path)):
        open_existing_database(path)


def test_the_connection_to_a_file_that_is_not_a_cache_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"x" * 5000)
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noted(*args: Any, **more: Any) -> sqlite3.Connection:
        made.append(connect(*args, **more))
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", noted)
    with pytest.raises(CacheError, match=str(path)):
        open_existing_database(path)
    (connection,) = made
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_a_temporary_cache_leaves_no_file(
    time: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    with DigestCache(None, now=time) as cache:
        names = [put(cache, os.urandom(3000)) for _ in range(3000)]
        assert all(body_of(cache, name) for name in names)
        assert list(tmp_path.iterdir()) == []


def test_the_default_file_is_in_the_user_cache_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_path(Settings()) == tmp_path / "auditor" / "digests.sqlite"
    assert cache_path(Settings(cache="here/it.is")) == Path("here/it.is")
    assert cache_path(Settings(cache="here/it.is", no_cache=True)) is None


def test_a_user_without_a_home_directory_has_no_cache_file(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        platformdirs, "user_cache_path", lambda *_, **__: Path("~/.cache/auditor")
    )
    assert cache_path(Settings()) is None
    assert caplog.messages == [
        "no cache directory: the user has no home directory; continuing without the"
        " digest cache (set --cache)"
    ]


# -- limits of hosts ---------------------------------------------------------------

ORIGIN = f"https://{HOST}"


def test_what_a_host_stood_is_kept_for_two_weeks(opened: Opener, time: Time) -> None:
    cache = opened()
    assert cache.host_limit(ORIGIN) is None
    cache.put_host_limit(ORIGIN, 20)
    cache.put_host_limit(ORIGIN, 24)
    cache = opened()
    assert cache.host_limit(ORIGIN) == 24
    assert cache.host_limit("https://other.example.com") is None
    time.now += LIMIT_S
    assert cache.host_limit(ORIGIN) == 24
    time.now += 1
    assert cache.host_limit(ORIGIN) is None
    time.now = NOW - 1  # a wrong clock
    assert cache.host_limit(ORIGIN) is None


def test_a_cache_without_the_table_of_limits_gets_one(
    opened: Opener, path: Path
) -> None:
    opened().put_host_limit(ORIGIN, 20)
    opened().close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE limits")
    connection.close()
    cache = opened()
    assert cache.host_limit(ORIGIN) is None
    cache.put_host_limit(ORIGIN, 20)
    assert opened().host_limit(ORIGIN) == 20


@pytest.mark.parametrize("damage", [("x", 0), (0, NOW), (-5, NOW), (8, "x")])
def test_a_damaged_limit_is_unknown(
    opened: Opener, path: Path, damage: tuple[object, object]
) -> None:
    opened().close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO limits VALUES (?, ?, ?)", (ORIGIN, *damage))
    connection.close()
    assert opened().host_limit(ORIGIN) is None
