"""The files of a store: in a folder, or members of a tar archive.

Names are relative, with `/`. Only regular files count: a FIFO would block, and a
device never ends. An archive is never unpacked; members that are sparse or lead
outside its root are not read.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import IO, BinaryIO, Protocol

from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text

# Members of an archive, some 1,500 bytes each while it is read: 30 MB.
MAX_MEMBERS = 20_000
# Bytes of the documents that are kept of a compressed archive, which is read once.
MAX_KEPT_BYTES = 256 * 1024 * 1024
# A header that tarfile reads as a whole: a long name, or the records of pax. A path has
# at most 4,096 bytes; a few attributes may stand beside it.
MAX_HEADER_BYTES = 1024 * 1024
# A gzip member begins with these bytes (RFC 1952).
GZIP = b"\x1f\x8b"
# zstd (RFC 8878), xz and bzip2, which containers/image also unpacks.
_OTHER_COMPRESSIONS = (b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"BZh")
_CHUNK_BYTES = 1024 * 1024
_DESCRIBING = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
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


class FolderFiles:
    """The files below a folder."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            reason = "not a folder" if folder.exists() else "no such folder"
            raise _unreadable(folder, reason)
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
    """A member: its bytes are in the file at `offset`, or `data` if they were kept.

    `unpacked` is the size without its own compression, if it is known already.
    """

    size: int
    offset: int | None
    data: bytes | None
    unpacked: int | None


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
            head = stream.read(6)
            if head.startswith(_OTHER_COMPRESSIONS):
                raise _unreadable(
                    path, "compressed, and not with gzip; decompress it first"
                )
            is_plain = not head.startswith(GZIP)
            stream.seek(0)
            try:
                with tarfile.open(
                    fileobj=stream if is_plain else gzip.GzipFile(fileobj=stream),
                    mode="r:" if is_plain else "r|",
                    tarinfo=_Header,
                ) as tar:
                    self._index(tar, is_plain=is_plain, max_bytes=max_bytes)
            except _HeaderTooLargeError:
                raise StoreError(
                    f"{_shown(path)}: a header in it has more than"
                    f" {MAX_HEADER_BYTES:,} bytes",
                    FailureKind.TOO_LARGE,
                ) from None
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
            elif name is not None and member.islnk():
                # tar writes files of a folder that are one file so.
                self._links[name] = normpath(member.linkname)
            if name is None or not member.isreg() or member.issparse():
                continue
            data = unpacked = None
            extracted = None if is_plain else tar.extractfile(member)
            if extracted is not None and member.size > max_bytes:
                unpacked = _unpacked_size(extracted, name, member.size)
            elif extracted is not None:
                data = extracted.read()
                unpacked = _unpacked_size(io.BytesIO(data), name, member.size)
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
            self._members[name] = _Member(member.size, offset, data, unpacked)

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

    def unpacked_size(self, name: str) -> int | None:
        """The bytes of a file without its compression; None if it does not exist.

        A file that is compressed is read to its end. Raises `StoreError`.
        """
        member = self._member(name)
        if member is None or member.offset is None:
            return None if member is None else member.unpacked
        stream = _open_regular(self._path)
        if stream is None:
            raise _unreadable(self._path, "it was removed")
        with stream:
            stream.seek(member.offset)
            return _unpacked_size(stream, name, member.size)

    def _member(self, name: str) -> _Member | None:
        return self._members.get(self._links.get(name, name))


class _HeaderTooLargeError(Exception):
    """A header that would take too much memory."""


class _Header(tarfile.TarInfo):
    """A member of at most `MAX_HEADER_BYTES` if it only describes the next one.

    tarfile reads these into memory, and some bytes of gzip become gigabytes.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """See `TarInfo`. Raises `_HeaderTooLargeError`."""
        header = super().frombuf(buf, encoding, errors)
        if header.size > MAX_HEADER_BYTES and header.type in _DESCRIBING:
            raise _HeaderTooLargeError
        return header


def _unpacked_size(stream: IO[bytes], name: str, size: int) -> int:
    """The bytes of the next `size` bytes without their compression."""
    head = stream.read(min(size, 6))
    if head.startswith(_OTHER_COMPRESSIONS):
        raise StoreError(
            f"{safe_text(name, 200)}: compressed, and not with gzip",
            FailureKind.PROTOCOL_VIOLATION,
        )
    if not head.startswith(GZIP):
        return size
    unpacker, total, left = zlib.decompressobj(wbits=31), 0, size - len(head)
    chunk = head
    try:
        while chunk:
            while chunk:
                total += len(unpacker.decompress(chunk, _CHUNK_BYTES))
                chunk = unpacker.unconsumed_tail
            if unpacker.eof and unpacker.unused_data:
                # Another gzip member (RFC 1952 section 2.2).
                chunk = unpacker.unused_data
                unpacker = zlib.decompressobj(wbits=31)
                continue
            chunk = stream.read(min(left, _CHUNK_BYTES))
            left -= len(chunk)
    except zlib.error:
        total = -1
    if total < 0 or not unpacker.eof:
        raise StoreError(
            f"{safe_text(name, 200)}: damaged gzip", FailureKind.PROTOCOL_VIOLATION
        )
    return total


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
