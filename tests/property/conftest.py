from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# What an example leaves on disk at most is some MB.
ROOM_BYTES = 1024**3
MEMORY = Path("/dev/shm")  # noqa: S108 - folders with random names are made in it


@pytest.fixture(autouse=True, scope="module")
def temporary_files_in_memory() -> Iterator[None]:
    """Thousands of small databases, each written durably, are slow on a busy disk."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM_BYTES:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(MEMORY))
        yield
