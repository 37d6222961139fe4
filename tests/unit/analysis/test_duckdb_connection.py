"""Signals interrupt a running query."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from auditor.analysis.duckdb_connection import remove_abandoned_work, work_database
from auditor.errors import ExitCode, OutputError

# It would take minutes.
LONG = """
    SELECT count(*) FROM range(1000000000) AS a(i), range(1000) AS b(j)
    WHERE hash(i, j) % 7 = 0"""


def interrupted(number: int) -> None:
    with work_database() as connection:
        connection.execute("SET enable_progress_bar = true")
        connection.execute("SET enable_progress_bar_print = false")

        def send_when_it_runs() -> None:
            polling = threading.Event()
            while connection.query_progress() <= 0 and not polling.wait(0.001):
                pass
            os.kill(os.getpid(), number)

        sender = threading.Thread(target=send_when_it_runs)
        sender.start()
        try:
            connection.execute(LONG).fetchall()
        finally:
            sender.join()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_ctrl_c_interrupts_a_query_and_removes_temporary_files(temporary: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(signal.SIGINT)
    assert not any(temporary.iterdir())


def test_sigterm_interrupts_a_query_and_removes_temporary_files(
    temporary: Path,
) -> None:
    with pytest.raises(SystemExit) as caught:
        interrupted(signal.SIGTERM)
    assert caught.value.code == ExitCode.TERMINATED
    assert not any(temporary.iterdir())


def test_a_signal_is_raised_once(temporary: Path) -> None:
    """Python prints what a generator raises while the garbage collector closes it."""

    @contextmanager
    def opened() -> Iterator[None]:
        with work_database():
            yield

    manager = opened()
    manager.__enter__()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    manager.gen.close()
    assert not any(temporary.iterdir())


def test_nothing_waits_for_the_disk() -> None:
    with work_database() as connection:
        row = connection.execute("SELECT current_setting('fsync_mode')").fetchone()
        assert row == ("NONE",)


def test_signal_handlers_are_restored() -> None:
    def handlers() -> tuple[object, ...]:
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor)
        return signal.getsignal(2), signal.getsignal(15), descriptor

    before = handlers()
    with work_database():
        assert handlers() != before
    assert handlers() == before


def test_other_signal_handlers_are_not_replaced() -> None:
    def own(*_: object) -> None:
        return None

    before = signal.signal(signal.SIGTERM, own)
    try:
        with work_database():
            assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_handles_no_signals() -> None:
    found: list[object] = []

    def work() -> None:
        with work_database() as connection:
            found.extend(connection.execute("SELECT 1").fetchall())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(1,)]


def test_only_the_work_of_killed_processes_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, young, other = (
        tmp_path / name for name in ("auditor-work-1", "auditor-work-2", "auditor-demo")
    )
    link = tmp_path / "auditor-work-3"
    for folder in (killed, young, other):
        folder.mkdir()
        (folder / "work.duckdb").write_bytes(b"")
    link.symlink_to(other)
    with work_database() as connection:
        (used,) = set(tmp_path.iterdir()) - {killed, young, other, link}
        for folder in (killed, other, used):
            os.utime(folder, (0, 0))
        remove_abandoned_work()
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
        assert set(tmp_path.iterdir()) == {young, other, link, used}
    assert (other / "work.duckdb").exists()


@contextmanager
def no_file_beyond(limit_bytes: int) -> Iterator[None]:
    """As a full disk: no process of this one can write a larger file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "limit_bytes",
    [
        pytest.param(4096, id="the database"),
        pytest.param(100_000, id="a transaction"),
    ],
)
def test_a_full_disk_is_one_sentence_that_names_its_folder(
    limit_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(OutputError) as caught,
        no_file_beyond(limit_bytes),
        work_database() as connection,
    ):
        connection.execute("CREATE TABLE t AS SELECT hash(i) h FROM range(99999) r(i)")
    assert str(caught.value) == (
        f"{tmp_path}: temporary data cannot be written: File too large; set TMPDIR to a"
        " folder with more space"
    )
    assert list(tmp_path.iterdir()) == []
