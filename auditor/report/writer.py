"""The report of one run: locked, crash-safe, and complete when it has its name.

    OUT                 the last complete report, replaced when the new one is complete
    OUT.partial         the new report; lines are only ever appended
    OUT.journal         the lock, the run's settings, records finished out of turn
    OUT.partial.old     an unfinished earlier report, until the new one is complete
    OUT.partial.copy    the complete report while it is copied: a resumed one into input
                        order, one named `.gz` or `.zst` compressed

The last change of a run is the rename of `OUT.partial` to `OUT`: the complete copy has
replaced the partial file before, and the journal has no records any more. So a kill at
any moment leaves either an unfinished report or a complete one, and never a complete
report next to files that look unfinished.

Until then the partial file has plain lines, also of a compressed report: a torn line
can be cut off, records can be read by their offset, and `tail -f` works. It takes the
disk space of the plain report, and its compressed copy a fifth of that for a moment.

`ReportWriter` appends bytes to the partial file or to a stream; `Report` encodes
records, keeps the journal and finishes both; `open_report` puts them together.
"""

from __future__ import annotations

import functools
import math
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import field
from itertools import chain
from pathlib import Path
from typing import Any, Self

import anyio.to_thread

from auditor.errors import OutputError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import Order, Record, Shape
from auditor.report.locked_journal import Journal, write_all
from auditor.report.resume import (
    begin_or_resume,
    copy_name,
    has_content,
    set_aside_names,
)
from auditor.report.resume_index import KeptRecords, ResumeIndex, copy_ranges
from auditor.report.shapes import encoder
from auditor.util.atomic_file import replace_durably
from auditor.util.compressed_file import compressing, is_compressed

# Lines are written in pieces of this size: one system call for some dozen records.
PIECE_BYTES = 64 * 1024
# How long a program that must quit now waits for the reader of its output.
LAST_LINES_S = 0.5


class ReportWriter:
    """Appends lines to `OUT.partial`, which `commit` renames to `OUT`.

    Standard output, pipes and devices are written directly. Use it as an async context
    manager; leaving it without `commit` keeps the partial file. Every problem is an
    `OutputError` that names the file.

    `final`: the report's path, None for a stream; `partial`: the file that holds the
    lines until `commit`. `appends`: keep the content of the partial file.
    `bytes_written`: bytes that the disk or the reader has taken; `content_bytes`: those
    of the complete report, before compression.
    """

    def __init__(self, output: str, *, named: str | None = None) -> None:
        """`named`: the name that the file gets later; its suffix is what counts."""
        self._name = "standard output" if output == "-" else output
        self._suffix_of = named or output
        self.final: Path | None = None
        self.partial: Path | None = None
        self.appends = False
        self.bytes_written = 0
        self.content_bytes = 0
        self._buffer = bytearray()
        self._fd = -1
        self._is_complete = False
        self._flush_lock = anyio.Lock()
        self._write_lock = threading.Lock()
        if output == "-":
            return
        path = Path(output)
        try:
            if path.is_dir():
                raise OutputError(f"{output}: is a folder; give a file in it")
            if path.exists() and not stat.S_ISREG(path.stat().st_mode):
                if is_compressed(self._suffix_of):
                    raise OutputError(
                        f"{output}: is not a regular file, and gets plain lines; name"
                        " it without the suffix, or pipe the report into a compressor"
                    )
                self._fd = os.open(path, os.O_WRONLY)
                return
            self.final = final = path.resolve()
            self.partial = final.with_name(final.name + ".partial")
        except (OSError, ValueError) as error:
            raise self.error(error) from None

    async def __aenter__(self) -> Self:
        partial = self.partial
        try:
            if partial is not None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
                if not self.appends:
                    # A new file: another process may have the old one open.
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

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self.flush()
        except OutputError:
            if exc is None:
                raise
        finally:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                self._close(fd, exc)

    def _close(self, fd: int, exc: object) -> None:
        try:
            os.close(fd)
        except OSError as error:
            # A complete report was synced before it got its name.
            if exc is None and not self._is_complete:
                raise self.error(error) from None

    async def write(self, lines: bytes) -> None:
        """Append complete lines."""
        self._buffer += lines
        if len(self._buffer) >= PIECE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Hand the buffered lines to the operating system."""
        async with self._flush_lock:
            piece, self._buffer = bytes(self._buffer), bytearray()
            if not piece:
                return
            try:
                if self.final is not None:
                    self._write(piece)
                else:
                    # A slow reader of a pipe must not block the event loop.
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(self._write, piece)
            except OSError as error:
                raise self.error(error) from None

    def sync(self) -> None:
        """Make the flushed lines durable. Raises `OSError`."""
        os.fdatasync(self._fd)

    def write_now(self, more: bytes = b"") -> None:
        """Write the buffered lines and `more` from a signal handler, before exit.

        Waits `LAST_LINES_S` at most for a reader that does not read.
        """
        piece, self._buffer = bytes(self._buffer) + more, bytearray()

        def write() -> None:
            with suppress(OSError):
                self._write(piece)

        # The lock lets a piece that is being written finish first.
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        writer.join(LAST_LINES_S)

    def _write(self, piece: bytes) -> None:
        with self._write_lock:
            write_all(self._fd, piece)
            self.bytes_written += len(piece)

    async def complete(
        self, index: ResumeIndex | None = None, *, in_input_order: bool = True
    ) -> None:
        """Make the lines durable; no more are written.

        With the `index` of a resumed report, records that the input no longer names
        are left out, and the others are put into input order. Then it is compressed.
        """
        await self.flush()
        if self.partial is None:
            return
        try:
            os.fsync(self._fd)
            self.content_bytes = self.partial.stat().st_size
            if index is not None or is_compressed(self._suffix_of):
                self.content_bytes = await anyio.to_thread.run_sync(
                    _copy_complete,
                    self.partial,
                    self._suffix_of,
                    index,
                    in_input_order,
                )
        except OSError as error:
            raise self.error(error) from None

    async def commit(self) -> None:
        """Make the report durable and give it its final name."""
        await self.complete()
        self.publish()

    def publish(self) -> None:
        """Give the complete report its final name."""
        if self.partial is None or self.final is None:
            return
        try:
            replace_durably(self.partial, self.final)
        except OSError as error:
            raise self.error(error) from None
        self._is_complete = True

    def error(self, error: Exception) -> OutputError:
        """The `OutputError` for an error of the operating system."""
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, BrokenPipeError):
            reason += ": its reader has ended; -o FILE keeps a report"
        return OutputError(f"{self._name}: the report cannot be written: {reason}")


def _copy_complete(
    partial: Path, name: str, index: ResumeIndex | None, in_input_order: bool
) -> int:
    """Replace `partial` by a copy: in order, and compressed by the suffix of `name`.

    Nothing is copied if it is like this already. Returns the bytes of the content.
    """
    size = partial.stat().st_size
    ranges = iter([(0, size)])
    if index is not None:
        ranges = index.ranges(in_input_order=in_input_order)
    first = next(ranges, (0, 0))
    if first == (0, size) and not is_compressed(name):
        return size
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    copy = copy_name(partial)
    copy.unlink(missing_ok=True)
    try:
        with (
            partial.open("rb") as source,
            os.fdopen(os.open(copy, flags, 0o644), "wb", PIECE_BYTES) as stream,
        ):
            with compressing(stream, name) as target:
                copied = copy_ranges(source, chain([first], ranges), target)
            stream.flush()
            os.fsync(stream.fileno())
        replace_durably(copy, partial)
    except BaseException:
        # The plain lines stay: a resumed run needs the space for its copy.
        with suppress(OSError):
            copy.unlink(missing_ok=True)
        raise
    return copied


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """How a report is written. `output`: a path, or "-" for standard output.

    `settings` are the settings that the records depend on, by name, as JSON values: a
    report can only be resumed with the same settings. `keep_s` and `keep_failures`:
    which records a resumed report keeps (`KeptRecords`). `encode` replaces the encoder
    of the shape; `rest` is what it still holds after the last record.
    """

    output: str = "-"
    shape: Shape = Shape.IMAGE
    order: Order = Order.INPUT
    resume: bool = False
    keep_s: float = math.inf
    keep_failures: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    encode: Callable[[Record], bytes] | None = None
    rest: Callable[[], bytes] = bytes


class Report:
    """Writes the records of one run; made by `open_report`.

    `resume_index` has the records of the run that is resumed, or is None.
    """

    def __init__(
        self,
        writer: ReportWriter,
        options: ReportOptions,
        *,
        journal: Journal | None = None,
        resume_index: ResumeIndex | None = None,
    ) -> None:
        self.writer = writer
        self._encode = options.encode or encoder(options.shape)
        self._rest = options.rest
        self._in_input_order = options.order is Order.INPUT
        self._journal = journal
        self.resume_index = resume_index
        self.committed = False

    @property
    def resume_hint(self) -> str | None:
        """A sentence for the user if the report is unfinished and has records."""
        partial = self.writer.partial
        if self.committed or partial is None or not has_content(partial):
            return None
        return f"progress saved in {partial}; continue with --resume"

    async def write(self, record: Record) -> None:
        """Append the next record."""
        await self.writer.write(self._encode(record))

    async def write_rest(self) -> None:
        """Append what the encoder still holds, after the last record."""
        await self.writer.write(self._rest())

    async def checkpoint(self, early: Iterable[Record], *, has_waiting: bool) -> None:
        """Make everything that is finished durable.

        `early` are new records that wait for their turn: they go into the journal. The
        journal's records are dropped if none of them was waiting before this call
        (`has_waiting`), and no new one is: one may have come during the flush.
        """
        await self.writer.flush()
        if (journal := self._journal) is None:
            return

        def sync() -> None:
            self.writer.sync()
            if clear:
                journal.clear_records()
            journal.sync()

        try:
            clear = not has_waiting and journal.holds_records
            for record in early:  # one by one: there may be many
                clear = False
                journal.append(self._encode(record))
            await anyio.to_thread.run_sync(sync)
        except OSError as error:
            raise self.writer.error(error) from None

    def save_now(self, early: Iterable[Record]) -> None:
        """Write everything from a signal handler; the program exits next."""
        with suppress(OSError):
            if self._journal is None:
                lines = b"".join(map(self._encode, early))
                self.writer.write_now(lines + self._rest())
                return
            self.writer.write_now()
            for record in early:
                self._journal.append(self._encode(record))

    async def commit(self) -> None:
        """Complete the report, make it durable, and give it its name."""
        await self.writer.complete(
            self.resume_index, in_input_order=self._in_input_order
        )
        if (journal := self._journal) is not None:
            try:
                # All of them are in the partial file: a later run must not find them.
                if journal.holds_records:
                    journal.clear_records()
                    journal.sync()
            except OSError as error:
                raise self.writer.error(error) from None
        self.writer.publish()
        self.committed = True
        if journal is not None:
            with suppress(OSError):  # the report is complete; leftovers do no harm
                for old in set_aside_names(journal.path):
                    old.unlink(missing_ok=True)
                journal.remove()


@asynccontextmanager
async def open_report(
    options: ReportOptions, *, now: str, notify: Callable[[str], None]
) -> AsyncIterator[Report]:
    """Lock and open a report for writing; `now` is RFC 3339.

    An unfinished report of an earlier run is continued with `options.resume`, and set
    aside otherwise; `notify` gets a sentence for the user. Raises `LockedError`,
    `OutputError`, and `UsageError` for what cannot be resumed.
    """
    writer = ReportWriter(options.output)
    if writer.partial is None or writer.final is None:
        if options.resume:
            raise UsageError(
                "--resume: needs a report in a file (-o FILE); standard output, pipes"
                " and devices cannot be resumed"
            )
        async with writer:
            yield Report(writer, options)
        return
    path = writer.final.with_name(writer.final.name + ".journal")
    begin = functools.partial(
        begin_or_resume,
        writer.partial,
        kept=KeptRecords.of(now, options.keep_s, failures=options.keep_failures)
        if options.resume
        else None,
        settings=options.settings,
        now=now,
        notify=notify,
    )
    with Journal(path, output=options.output) as journal, ExitStack() as stack:
        report = None
        try:
            try:
                index = await anyio.to_thread.run_sync(begin, journal)
            except OSError as error:
                raise writer.error(error) from None
            if index is not None:
                stack.callback(index.close)
            report = Report(writer, options, journal=journal, resume_index=index)
            writer.appends = index is not None
            async with writer:
                yield report
        except Exception:
            if report is not None and (hint := report.resume_hint):
                notify(hint)
            raise
        finally:
            # After `commit`, files of these names belong to another run.
            if report is None or not report.committed:
                _remove_empty(writer.partial, journal)


def _remove_empty(partial: Path, journal: Journal) -> None:
    """Remove the partial file and the journal if they hold no record."""
    with suppress(OSError):
        try:
            if has_content(partial) or journal.holds_records:
                return
            partial.unlink(missing_ok=True)
        except OutputError:
            pass  # not a file of ours
        journal.remove()
