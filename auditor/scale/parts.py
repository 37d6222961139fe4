"""Where the shares of a run leave their reports: a folder, or an object store.

`NUMBER-of-COUNT.jsonl` is the report of a share. It is whole when its shard file
stands beside it, which is put there last.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import fsspec

from auditor.errors import LockedError, OutputError, UsageError
from auditor.input.lists import STANDARD_INPUT, list_name, open_list
from auditor.report.shard_file import SHARD_SUFFIX, ShardInfo
from auditor.util.shard import Shard

# "scheme://", as fsspec has it.
_SCHEME = "://"
# Names of what runs leave here: a share's report with all that stands beside it, and
# copies of lists. The place may be a folder that holds other things, too.
_OURS = re.compile(
    r"[0-9]+-of-[0-9]+\.(summary|metrics|jsonl(\..+)?)|input-([0-9]+|stdin)"
)


def part_name(shard: Shard) -> str:
    """The file name of a share's report."""
    return f"{shard.number}-of-{shard.of}.jsonl"


def is_ours(name: str) -> bool:
    """Whether a file of this name is one that a run left among its parts."""
    return _OURS.fullmatch(name) is not None


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """A folder of parts, for one run alone: two would take each other's for theirs.

    Raises `LockedError`. Where a folder cannot be locked (NFS), nothing is.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise LockedError(
            f"{folder}: another run leaves its parts there; name another place with"
            " --shard-dir"
        ) from None
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(fd)


def own_folder(folder: Path) -> None:
    """Make the folder that nobody named, or see that it is one of ours.

    Raises `OutputError` for a link and for what is somebody else's: who can write
    beside the report is not to choose what we clear and write elsewhere.
    """
    try:
        folder.mkdir(exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise _no_folder(folder, error.strerror) from None
    if not stat.S_ISDIR(found.st_mode):
        raise _no_folder(folder, "a link is in its place")
    if found.st_uid != os.geteuid():
        raise _no_folder(folder, "somebody else's is in its place")


def _no_folder(folder: Path, why: object) -> OutputError:
    return OutputError(
        f"{folder}: cannot be made, for the reports of shares: {why}"
        " (--shard-dir names another place)"
    )


@contextmanager
def open_part(name: str) -> Iterator[BinaryIO]:
    """A file by path or URL, for reading; `UsageError` where that cannot be."""
    try:
        if _SCHEME in name:
            import fsspec  # noqa: PLC0415  (an extra)

            with fsspec.open(name, "rb") as stream:
                yield cast("BinaryIO", stream)
        else:
            with Path(name).open("rb") as stream:
                yield stream
    except FileNotFoundError:
        raise _missing(name) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"{name}: cannot be read: {reason}") from None


def _missing(name: str) -> UsageError:
    if name.endswith(SHARD_SUFFIX):
        report = name.removesuffix(SHARD_SUFFIX)
        return UsageError(
            f"{name}: no such file: {report} is not the whole report of a share"
            " (audit --shard leaves one beside it)"
        )
    return UsageError(f"{name}: no such file")


class Parts(Protocol):
    """A place for the parts of one run."""

    def name(self, shard: Shard) -> str:
        """The report of a share, as `open_part` takes it."""

    def locked(self) -> AbstractContextManager[None]:
        """The place, for one run alone; raises `LockedError`."""

    def clear(self) -> None:
        """Take away whatever runs have left here."""

    def remove(self) -> None:
        """The same, and the place itself, if there is nothing else in it."""


def is_url(place: str) -> bool:
    """Whether it is for fsspec rather than a path."""
    return _SCHEME in place


def whole_part(parts: Parts, shard: Shard) -> ShardInfo | None:
    """What the shard file of a share says; null where there is no whole one, or where
    the report is not the one that it was made for."""
    report = parts.name(shard)
    name = report + SHARD_SUFFIX
    with suppress(UsageError):
        with open_part(name) as stream:
            head = ShardInfo.read(stream, name)
        with open_part(report) as stream:
            if stream.seek(0, os.SEEK_END) == head.bytes:
                return head
    return None


class PartFolder:
    """Parts in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be made, for the reports of shares: {error.strerror}"
            ) from None

    def path(self, shard: Shard) -> Path:
        """The report of a share."""
        return self.folder / part_name(shard)

    def name(self, shard: Shard) -> str:
        """The report of a share, as `open_part` takes it."""
        return str(self.path(shard))

    def locked(self) -> AbstractContextManager[None]:
        """The folder, for one run alone; raises `LockedError`."""
        return locked_folder(self.folder)

    def clear(self) -> None:
        """Take away whatever runs have left here."""
        for path in list(self.folder.iterdir()):
            if is_ours(path.name) and not path.is_dir():
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """The same, and the folder itself, if there is nothing else in it."""
        self.clear()
        with suppress(OSError):
            self.folder.rmdir()


# -- part_store --
# Parts on any file system that fsspec knows: shared storage, an object store.

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
            raise UsageError(f"--shard-dir: {url}: cannot be used: {error}") from None

    def name(self, shard: Shard) -> str:
        """The report of a share, as `open_part` takes it."""
        return f"{self.url}/{part_name(shard)}"

    def put(self, report: Path, shard: Shard) -> None:
        """Leave the report of a share, and then its shard file."""
        for suffix in ("", SHARD_SUFFIX):
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
