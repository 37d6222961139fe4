"""Files are replaced atomically, and symbolic links are not followed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from auditor.util.atomic_file import atomic_file, sync_directory


def test_the_file_appears_when_the_body_ends_and_the_partial_file_is_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")
    with atomic_file(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_closing_the_directory_does_not_undo_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, close = tmp_path / "summary.json", os.close

    def failing(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    with atomic_file(path) as stream, monkeypatch.context() as patch:
        stream.write(b"new")
        patch.setattr(os, "close", failing)
        sync_directory(tmp_path)
    assert path.read_bytes() == b"new"


def test_an_exception_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), atomic_file(path) as stream:
        stream.writelines([b"ne", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_symlink_with_the_name_of_the_partial_file_is_not_followed(
    tmp_path: Path,
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "out.partial").symlink_to(victim)
    with atomic_file(tmp_path / "out") as stream:
        stream.write(b"new")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "out").is_symlink()


def test_a_missing_directory_is_an_os_error(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError),
        atomic_file(tmp_path / "gone" / "out") as stream,
    ):
        stream.write(b"")


def test_devices_and_pipes_are_written_directly(tmp_path: Path) -> None:
    # Run as root, replacing /dev/null would leave a regular file there.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with atomic_file(pipe) as stream:
            stream.write(b"new")
        assert os.read(reader, 100) == b"new"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}", "{folder}/link"])
def test_open_files_are_appended_to(tmp_path: Path, name: str) -> None:
    # `--summary /dev/stdout > file`, `--summary >(jq .)`
    file = tmp_path / "file"
    with file.open("wb") as opened:
        opened.write(b"before, ")
        opened.flush()
        # Like /dev/stdout.
        (tmp_path / "link").symlink_to(f"/proc/self/fd/{opened.fileno()}")
        with atomic_file(Path(name.format(opened.fileno(), folder=tmp_path))) as stream:
            stream.write(b"after")
    assert file.read_bytes() == b"before, after"
    assert len(list(tmp_path.iterdir())) == 2


def test_other_symlinks_are_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "out"
    victim.write_bytes(b"precious")
    link.symlink_to(victim)
    with atomic_file(link) as stream:
        stream.write(b"new")
    assert (victim.read_bytes(), link.read_bytes()) == (b"precious", b"new")
    assert not link.is_symlink()


def test_the_file_and_its_directory_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append(stat.S_ISDIR(os.fstat(fd).st_mode))
    )
    with atomic_file(tmp_path / "report.json") as stream:
        stream.write(b"{}")
    assert synced == [False, True]
