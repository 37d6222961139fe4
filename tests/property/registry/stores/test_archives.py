"""A damaged archive is read, or refused with a sentence: nothing else is raised."""

from __future__ import annotations

import gzip
import io
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.registry.stores.store_contents import DockerArchiveContents, LayoutContents
from auditor.registry.stores.store_files import ArchiveFiles, StoreError


def _archive() -> bytes:
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("oci-layout", "index.json", "manifest.json", "ü" * 120):
            member = tarfile.TarInfo(name)
            member.size = 2
            tar.addfile(member, io.BytesIO(b"{}"))
    return tape.getvalue()[:6144]


ARCHIVE = _archive()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(ARCHIVE) - 1), st.integers(0, 255)), max_size=6
    ),
    length=st.integers(0, len(ARCHIVE)),
    compress=st.booleans(),
)
def test_a_damaged_archive_raises_nothing_else(
    tmp_path: Path, changes: list[tuple[int, int]], length: int, compress: bool
) -> None:
    data = bytearray(gzip.compress(ARCHIVE) if compress else ARCHIVE)
    for at, value in changes:
        data[at % len(data)] = value
    path = tmp_path / "x.tar"
    path.write_bytes(data[: length or None])
    with suppress(StoreError):
        files = ArchiveFiles(path, 4096)
        for make in (LayoutContents, DockerArchiveContents):
            with suppress(StoreError):
                make(files, "x.tar", 4096)


def test_the_archive_itself_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(ARCHIVE)
    assert ArchiveFiles(path, 4096).read("index.json", 4096) == b"{}"
    with pytest.raises(StoreError, match=r"index\.json"):
        LayoutContents(ArchiveFiles(path, 4096), "x.tar", 4096)
