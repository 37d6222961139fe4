"""The files of a store: in a folder, or members of a tar archive.

Names are relative, with `/`. Only regular files count: a FIFO would block, and a
device never ends. An archive is never unpacked; members that are sparse or lead
outside its root are not read.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import BinaryIO, Protocol

from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text

# Members of an archive, some 1,500 bytes each while it is read: 30 MB.
MAX_MEMBERS = 20_000
# Bytes of the documents that are kept of a compressed archive, which is read once.
MAX_KEPT_BYTES = 256 * 1024 * 1024
# A gzip member begins with these bytes (RFC 1952).
GZIP = b"\x1f\x8b"
# What tarfile and gzip raise for damaged archives.
_DAMAGED = (
    tarfile.TarError,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    ArithmeticError,
    LookupError,
)


class StoreError(Exception):
    """Why a store or a file of it cannot be read; `failure` has the sentence."""

    def __init__(self, detail: str, kind: FailureKind) -> None:
        super().__init__(detail)
        self.failure = Failure(kind=kind, detail=detail)


class StoreFiles(Protocol):
    """The files of one store. Methods raise `StoreError`."""

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """The content of a file; None if it does not exist."""

    def size(self, name: str) -> int | None:
        """The bytes of a file; None if it does not exist."""


def open_store(path: Path, *, is_archive: bool, max_bytes: int) -> StoreFiles:
    """The files of the folder or archive at `path`. Raises `StoreError`.

    `max_bytes` is the size of the largest document that will be read.
    """
    if is_archive:
        return ArchiveFiles(path, max_bytes)
    if not path.is_dir():
        raise _unreadable(path, "not a folder" if path.exists() else "no such folder")
    return FolderFiles(path)


class FolderFiles:
    """The files below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """See `StoreFiles`."""
        stream = _open_regular(self._folder / name)
        if stream is None:
            return None
        with stream:
            return _read(stream, name, max_bytes)

    def size(self, name: str) -> int | None:
        """See `StoreFiles`."""
        stream = _open_regular(self._folder / name)
        if stream is None:
            return None
        with stream:
            return os.fstat(stream.fileno()).st_size


@dataclass(frozen=True, slots=True)
class _Member:
    """A member: its bytes are in the file at `offset`, or `data` if they were kept."""

    size: int
    offset: int | None
    data: bytes | None


class ArchiveFiles:
    """The regular members of a tar archive, which may be compressed.

    The archive is read once, from its begin to its end; of one that is not compressed,
    only the headers. The last member of a name counts, as for tar.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._members: dict[str, _Member] = {}
        self._links: dict[str, str] = {}
        stream = _open_regular(path)
        if stream is None:
            raise _unreadable(path, "no such file")
        with stream:
            is_plain = stream.read(2) != GZIP
            stream.seek(0)
            try:
                with tarfile.open(
                    fileobj=stream if is_plain else gzip.GzipFile(fileobj=stream),
                    mode="r:" if is_plain else "r|",
                ) as tar:
                    self._index(tar, is_plain=is_plain, max_bytes=max_bytes)
            except _DAMAGED as error:
                raise _unreadable(
                    path, f"not a tar archive, also not with gzip ({error})"
                ) from None

    def _index(self, tar: tarfile.TarFile, *, is_plain: bool, max_bytes: int) -> None:
        kept = 0
        for number, member in enumerate(tar):
            if number >= MAX_MEMBERS:
                raise StoreError(
                    f"{_shown(self._path)}: more than {MAX_MEMBERS} members",
                    FailureKind.TOO_LARGE,
                )
            name = _member_name(member.name)
            if name is not None and member.issym():
                # docker save links layers that are equal.
                target = normpath(f"{PurePosixPath(name).parent}/{member.linkname}")
                self._links[name] = target
            if name is None or not member.isreg() or member.issparse():
                continue
            data = None
            if not is_plain and member.size <= max_bytes:
                extracted = tar.extractfile(member)
                data = extracted.read() if extracted else b""
                if data.lstrip()[:1] not in (b"{", b"["):
                    data = None  # no document
            kept += len(data or b"")
            if kept > MAX_KEPT_BYTES:
                raise StoreError(
                    f"{_shown(self._path)}: its documents take more than"
                    f" {MAX_KEPT_BYTES} bytes; decompress it first",
                    FailureKind.TOO_LARGE,
                )
            offset = member.offset_data if is_plain else None
            self._members[name] = _Member(member.size, offset, data)

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """See `StoreFiles`."""
        member = self._member(name)
        if member is None:
            return None
        if member.size > max_bytes:
            raise _too_large(name, max_bytes)
        if member.data is not None:
            return member.data
        if member.offset is None:
            raise StoreError(
                f"{safe_text(name, 200)} is no JSON, and is not read in a compressed"
                " archive; decompress it first",
                FailureKind.PROTOCOL_VIOLATION,
            )
        stream = _open_regular(self._path)
        if stream is None:
            raise _unreadable(self._path, "it was removed")
        with stream:
            stream.seek(member.offset)
            return stream.read(member.size)

    def size(self, name: str) -> int | None:
        """See `StoreFiles`."""
        member = self._member(name)
        return None if member is None else member.size

    def _member(self, name: str) -> _Member | None:
        return self._members.get(self._links.get(name, name))


def _member_name(name: str) -> str | None:
    """The normalised name of a member, None if it is outside the archive's root."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return None
    return str(path)


def _open_regular(path: Path) -> BinaryIO | None:
    """Open a regular file; None if there is none. Raises `StoreError`."""
    try:
        # A FIFO without a writer would block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error.strerror or "") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unreadable(path, "not a regular file")
    return os.fdopen(descriptor, "rb")


def _read(stream: BinaryIO, name: str, max_bytes: int) -> bytes:
    data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise _too_large(name, max_bytes)
    return data


def _too_large(name: str, max_bytes: int) -> StoreError:
    return StoreError(
        f"{safe_text(name, 200)}: larger than {max_bytes} bytes (--max-manifest-bytes)",
        FailureKind.TOO_LARGE,
    )


def _unreadable(path: Path, reason: str) -> StoreError:
    missing = reason.startswith("no such")
    return StoreError(
        f"{_shown(path)}: cannot be read: {reason}",
        FailureKind.NOT_FOUND if missing else FailureKind.PROTOCOL_VIOLATION,
    )


def _shown(path: Path) -> str:
    return safe_text(str(path), 200)
