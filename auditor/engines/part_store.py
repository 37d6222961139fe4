"""Parts on any file system that fsspec knows: shared storage, an object store."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import fsspec

from auditor.errors import UsageError
from auditor.input.lists import STANDARD_INPUT, list_name, open_list
from auditor.report.merge import SUFFIX
from auditor.scale.parts import is_ours, is_url, locked_folder, part_name
from auditor.util.shard import Shard

_COPY_BYTES = 4 * 1024 * 1024


class PartStore:
    """Parts below a URL or a path that all workers see."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") if is_url(url) else str(Path(url).absolute())
        try:
            found: tuple[Any, str] = fsspec.core.url_to_fs(self.url)
            self._files, self._folder = found
            self._files.makedirs(self._folder, exist_ok=True)
        except (ImportError, OSError, ValueError) as error:
            raise UsageError(f"--parts: {url}: cannot be used: {error}") from None

    def name(self, shard: Shard) -> str:
        """The report of a share, as `open_part` takes it."""
        return f"{self.url}/{part_name(shard)}"

    def put(self, report: Path, shard: Shard) -> None:
        """Leave the report of a share, and then its shard file."""
        for suffix in ("", SUFFIX):
            target = f"{self._folder}/{part_name(shard)}{suffix}"
            # Two workers may do the same share, of which one was thought lost, and
            # nobody may see half a file under its final name.
            half = f"{target}.{report.parent.name}.half"
            with (
                report.with_name(report.name + suffix).open("rb") as source,
                self._files.open(half, "wb") as into,
            ):
                shutil.copyfileobj(source, into, _COPY_BYTES)
            self._files.mv(half, target)

    def put_lists(
        self, lists: Iterable[str], *, stdin: Path | None = None
    ) -> tuple[tuple[str, str], ...]:
        """Leave copies of lists for all (`stdin` is that of the standard input): the
        names by which `open_part` finds them, and those that places are said to be in.
        """
        names = []
        for number, path in enumerate(lists):
            name = f"input-{number}"
            is_stdin = path == STANDARD_INPUT and stdin is not None
            with (
                open_list(str(stdin) if is_stdin else path) as data,
                self._files.open(f"{self._folder}/{name}", "wb") as into,
            ):
                shutil.copyfileobj(data, into, _COPY_BYTES)
            names.append((f"{self.url}/{name}", list_name(path)))
        return tuple(names)

    def locked(self) -> AbstractContextManager[None]:
        """The folder, for one run alone; what a URL names cannot be locked."""
        return nullcontext() if is_url(self.url) else locked_folder(Path(self.url))

    def clear(self) -> None:
        """Take away whatever runs have left here."""
        for found in self._files.ls(self._folder, detail=True):
            path = str(found["name"])
            if is_ours(path.rpartition("/")[2]) and found["type"] == "file":
                self._files.rm(path)

    def remove(self) -> None:
        """The same, and the place itself, if there is nothing else in it."""
        self.clear()
        with suppress(OSError):
            self._files.rmdir(self._folder)
