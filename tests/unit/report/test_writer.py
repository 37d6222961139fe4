"""A report gets its name when it is complete; every error is one line."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest

from auditor.errors import ExitCode, OutputError
from auditor.report.writer import (
    PIECE_BYTES,
    ReportOptions,
    ReportWriter,
    open_report,
)
from tests.records import failure

NOW = "2026-11-25T02:00:00Z"
LINE = b'{"kind":"image"}\n'


def write(output: object, *lines: bytes, commit: bool = True) -> None:
    async def main() -> None:
        async with ReportWriter(str(output)) as writer:
            for line in lines:
                await writer.write(line)
            if commit:
                await writer.commit()

    anyio.run(main)


def refusal(output: object) -> str:
    with pytest.raises(OutputError) as caught:
        write(output, LINE)
    assert caught.value.exit_code is ExitCode.OUTPUT
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("count", [0, 1, 2, 3 * PIECE_BYTES // len(LINE)])
def test_a_committed_report_has_its_lines_and_leaves_no_other_file(
    tmp_path: Path, count: int
) -> None:
    write(tmp_path / "out.jsonl", *[LINE] * count)
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_bytes() == LINE * count


def test_the_old_report_stays_until_the_commit(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(b"old\n")

    async def main() -> None:
        async with ReportWriter(str(out)) as writer:
            assert writer.partial == out.with_name("out.jsonl.partial")
            await writer.write(LINE)
            await writer.flush()
            assert out.read_bytes() == b"old\n"
            assert writer.partial.read_bytes() == LINE
            await writer.commit()
            assert out.read_bytes() == LINE
            assert not writer.partial.exists()

    anyio.run(main)


def test_without_a_commit_the_partial_file_keeps_every_line(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write(out, LINE, LINE, commit=False)
    assert not out.exists()
    assert (tmp_path / "out.jsonl.partial").read_bytes() == LINE * 2


def test_an_exception_keeps_the_lines_and_propagates(tmp_path: Path) -> None:
    class BugError(Exception):
        pass

    async def main() -> None:
        async with ReportWriter(str(tmp_path / "out")) as writer:
            await writer.write(LINE)
            raise BugError

    with pytest.raises(BugError):
        anyio.run(main)
    assert (tmp_path / "out.partial").read_bytes() == LINE


def test_an_old_partial_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out.partial").write_bytes(b"x" * 1000)
    write(tmp_path / "out", LINE)
    assert (tmp_path / "out").read_bytes() == LINE


def test_a_process_with_the_old_partial_file_open_cannot_write_to_the_report(
    tmp_path: Path,
) -> None:
    with (tmp_path / "out.partial").open("ab", buffering=0) as theirs:

        async def main() -> None:
            async with ReportWriter(str(tmp_path / "out")) as writer:
                await writer.write(LINE)
                await writer.flush()
                theirs.write(b"forged\n")
                await writer.commit()

        anyio.run(main)
    assert (tmp_path / "out").read_bytes() == LINE


def test_lines_are_buffered_and_written_in_large_pieces(tmp_path: Path) -> None:
    partial = tmp_path / "out.partial"

    async def main() -> None:
        async with ReportWriter(str(tmp_path / "out")) as writer:
            await writer.write(b"x" * (PIECE_BYTES - 1))
            assert partial.stat().st_size == 0
            await writer.write(b"x")
            assert partial.stat().st_size == PIECE_BYTES

    anyio.run(main)


def test_a_symbolic_link_is_kept_and_its_target_replaced(tmp_path: Path) -> None:
    target = tmp_path / "target.jsonl"
    target.write_bytes(b"old")
    link = tmp_path / "link.jsonl"
    link.symlink_to(target)
    write(link, LINE)
    assert link.is_symlink()
    assert target.read_bytes() == LINE


def test_a_relative_path_stays_valid_when_the_working_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        async with ReportWriter("out") as writer:
            await writer.write(LINE)
            monkeypatch.chdir(tmp_path / "other")
            await writer.commit()

    anyio.run(main)
    assert (tmp_path / "out").read_bytes() == LINE


# -- errors ----------------------------------------------------


def test_a_folder_as_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        ReportWriter(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["missing/out", "file/out", "out\0x", "x" * 300, "folder-as-partial"]
)
def test_an_invalid_file_name_is_a_one_line_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder-as-partial.partial").mkdir()
    found = refusal(tmp_path / name)
    assert name in found
    assert "cannot be written" in found


def test_a_read_only_folder_is_a_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(
        "auditor.report.writer.os.open", refuse
    )  # as root, the real call succeeds
    assert "Permission denied" in refusal(tmp_path / "out")


def test_a_symbolic_link_at_the_partial_file_is_not_followed(
    tmp_path: Path,
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "out.partial").symlink_to(victim)
    refusal(tmp_path / "out")
    assert victim.read_bytes() == b"precious"


def test_a_full_device_is_a_one_line_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    assert "No space left" in refusal("/dev/full")


def test_a_folder_removed_before_the_commit_is_a_one_line_error(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    async def main() -> None:
        async with ReportWriter(str(folder / "out")) as writer:
            await writer.write(LINE)
            (folder / "out.partial").unlink()
            folder.rmdir()
            await writer.commit()

    with pytest.raises(OutputError):
        anyio.run(main)


@pytest.mark.parametrize("is_committed", [True, False])
def test_an_error_of_close_does_not_spoil_a_complete_report(
    is_committed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO on NFS; the journal next to a complete report made it exit 70."""
    close = os.close

    def fail(fd: int) -> None:
        name = Path(f"/proc/self/fd/{fd}").readlink().name
        close(fd)
        if name.startswith("out"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def main() -> None:
        options = ReportOptions(output=str(tmp_path / "out"))
        async with open_report(options, now=NOW, notify=lambda _: None) as report:
            await report.write(failure())
            if is_committed:
                await report.commit()

    monkeypatch.setattr("auditor.report.writer.os.close", fail)
    if is_committed:
        anyio.run(main)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        return
    with pytest.raises(OutputError, match="cannot be written: Input/output error"):
        anyio.run(main)
    assert (tmp_path / "out.partial").read_bytes()


# -- streams -------------------------------------------------------------------


def test_devices_are_written_directly() -> None:
    write("/dev/null", LINE)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_named_pipe_is_written_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe, LINE * 10_000)  # more than the capacity of a pipe
    reader.join()
    assert read == [LINE * 10_000]
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_standard_output_gets_the_lines_and_stays_open(
    capfd: pytest.CaptureFixture[str],
) -> None:
    write("-", LINE, LINE)
    os.write(1, b"more\n")
    assert capfd.readouterr().out == LINE.decode() * 2 + "more\n"


def test_a_closed_standard_output_is_a_one_line_error() -> None:
    program = (
        "import anyio, sys\n"
        "from auditor.errors import OutputError\n"
        "from auditor.report.writer import ReportWriter\n"
        "async def main():\n"
        "    async with ReportWriter('-') as writer:\n"
        "        for _ in range(100):\n"
        "            await writer.write(b'x' * 70_000)\n"
        "try:\n"
        "    anyio.run(main)\n"
        "except OutputError as error:\n"
        "    print(error, file=sys.stderr)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        output_text = process.stderr.read().decode()
    assert output_text == (
        "standard output: the report cannot be written: Broken pipe: its reader has"
        " ended; -o FILE keeps a report\n"
    )


def test_the_commit_syncs_the_lines_before_the_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power cut could replace the last report by an empty file."""
    final = tmp_path / "out"
    synced: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(fd).st_mode), final.exists()))
        fsync(fd)

    monkeypatch.setattr("auditor.report.writer.os.fsync", noted)
    write(final, LINE)
    is_folder, has_name = True, True
    assert synced == [(not is_folder, not has_name), (is_folder, has_name)]


def test_a_record_that_comes_during_a_flush_stays_in_the_journal(
    tmp_path: Path,
) -> None:
    """No record waited when the checkpoint began; it dropped the one that came."""
    output = tmp_path / "out.jsonl"

    async def main() -> None:
        options = ReportOptions(output=str(output))
        async with open_report(options, now=NOW, notify=pytest.fail) as report:
            await report.write(failure())
            await report.checkpoint([failure(reference="late:1")], has_waiting=False)
            kept = (tmp_path / "out.jsonl.journal").read_bytes()
            assert kept.count(b"late:1") == 1
            await report.write(failure(reference="late:1"))
            await report.checkpoint([], has_waiting=False)
            kept = (tmp_path / "out.jsonl.journal").read_bytes()
            assert kept.count(b"late:1") == 0

    anyio.run(main)


def test_a_checkpoint_makes_the_report_durable_or_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    synced: list[int] = []

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def main() -> None:
        options = ReportOptions(output=str(output))
        async with open_report(options, now=NOW, notify=pytest.fail) as report:
            await report.write(failure())
            with monkeypatch.context() as patch:
                patch.setattr("auditor.report.writer.os.fdatasync", synced.append)
                await report.checkpoint([], has_waiting=False)
                assert report.writer._fd in synced
                patch.setattr(report.writer, "sync", fail)
                with pytest.raises(OutputError, match="cannot be written: Input/out"):
                    await report.checkpoint([], has_waiting=False)

    anyio.run(main)


def test_the_copy_that_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "out.jsonl.partial.copy"
    left.write_bytes(b"half")

    async def main() -> None:
        options = ReportOptions(output=str(tmp_path / "out.jsonl"))
        async with open_report(options, now=NOW, notify=pytest.fail):
            assert not left.exists()

    anyio.run(main)
