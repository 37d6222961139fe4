"""Where report lines go: a file that appears only when it is whole, or a stream."""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio.to_thread

from auditor.errors import OutputError
from auditor.report.resume import Kept

# Lines are written in pieces of this size: one system call for some dozen records.
PIECE_BYTES = 64 * 1024
# What a reader of standard output may take to read the last lines when the program is
# told to end at once: a person waits.
LAST_LINES_S = 0.5


class ReportWriter:
    """Writes to `OUT.partial`, which `commit` renames to `OUT`.

    Standard output, pipes and devices are written as they are. Use it as an async
    context manager; leaving it without `commit` keeps the partial file. Every problem
    is an `OutputError` that names the file. `appends`: to what the partial file holds.
    """

    def __init__(self, output: str) -> None:
        self._name = "standard output" if output == "-" else output
        self.final: Path | None = None
        self.appends = False
        # How many bytes were taken, by a disk or by a reader.
        self.written = 0
        self._buffer = bytearray()
        self._fd = -1
        self._flushing = anyio.Lock()
        self._writing = threading.Lock()
        if output == "-":
            return
        path = Path(output)
        try:
            if path.is_dir():
                raise OutputError(f"{output}: is a directory; name a file in it")
            if path.exists() and not stat.S_ISREG(path.stat().st_mode):
                self._fd = os.open(path, os.O_WRONLY)
                return
            self.final = path.resolve()
        except (OSError, ValueError) as error:
            raise self.error(error) from None

    @property
    def partial(self) -> Path | None:
        """The file that holds the lines until they are whole; null for a stream."""
        if self.final is None:
            return None
        return self.final.with_name(self.final.name + ".partial")

    async def __aenter__(self) -> Self:
        partial = self.partial
        try:
            if partial is not None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
                if not self.appends:
                    # A file of our own: one that is there may be open elsewhere.
                    if partial.is_file() and not partial.is_symlink():
                        partial.unlink()
                    flags |= os.O_EXCL
                self._fd = os.open(partial, flags, 0o644)
            elif self._fd < 0:
                sys.stdout.flush()
                self._fd = os.dup(sys.stdout.fileno())
        except (OSError, ValueError) as error:
            raise self.error(error) from None
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self.flush()
        except OutputError:
            if exc is None:
                raise
        finally:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    async def write(self, lines: bytes) -> None:
        """Add whole lines."""
        self._buffer += lines
        if len(self._buffer) >= PIECE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Hand what was written to the operating system."""
        async with self._flushing:
            piece, self._buffer = bytes(self._buffer), bytearray()
            if not piece:
                return
            try:
                if self.final is not None:
                    self._write(piece)
                else:
                    # A reader that does not read must hold up us, not the event loop.
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(self._write, piece)
            except OSError as error:
                raise self.error(error) from None

    def sync(self) -> None:
        """Make what was flushed durable. Raises `OSError`."""
        os.fdatasync(self._fd)

    def save(self, more: bytes = b"") -> None:
        """Hand over what was written and `more`, whatever else goes on.

        For the last moment of a program: a reader that does not read is not waited
        for.
        """
        piece, self._buffer = bytes(self._buffer) + more, bytearray()

        def write() -> None:
            with suppress(OSError):
                self._write(piece)

        # A piece that is being written comes before, whole or not at all.
        last = threading.Thread(target=write, daemon=True)
        last.start()
        last.join(LAST_LINES_S)

    def _write(self, piece: bytes) -> None:
        with self._writing:
            write_all(self._fd, piece)
            self.written += len(piece)

    async def commit(
        self, kept: Kept | None = None, *, in_input_order: bool = True
    ) -> None:
        """Make it durable and give it its final name.

        With records `kept` of an earlier run, what the input does not ask for is left
        out, and the others are put in the input's order.
        """
        await self.flush()
        partial, final = self.partial, self.final
        if partial is None or final is None:
            return
        try:
            os.fsync(self._fd)
            whole = partial
            if kept is not None:
                whole = await anyio.to_thread.run_sync(
                    _arranged, partial, kept, in_input_order
                )
            whole.replace(final)
            folder = os.open(final.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            if whole is not partial:
                partial.unlink()
        except OSError as error:
            raise self.error(error) from None

    def error(self, error: Exception) -> OutputError:
        """The sentence for what went wrong."""
        reason = getattr(error, "strerror", None) or str(error)
        return OutputError(f"{self._name}: the report cannot be written: {reason}")


def _arranged(partial: Path, kept: Kept, in_input_order: bool) -> Path:
    """The file that is the whole report: `partial`, or a copy in the right order."""
    pieces = kept.pieces(in_input_order=in_input_order)
    first = next(pieces, (0, 0))
    if first == (0, partial.stat().st_size):
        return partial
    copy = partial.with_name(partial.name + ".sorted")
    copy.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(copy, flags, 0o644), "wb", PIECE_BYTES) as stream:
        kept.copy(chain([first], pieces), stream)
        stream.flush()
        os.fsync(stream.fileno())
    return copy


def write_all(fd: int, piece: bytes) -> None:
    """Write every byte, in as many calls as it takes. Raises `OSError`."""
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]
