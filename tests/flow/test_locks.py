"""The report lock: one run at a time writes a report."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import orjson
import pytest

from auditor.errors import ExitCode, LockedError, OutputError
from auditor.report import locked_journal
from auditor.report.locked_journal import Journal
from auditor.report.writer import ReportOptions, open_report
from tests.flow.commands import auditor
from tests.flow.harness import lab, simple
from tests.flow.reporting import files_next_to, lines_of, report_to

pytestmark = pytest.mark.anyio

NOW = "2026-11-25T02:00:00Z"
NAMES = ["team/app:1"]


def silent(sentence: str) -> None:
    pytest.fail(sentence)


async def test_a_second_run_names_the_process_that_holds_the_lock_and_exits_with_5(
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    async with (
        lab(simple(NAMES)) as here,
        open_report(ReportOptions(output=str(output)), now=NOW, notify=silent),
    ):
        done = await auditor("audit", here.ref(NAMES[0]), "-o", "out", place=tmp_path)
        assert here.faults.count("GET") == 0
    assert (done.code, ExitCode.LOCKED) == (5, 5)
    host = socket.gethostname()
    assert done.messages == [
        f"out: another run is writing this report: process {os.getpid()} on {host},"
        f" since {NOW}"
    ]


async def test_after_a_resume_the_lock_names_the_resuming_process(
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    options = ReportOptions(output=str(output), resume=True)
    async with open_report(ReportOptions(output=str(output)), now=NOW, notify=silent):
        output.with_name("out.partial").write_bytes(
            b'{"kind":"image","reference":"r/a:1","tag":"1"}\n'
        )
    later = "2026-11-25T03:00:00Z"
    async with open_report(options, now=later, notify=[].append):  # type: ignore[arg-type]
        with pytest.raises(LockedError, match=f"since {later}$"):
            async with open_report(options, now=NOW, notify=silent):
                pass


async def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    """Even if its process ID is in use again, here by this process."""
    output = tmp_path / "out"
    journal = {"schema": 1, "kind": "journal", "pid": os.getpid(), "host": "x"}
    output.with_name("out.journal").write_bytes(orjson.dumps(journal) + b"\n")
    async with lab(simple(NAMES)) as here:
        done = await report_to(here, output, here.ref(NAMES[0]))
    assert done.messages == []
    assert len(lines_of(output)) == 1
    assert files_next_to(output) == {}


async def test_a_report_and_a_symbolic_link_to_it_share_one_lock(
    tmp_path: Path,
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "out")
    async with open_report(
        ReportOptions(output=str(tmp_path / "out")), now=NOW, notify=silent
    ):
        with pytest.raises(LockedError, match=r"link: another run is writing"):
            async with open_report(
                ReportOptions(output=str(link)), now=NOW, notify=silent
            ):
                pass


async def test_reports_with_different_names_have_different_locks(
    tmp_path: Path,
) -> None:
    one, other = (ReportOptions(output=str(tmp_path / name)) for name in ("a", "b"))
    async with (
        open_report(one, now=NOW, notify=silent),
        open_report(other, now=NOW, notify=silent),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


async def test_standard_output_has_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with (
        open_report(ReportOptions(), now=NOW, notify=silent),
        open_report(ReportOptions(), now=NOW, notify=silent),
    ):
        assert list(tmp_path.iterdir()) == []


async def test_only_the_owner_may_open_the_journal(tmp_path: Path) -> None:
    """A process that can open a file can lock it."""
    async with open_report(
        ReportOptions(output=str(tmp_path / "out")), now=NOW, notify=silent
    ):
        mode = (tmp_path / "out.journal").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize("what", ["link", "dangling", "pipe", "folder"])
@pytest.mark.parametrize("name", ["out.journal", "out.partial"])
async def test_a_link_pipe_or_folder_at_the_journal_or_partial_file_is_refused(
    what: str, name: str, tmp_path: Path
) -> None:
    victim, place = tmp_path / "victim", tmp_path / name
    if what != "dangling":
        victim.write_bytes(b"precious")
    if what == "pipe":
        os.mkfifo(place)
    elif what == "folder":
        place.mkdir()
    else:
        place.symlink_to(victim)
    for resume in (False, True):
        with pytest.raises(OutputError, match=name) as refused:
            async with open_report(
                ReportOptions(output=str(tmp_path / "out"), resume=resume),
                now=NOW,
                notify=silent,
            ):
                pass
        assert "\n" not in str(refused.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"victim", name}
    assert victim.exists() == (what != "dangling")
    assert what == "dangling" or victim.read_bytes() == b"precious"


async def test_symbolic_links_at_the_set_aside_files_are_replaced(
    tmp_path: Path,
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for ending in ("partial.old", "journal.old", "partial.copy"):
        (tmp_path / f"out.{ending}").symlink_to(victim)
    (tmp_path / "out.partial").write_bytes(b"left over")
    async with lab(simple(NAMES)) as here:
        await report_to(here, tmp_path / "out", here.ref(NAMES[0]))
    assert victim.read_bytes() == b"precious"


async def test_a_file_system_without_locks_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("auditor.report.locked_journal.fcntl.flock", refuse)
    async with lab(simple(NAMES)) as here:
        await report_to(here, tmp_path / "out", here.ref(NAMES[0]))
    assert "no file locks" in caplog.text
    assert len(lines_of(tmp_path / "out")) == 1


async def test_a_missing_folder_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"gone/out: the report cannot be written"):
        async with open_report(
            ReportOptions(output=str(tmp_path / "gone" / "out")), now=NOW, notify=silent
        ):
            pass


def test_the_journal_of_a_run_that_has_just_ended_is_not_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends between open and flock: a third run would lock a new journal."""
    path = tmp_path / "out.journal"
    real_lock, locked = locked_journal.lock_file, list[int]()

    def late(fd: int, output: str) -> None:
        if not locked:
            path.unlink()
        locked.append(fd)
        real_lock(fd, output)

    monkeypatch.setattr(locked_journal, "lock_file", late)
    with Journal(path, output="out"):
        assert len(locked) == 2
        assert os.path.samestat(path.stat(), os.fstat(locked[-1]))
        with pytest.raises(LockedError):
            Journal(path, output="out")
