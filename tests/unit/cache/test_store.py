from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from auditor.cache import database, storage
from auditor.cache.database import FORMAT, StoreError, open_existing
from auditor.cache.store import NO_HEAD_S, USED_STEP_S, DigestStore, store_path
from auditor.cache.tables import HostNotes, prune, used_bytes
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


Opener = Callable[..., DigestStore]


@pytest.fixture
def opened(path: Path, time: Time) -> Iterator[Opener]:
    """Opens the store of the test, again and again."""
    stores: list[DigestStore] = []

    def opener(**changes: int) -> DigestStore:
        while stores:
            stores.pop().close()
        stores.append(DigestStore(path, now=time, **changes))
        return stores[0]

    yield opener
    for store in stores:
        store.close()


def digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def put(store: DigestStore, body: bytes, registry: str = HOST) -> str:
    name = digest(body)
    store.put(registry, name, body, content_type=INDEX)
    return name


def ask(path: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    """Ask the file itself."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def body_of(store: DigestStore, name: str, registry: str = HOST) -> bytes | None:
    found = store.get(registry, name)
    return None if found is None else found.body


def _before_and_after(store: DigestStore, opened: Opener) -> Iterator[DigestStore]:
    yield store
    yield opened()


SMALL, LARGE = b"{}", b'{"layers": [' + b'"sha256:00", ' * 200 + b"]}"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("body", [b"", SMALL, LARGE, os.urandom(5000)])
def test_what_was_put_is_there_at_once_and_in_the_next_run(
    opened: Opener, body: bytes, algorithm: str
) -> None:
    name = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
    store = opened()
    store.put(HOST, name, body, content_type=INDEX)
    for reader in _before_and_after(store, opened):
        found = reader.get(HOST, name)
        assert found is not None
        assert found.held is not None
        assert (found.body, found.held.content_type) == (body, INDEX)
        assert found.held.confirmed == int(NOW)


def test_what_repeats_itself_is_stored_deflated(opened: Opener, path: Path) -> None:
    put(opened(), LARGE)
    opened()
    ((packed, stored),) = ask(path, "SELECT packed, body FROM content")
    assert isinstance(stored, bytes)
    assert packed == 1
    assert len(stored) < len(LARGE) / 4


def test_that_one_registry_holds_it_is_not_said_of_another(opened: Opener) -> None:
    name = put(opened(), SMALL)
    found = opened().get(OTHER, name)
    assert found is not None
    assert (found.body, found.held) == (SMALL, None)


def test_a_tag_is_remembered_with_what_the_headers_said(opened: Opener) -> None:
    store = opened()
    names = {"a": (INDEX, digest(b"")), "b": (None, None), "c": ("text/plain", "x")}
    for tag, (said, header) in names.items():
        store.put_tag(HOST, "team/app", tag, digest=digest(b"1"), header=header,
                      content_type=said)  # fmt: skip
    for reader in _before_and_after(store, opened):
        for tag, (said, header) in names.items():
            seen = reader.tag(HOST, "team/app", tag)
            assert seen is not None
            assert (seen.digest, seen.header, seen.content_type) == (
                digest(b"1"), header, said,
            )  # fmt: skip
    assert opened().tag(HOST, "team/other", "a") is None
    assert opened().tag(OTHER, "team/app", "a") is None


def test_what_is_learned_of_a_host_holds_in_the_next_run(
    opened: Opener, time: Time
) -> None:
    store = opened()
    assert store.head_pays(HOST)
    store.no_head(HOST)
    store.distrust(OTHER)
    assert not store.head_pays(HOST)
    store = opened()
    assert not store.head_pays(HOST)
    assert not store.head_pays(OTHER)
    time.now += NO_HEAD_S + 1
    assert store.head_pays(HOST)
    assert not store.head_pays(OTHER)
    assert store.host(OTHER) == HostNotes(distrusted=True)


def test_a_refusal_of_head_that_lies_far_ahead_is_of_a_clock_that_went_wrong(
    opened: Opener, time: Time
) -> None:
    opened().no_head(HOST)
    time.now -= 10 * NO_HEAD_S
    assert opened().head_pays(HOST)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE content SET body = X'00'",
        "UPDATE content SET body = 'text'",
        "UPDATE content SET packed = 7",
        "UPDATE content SET digest = X'00'",
    ],
)
def test_a_damaged_content_is_absent_counted_and_removed(
    opened: Opener, path: Path, damage: str
) -> None:
    name = put(opened(), SMALL)
    opened().close()
    ask(path, damage)
    store = opened()
    assert store.get(HOST, name) is None
    gone = "digest" in damage  # found under another name: simply not there
    assert store.damaged == (0 if gone else 1)
    opened().close()
    store = opened()
    assert len(ask(path, "SELECT 1 FROM content")) == (1 if gone else 0)
    assert body_of(store, put(store, SMALL)) == SMALL


def test_of_signed_schema_1_all_bytes_are_checked(opened: Opener, path: Path) -> None:
    name = digest(b"payload")
    signed = b'{"payload": "payload", "signatures": [1]}'
    opened().put(HOST, name, signed, content_type=None, partly=True)
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
        "UPDATE tags SET said = 3",
        "UPDATE tags SET seen = 'x'",
    ],
)
def test_a_damaged_tag_is_absent_and_removed(
    opened: Opener, path: Path, damage: str
) -> None:
    opened().put_tag(HOST, "app", "1", digest=digest(b""), header=None,
                     content_type=INDEX)  # fmt: skip
    opened().close()
    ask(path, damage)
    store = opened()
    assert store.tag(HOST, "app", "1") is None
    assert store.tag(HOST, "app", "2") is None
    assert store.damaged == 1
    opened().close()
    assert ask(path, "SELECT * FROM tags") == []


def test_the_file_is_its_owners_alone(opened: Opener, path: Path) -> None:
    put(opened(), SMALL)
    path.chmod(0o644)
    put(opened(), LARGE)
    for name in path.parent.iterdir():
        assert stat.S_IMODE(name.stat().st_mode) == 0o600, name
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_links_are_not_followed(
    opened: Opener, path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    target = path.parent / "target"
    Path(f"{path}{suffix}").symlink_to(target)
    store = opened()
    assert store.path is None
    name = put(store, SMALL)
    assert body_of(store, name) == SMALL
    store.close()
    assert not target.exists()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"references\n" * 50, "not a store"),
        (b"x", "not a store"),
        (None, "not a regular file"),
    ],
)
def test_what_is_no_store_is_left_as_it_is_and_the_run_goes_on(
    opened: Opener,
    path: Path,
    content: bytes | None,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path.parent.mkdir()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    store = opened()
    name = put(store, SMALL)
    assert body_of(store, name) == SMALL
    store.close()
    (message,) = caplog.messages
    assert said in message
    assert str(path) in message
    if content is not None:
        assert path.read_bytes() == content


def test_another_programs_database_is_left_as_it_is(opened: Opener, path: Path) -> None:
    path.parent.mkdir()
    ask(path, "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    assert opened().path is None
    assert path.read_bytes() == before


def test_a_store_of_another_format_is_made_anew_and_that_is_said_once(
    opened: Opener, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = put(opened(), SMALL)
    opened().close()
    ask(path, f"PRAGMA user_version = {FORMAT + 1}")
    ask(path, "CREATE TABLE of_the_future (x)")
    assert body_of(opened(), name) is None
    (message,) = caplog.messages
    assert f"was of format {FORMAT + 1}" in message
    put(opened(), SMALL)
    assert body_of(opened(), name) == SMALL
    assert len(caplog.messages) == 1


def _overwrite(path: Path, start: int) -> None:
    data = bytearray(path.read_bytes())
    data[start:] = b"\xa5" * (len(data) - start)
    path.write_bytes(data)


@pytest.mark.parametrize("start", [100, 4096, 2 * 4096 + 50])
def test_a_damaged_file_costs_a_warning_and_never_a_wrong_answer(
    opened: Opener, path: Path, start: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened()
    bodies = [os.urandom(300) for _ in range(200)]
    names = [put(store, body) for body in bodies]
    opened().close()
    _overwrite(path, start)
    store = opened()
    for name, body in zip(names, bodies, strict=True):
        assert body_of(store, name) in {None, body}
    again = [put(store, body) for body in bodies]
    assert [body_of(store, name) for name in again] == bodies
    store.close()
    assert len(caplog.messages) <= 2
    # The next run, or the one after it, has a store again.
    for _ in range(2):
        put(opened(), SMALL)
    assert body_of(opened(), digest(SMALL)) == SMALL


def test_a_file_cut_short_is_no_obstacle(opened: Opener, path: Path) -> None:
    store = opened()
    names = [put(store, os.urandom(300)) for _ in range(200)]
    opened().close()
    os.truncate(path, path.stat().st_size // 2)
    store = opened()
    assert {body_of(store, name) is None for name in names} >= {True}
    name = put(store, SMALL)
    assert body_of(store, name) == SMALL


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        # SQLite answers SQLITE_FULL, as it does for ENOSPC, and SQLITE_READONLY, as it
        # does on a file system that is mounted so.
        ("PRAGMA max_page_count = 20", "full"),
        ("PRAGMA query_only = 1", "readonly"),
    ],
)
def test_a_disk_that_takes_no_more_costs_a_warning_and_nothing_of_this_run(
    opened: Opener,
    limit: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = database.open_file

    def on_such_a_disk(path: Path) -> database.Opened:
        found = real(path)
        found.writer.execute(limit)
        return found

    monkeypatch.setattr(storage, "open_file", on_such_a_disk)
    store = opened()
    bodies = [os.urandom(1000) for _ in range(1500)]
    names = [put(store, body) for body in bodies]
    store._rows.flush()
    assert [body_of(store, name) for name in names] == bodies
    store.close()
    assert len(caplog.messages) == 1
    assert said in caplog.messages[0]


def test_what_others_hold_locked_is_waited_for_off_the_loop(
    opened: Opener, path: Path
) -> None:
    name = put(opened(), SMALL)
    store = opened()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    names = [put(store, os.urandom(100)) for _ in range(storage.BATCH_ROWS + 10)]
    # Reads do not wait, and what was put is there though it is not written.
    assert body_of(store, name) == SMALL
    assert all(body_of(store, one) for one in names)
    other.execute("COMMIT")
    other.close()
    assert all(body_of(opened(), one) for one in names)


def test_a_disk_too_slow_costs_memory_for_a_few_batches_only(
    opened: Opener, path: Path
) -> None:
    store = opened()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range((storage.MAX_WAITING + 2) * storage.BATCH_ROWS):
        put(store, str(number).encode())
    assert store.not_stored > 0
    assert len(store._rows.fresh.contents) <= (
        (storage.MAX_WAITING + 1) * storage.BATCH_ROWS
    )
    other.execute("ROLLBACK")
    other.close()


def test_the_end_of_a_run_does_not_wait_for_a_process_that_was_stopped(
    opened: Opener,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(storage, "CLOSE_S", 0.05)
    store = opened()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    put(store, SMALL)
    store.close()
    assert len(caplog.messages) == 1
    assert f"another process holds the store {path}" in caplog.messages[0]
    other.execute("ROLLBACK")
    other.close()


def test_two_that_make_the_file_at_the_same_time_both_get_it(
    path: Path, time: Time
) -> None:
    stores: list[DigestStore] = []
    start = threading.Barrier(4)

    def make() -> None:
        start.wait()
        stores.append(DigestStore(path, now=time))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.path for store in stores] == [path] * 4
    names = [put(store, str(n).encode()) for n, store in enumerate(stores)]
    for store in stores:
        store.close()
    with DigestStore(path, now=time) as store:
        assert all(body_of(store, name) for name in names)


def test_the_least_recently_used_go_first(
    opened: Opener, time: Time, path: Path
) -> None:
    store = opened()
    old = [put(store, os.urandom(1000)) for _ in range(300)]
    kept = put(store, SMALL)
    for tag, name in (("old", old[0]), ("kept", kept)):
        store.put_tag(HOST, "app", tag, digest=name, header=name, content_type=INDEX)
    time.now += 2 * USED_STEP_S
    store = opened(max_bytes=400_000)
    assert body_of(store, kept) == SMALL
    new = [put(store, os.urandom(1000)) for _ in range(100)]
    store = opened(max_bytes=400_000)
    assert all(body_of(store, name) for name in new)
    assert body_of(store, kept) == SMALL
    assert not all(body_of(store, name) for name in old)
    assert store.tag(HOST, "app", "kept") is not None
    store.close()
    assert path.stat().st_size < 450_000


def test_pruning_what_is_unused_leaves_what_is_used(
    opened: Opener, time: Time, path: Path
) -> None:
    store = opened()
    unused, used = put(store, SMALL), put(store, LARGE)
    store.put_tag(HOST, "app", "1", digest=unused, header=None, content_type=None)
    time.now += 3 * USED_STEP_S
    assert body_of(opened(), used) == LARGE
    opened().close()
    connection = open_existing(path)
    assert prune(connection, 2**40, unused_since=int(time.now) - USED_STEP_S) == 1
    assert used_bytes(connection) > 0
    connection.close()
    store = opened()
    assert body_of(store, unused) is None
    assert body_of(store, used) == LARGE
    assert store.tag(HOST, "app", "1") is None


@pytest.mark.parametrize("content", [None, b"", b"x" * 5000])
def test_only_a_store_is_opened_as_one(path: Path, content: bytes | None) -> None:
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=str(path)):
        open_existing(path)


def test_what_turns_out_to_be_no_store_is_closed_again(
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
    with pytest.raises(StoreError, match=str(path)):
        open_existing(path)
    (connection,) = made
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_a_private_store_leaves_nothing_behind(
    time: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    with DigestStore(None, now=time) as store:
        names = [put(store, os.urandom(3000)) for _ in range(3000)]
        assert all(body_of(store, name) for name in names)
        assert list(tmp_path.iterdir()) == []


def test_the_store_is_in_the_cache_directory_unless_it_is_said_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store_path(Settings()) == tmp_path / "auditor" / "digests.sqlite"
    assert store_path(Settings(store="here/it.is")) == Path("here/it.is")
    assert store_path(Settings(store="here/it.is", no_store=True)) is None


def test_nothing_is_made_in_a_folder_that_is_named_tilde(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        platformdirs, "user_cache_path", lambda *_, **__: Path("~/.cache/auditor")
    )
    assert store_path(Settings()) is None
    assert caplog.messages == [
        "there is no cache directory for the store; going on without"
    ]
