"""Where shards write their reports: a local folder, or any URL that fsspec supports.

`NUMBER-of-COUNT.jsonl` is the report of a shard. It is complete if its shard file is
next to it, which is written last.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path, PurePath
from typing import Any, BinaryIO, cast

from auditor.errors import LockedError, OutputError, UsageError
from auditor.input.list_reader import STANDARD_INPUT, list_name, open_list
from auditor.report.shard_file import SHARD_SUFFIX, ShardReport
from auditor.util.atomic_file import sync_directory
from auditor.util.compressed_file import decompressing
from auditor.util.shard import Shard

_SCHEME = "://"
# Files that runs write here: reports of shards with their side files, and copies of
# input lists. The folder may hold other files, which are never touched.
_SHARD_FILE = re.compile(
    r"[0-9]+-of-[0-9]+\.(summary|metrics|jsonl(\..+)?)|input-([0-9]+|stdin)|auditor-merged"
)
# Exists when the reports of all shards are merged into a complete file, which is only
# to be renamed.
_MERGED = "auditor-merged"
_COPY_BYTES = 4 * 1024 * 1024


class ShardDir:
    """The folder for the reports of one run's shards: a path or URL."""

    def __init__(self, place: str) -> None:
        self.place = place

    def name(self, shard: Shard) -> str:
        """The path or URL of a shard's report."""
        return f"{self.place}/{report_name(shard)}"

    def locked(self) -> AbstractContextManager[None]:
        """Lock a folder for this run, or raise `LockedError`; a URL has no lock."""
        return nullcontext() if is_url(self.place) else _locked_folder(Path(self.place))

    def mark_merged(self) -> None:
        """Note that the merged report is complete, before it gets its name."""
        raise NotImplementedError

    def is_merged(self) -> bool:
        """Whether the merged report was complete."""
        raise NotImplementedError

    def discard(self, shard: Shard) -> None:
        """Make the report of a shard incomplete: it is audited again."""
        raise NotImplementedError

    def clear(self) -> None:
        """Remove the files of earlier runs; the note of `mark_merged` last."""
        raise NotImplementedError

    def remove(self) -> None:
        """Remove the files, and the folder if it is empty then."""
        raise NotImplementedError


def report_name(shard: Shard) -> str:
    """The file name of a shard's report."""
    return f"{shard.number}-of-{shard.of}.jsonl"


def is_url(place: str) -> bool:
    """Whether this is a URL for fsspec rather than a path."""
    return _SCHEME in place


def complete_report(shard_dir: ShardDir, shard: Shard) -> ShardReport | None:
    """The report of a shard; None without one of the size in its shard file."""
    name = shard_dir.name(shard)
    with suppress(UsageError):
        with open_by_name(name + SHARD_SUFFIX) as stream:
            report = ShardReport.read(stream, name)
        with open_by_name(name) as stream:
            if stream.seek(0, os.SEEK_END) == report.bytes:
                return report
    return None


@contextmanager
def open_by_name(name: str) -> Iterator[BinaryIO]:
    """Open a path or URL for reading, or raise `UsageError`.

    A file `.gz` or `.zst` is decompressed.
    """
    try:
        if is_url(name):
            import fsspec  # noqa: PLC0415  (an extra)

            opened = fsspec.open(name, "rb")
        else:
            opened = Path(name).open("rb")  # noqa: SIM115  (below)
        with opened as stream:
            yield cast("BinaryIO", decompressing(stream, name))
    except FileNotFoundError:
        report = name.removesuffix(SHARD_SUFFIX)
        hint = (
            f": {report} is not the complete report of a shard"
            " (audit --shard writes this file next to it)"
        )
        raise UsageError(
            f"{name}: no such file{'' if report == name else hint}"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise UsageError(f"{name}: cannot be read: {reason}") from None


# -- local folder ----------------------------------------------------------------


class LocalShardDir(ShardDir):
    """Reports in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be created for the reports of shards:"
                f" {error.strerror}"
            ) from None

    def path(self, shard: Shard) -> Path:
        """The path of a shard's report."""
        return self.folder / report_name(shard)

    def mark_merged(self) -> None:
        """Note that the merged report is complete."""
        (self.folder / _MERGED).touch()
        sync_directory(self.folder)

    def is_merged(self) -> bool:
        """Whether the merged report was complete."""
        return (self.folder / _MERGED).exists()

    def discard(self, shard: Shard) -> None:
        """Make the report of a shard incomplete: it is audited again."""
        path = self.path(shard)
        path.with_name(path.name + SHARD_SUFFIX).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the files of earlier runs."""
        for path in sorted(self.folder.iterdir(), key=_merged_last):
            if _SHARD_FILE.fullmatch(path.name) and not path.is_dir():
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the files, and the folder itself if it is empty then."""
        self.clear()
        with suppress(OSError):
            self.folder.rmdir()


def _merged_last(path: Path | str) -> bool:
    return PurePath(path).name == _MERGED


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Lock a folder, where its file system supports locks (NFS may not)."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise LockedError(
            f"{folder}: another run writes the reports of its shards there; choose"
            " another --shard-dir"
        ) from None
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(fd)


def make_default_folder(folder: Path) -> None:
    """Create the folder next to the report, or check that it belongs to this user.

    Raises `OutputError` for a link and for another user's folder: a user who can write
    next to the report must not choose which files are removed and written.
    """
    try:
        folder.mkdir(exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise _folder_error(folder, error.strerror) from None
    if not stat.S_ISDIR(status.st_mode):
        raise _folder_error(folder, "it is a link")
    if status.st_uid != os.geteuid():
        raise _folder_error(folder, "it belongs to another user")


def _folder_error(folder: Path, reason: object) -> OutputError:
    return OutputError(
        f"{folder}: cannot hold the reports of shards: {reason}; choose another"
        " --shard-dir"
    )


# -- fsspec ----------------------------------------------------------------------


class RemoteShardDir(ShardDir):
    """Reports below a URL or path that all workers see."""

    def __init__(self, url: str) -> None:
        import fsspec  # noqa: PLC0415  (an extra)

        super().__init__(url.rstrip("/") if is_url(url) else str(Path(url).absolute()))
        try:
            file_system: tuple[Any, str] = fsspec.core.url_to_fs(self.place)
            self._files, self._folder = file_system
            self._files.makedirs(self._folder, exist_ok=True)
        except (ImportError, OSError, ValueError) as error:
            raise UsageError(f"--shard-dir: {url}: cannot be used: {error}") from None

    def put(self, report: Path, shard: Shard) -> None:
        """Upload the report of a shard, and then its shard file."""
        for suffix in ("", SHARD_SUFFIX):
            target = f"{self._folder}/{report_name(shard)}{suffix}"
            # Two workers may upload the same shard, if one was believed lost; no reader
            # may see half a file under its final name.
            temporary = f"{target}.{report.parent.name}.half"
            with (
                report.with_name(report.name + suffix).open("rb") as source,
                self._files.open(temporary, "wb") as into,
            ):
                shutil.copyfileobj(source, into, _COPY_BYTES)
            self._files.mv(temporary, target)

    def put_lists(
        self, lists: Iterable[str], *, stdin: Path | None
    ) -> tuple[tuple[str, str], ...]:
        """Upload copies of input lists; `stdin` is the file of standard input.

        Returns, for each list, its name for `open_by_name` and its name in messages.
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
            names.append((f"{self.place}/{name}", list_name(path)))
        return tuple(names)

    def mark_merged(self) -> None:
        """Note that the merged report is complete."""
        self._files.touch(f"{self._folder}/{_MERGED}")

    def is_merged(self) -> bool:
        """Whether the merged report was complete."""
        return bool(self._files.exists(f"{self._folder}/{_MERGED}"))

    def discard(self, shard: Shard) -> None:
        """Make the report of a shard incomplete: it is audited again."""
        path = f"{self._folder}/{report_name(shard)}{SHARD_SUFFIX}"
        with suppress(FileNotFoundError):
            self._files.rm(path)

    def clear(self) -> None:
        """Remove the files of earlier runs."""
        entries = self._files.ls(self._folder, detail=True)
        for entry in sorted(entries, key=lambda entry: _merged_last(entry["name"])):
            path = str(entry["name"])
            name = path.rpartition("/")[2]
            if _SHARD_FILE.fullmatch(name) and entry["type"] == "file":
                self._files.rm(path)

    def remove(self) -> None:
        """Remove the files, and the folder if it is empty then."""
        self.clear()
        with suppress(OSError):
            self._files.rmdir(self._folder)
