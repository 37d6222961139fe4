"""A folder in memory, for stores that are written once and thrown away."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory with a random name is made in it


@contextmanager
def memory_folder(name: str, *, room: int, otherwise: Path) -> Iterator[Path]:
    """A new folder, in memory if there are `room` bytes; gone at the end of the block.

    A registry that waits for a busy disk after each blob takes ten times as long.
    """
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > room
    with TemporaryDirectory(prefix=name, dir=_MEMORY if roomy else otherwise) as place:
        yield Path(place)
