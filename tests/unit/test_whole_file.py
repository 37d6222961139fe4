"""A file appears when it is whole, and nobody's link is written through."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.reports.whole_file import whole_file


def test_it_appears_at_the_end_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")
    with whole_file(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_exception_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), whole_file(path) as stream:
        stream.writelines([b"ne", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(
    tmp_path: Path,
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "out.partial").symlink_to(victim)
    with whole_file(tmp_path / "out") as stream:
        stream.write(b"new")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "out").is_symlink()


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError),
        whole_file(tmp_path / "gone" / "out") as stream,
    ):
        stream.write(b"")
