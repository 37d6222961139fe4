"""Where report lines go: a file that appears only when it is whole, or a stream."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio.to_thread

from auditor.errors import OutputError

# Lines are written in pieces of this size: one system call for some dozen records.
PIECE_BYTES = 64 * 1024


class ReportWriter:
    """Writes to `OUT.partial`, which `commit` renames to `OUT`.

    Standard output, pipes and devices are written as they are. Use it as an async
    context manager; leaving it without `commit` keeps the partial file. Every problem
    is an `OutputError` that names the file.
    """

    def __init__(self, output: str) -> None:
        self._name = "standard output" if output == "-" else output
        self._final: Path | None = None
        self._buffer = bytearray()
        self._fd = -1
        if output == "-":
            return
        path = Path(output)
        try:
            if path.is_dir():
                raise OutputError(f"{output}: is a directory; name a file in it")
            if path.exists() and not stat.S_ISREG(path.stat().st_mode):
                self._fd = os.open(path, os.O_WRONLY)
                return
            self._final = path.resolve()
        except (OSError, ValueError) as error:
            raise self._error(error) from None

    @property
    def partial(self) -> Path | None:
        """The file that holds the lines until they are whole; null for a stream."""
        if self._final is None:
            return None
        return self._final.with_name(self._final.name + ".partial")

    async def __aenter__(self) -> Self:
        partial = self.partial
        try:
            if partial is not None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                self._fd = os.open(partial, flags, 0o644)
            elif self._fd < 0:
                sys.stdout.flush()
                self._fd = os.dup(sys.stdout.fileno())
        except (OSError, ValueError) as error:
            raise self._error(error) from None
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
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
        piece, self._buffer = bytes(self._buffer), bytearray()
        if not piece:
            return
        try:
            if self._final is not None:
                _write_all(self._fd, piece)
            else:
                # A reader that does not read must hold up us, not the event loop.
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(_write_all, self._fd, piece)
        except OSError as error:
            raise self._error(error) from None

    async def commit(self) -> None:
        """Make it durable and give it its final name."""
        await self.flush()
        partial = self.partial
        if partial is None or self._final is None:
            return
        try:
            os.fsync(self._fd)
            partial.replace(self._final)
            folder = os.open(self._final.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._error(error) from None

    def _error(self, error: Exception) -> OutputError:
        reason = getattr(error, "strerror", None) or str(error)
        return OutputError(f"{self._name}: the report cannot be written: {reason}")


def _write_all(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]
