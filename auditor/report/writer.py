"""The report of one run: locked, safe from crashes, resumed where an earlier one ended.

OUT                 the last whole report; it changes when the new one is whole
OUT.partial         the new one: lines are only ever appended
OUT.journal         the lock, which run it is, what is finished out of turn
OUT.partial.old     what an earlier run left unfinished, until this one is whole
OUT.partial.sorted  the new one, being copied in the order of the input
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from io import FileIO
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import anyio.to_thread

from auditor.config import Settings, decisive
from auditor.errors import OutputError, UsageError
from auditor.model import Order, Record
from auditor.report.journal import Journal
from auditor.report.resume import ResumeIndex, record_offsets
from auditor.report.shapes import encoder
from auditor.version import __version__

# -- jsonl --
# Where report lines go: a file that appears only when it is whole, or a stream.

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
        self, kept: ResumeIndex | None = None, *, in_input_order: bool = True
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


def _arranged(partial: Path, kept: ResumeIndex, in_input_order: bool) -> Path:
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


# -- unfinished --
# What an earlier run left unfinished: gone on with, or kept beside the new report.

Tell = Callable[[str], None]


def begin(
    settings: Settings, partial: Path, journal: Journal, *, now: str, tell: Tell
) -> ResumeIndex | None:
    """Begin the journal of a run, or go on with that of an earlier one: then what is
    kept of it. `now` is RFC 3339; `tell` is given a sentence for whoever should know.

    Raises `UsageError` for what cannot be resumed, `OSError`, and `OutputError` where
    `partial` is no regular file.
    """
    unfinished = holds(partial) or journal.holds_records
    other = _other_version(journal)
    if settings.resume and unfinished and other is None:
        _check_same(settings, partial, journal)
        kept = _resumed(partial, journal)
        journal.resume(now=now)
        tell(f"resuming: {kept.count} finished records are in {partial}")
        return kept
    if settings.resume and unfinished:
        # An upgrade between two nights is nothing that a person is waited for.
        old = _set_aside(partial, journal)
        tell(
            f"{partial}: was begun by auditor {other}, and this is {__version__}:"
            f" beginning anew; kept as {old.name} until this report is whole"
        )
    elif settings.resume:
        tell(f"nothing to resume beside {settings.output}: beginning anew")
    elif unfinished:
        old = _set_aside(partial, journal)
        tell(
            f"{partial}: left by a run that did not finish, kept as {old.name} until"
            " this report is whole; --resume would have gone on with it"
        )
    journal.begin(decisive(settings), version=__version__, now=now)
    return None


def _other_version(journal: Journal) -> str | None:
    """That of the auditor that began the run, if it is not this one's."""
    begun = None if journal.run is None else journal.run.get("auditor")
    return begun if isinstance(begun, str) and begun != __version__ else None


def _check_same(settings: Settings, partial: Path, journal: Journal) -> None:
    def refuse(why: str) -> UsageError:
        return UsageError(
            f"--resume: {partial} {why}; without --resume, the run begins anew"
        )

    if journal.run is None:
        raise refuse(f"has no journal that can be read ({journal.path.name})")
    begun, now = journal.run.get("settings"), decisive(settings)
    if begun != now:
        differs = ", ".join(
            f"{name} was {_shown(begun, name)} and is {now[name]!r}"
            for name in now
            if not isinstance(begun, dict) or begun.get(name) != now[name]
        )
        raise refuse(f"was begun with other settings ({differs or 'unknown ones'})")


def _shown(begun: object, name: str) -> str:
    return repr(begun.get(name)) if isinstance(begun, dict) else "unknown"


def _resumed(partial: Path, journal: Journal) -> ResumeIndex:
    """The finished records of `partial`, with the early ones of the journal behind.

    A torn last line is cut off, and with it, in the flat shapes, the last record.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    fd = os.open(partial, flags, 0o644)
    with os.fdopen(fd, "r+b", buffering=0) as file:
        kept = ResumeIndex(_opened(partial))
        try:
            _read(partial, kept)
            file.truncate(kept.end)
            _append_early(journal, kept, file)
            os.fsync(file.fileno())
        except BaseException:
            kept.close()
            raise
    return kept


def _opened(partial: Path) -> BinaryIO:
    # Found to be no link before; it may have become one.
    return os.fdopen(os.open(partial, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def _read(partial: Path, kept: ResumeIndex) -> None:
    with _opened(partial) as stream:
        for span in record_offsets(stream, 0, ended=False):
            kept.add(span)
            kept.end = span.start + span.size


def _append_early(journal: Journal, kept: ResumeIndex, file: FileIO) -> None:
    early, start = journal.records()
    with early:
        for span in record_offsets(early, start, ended=False):
            if kept.add(replace(span, start=kept.end)):
                lines = os.pread(early.fileno(), span.size, span.start)
                write_all(file.fileno(), lines)
                kept.end += span.size


def _set_aside(partial: Path, journal: Journal) -> Path:
    old_partial, old_journal = set_aside_names(journal.path)
    old_journal.unlink(missing_ok=True)
    stream, _ = journal.records()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with stream, os.fdopen(os.open(old_journal, flags, 0o600), "wb") as copy:
        stream.seek(0)
        shutil.copyfileobj(stream, copy)
    with suppress(FileNotFoundError):
        partial.replace(old_partial)
    return old_partial


def set_aside_names(journal: Path) -> tuple[Path, Path]:
    """The names under which an unfinished report and its journal are kept."""
    name = journal.name.removesuffix(".journal")
    return (
        journal.with_name(name + ".partial.old"),
        journal.with_name(name + ".journal.old"),
    )


def holds(partial: Path | None) -> bool:
    """Whether there is such a file with something in it; nothing else may be there."""
    if partial is None:
        return False
    try:
        found = partial.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{partial}: cannot be written: it is not a regular file")
    return found.st_size > 0


class Report:
    """Where the records of a run go. Made by `open_report`."""

    def __init__(
        self,
        writer: ReportWriter,
        settings: Settings,
        *,
        journal: Journal | None = None,
        kept: ResumeIndex | None = None,
    ) -> None:
        self._writer = writer
        self._encode = encoder(settings.shape)
        self._in_order = settings.order is Order.INPUT
        self._journal = journal
        self.kept = kept
        self.committed = False

    @property
    def final(self) -> Path | None:
        """The file that the report becomes; null for a stream."""
        return self._writer.final

    @property
    def written(self) -> int:
        """How many bytes were taken, by a disk or by a reader."""
        return self._writer.written

    @property
    def unfinished_path(self) -> Path | None:
        """The file that holds what was finished, if the report is not whole."""
        partial = self._writer.partial
        return None if self.committed or not holds(partial) else partial

    @property
    def resume_hint(self) -> str:
        """What to tell of a report that is not whole."""
        return (
            f"what was finished is in {self.unfinished_path}; --resume goes on with it"
        )

    async def put(self, record: Record) -> None:
        """Add the next record."""
        await self._writer.write(self._encode(record))

    async def keep(self, early: Iterable[Record], *, waits: bool) -> None:
        """Make what is finished safe; `early` are records that wait for their turn.

        When none `waits` any more, the journal holds nothing that is not in its place.
        """
        await self._writer.flush()
        journal = self._journal
        if journal is None:
            return
        try:
            if lines := b"".join(map(self._encode, early)):
                journal.add(lines)
            forget = not waits and journal.holds_records
            await anyio.to_thread.run_sync(self._sync, journal, forget)
        except OSError as error:
            raise self._writer.error(error) from None

    def _sync(self, journal: Journal, forget: bool) -> None:
        self._writer.sync()
        if forget:
            journal.forget()
        journal.sync()

    def save(self, early: Iterable[Record]) -> None:
        """Hand everything over at once: the program ends with the next statement."""
        lines = b"".join(map(self._encode, early))
        with suppress(OSError):
            if self._journal is None:
                self._writer.save(lines)
                return
            self._writer.save()
            self._journal.add(lines)

    async def commit(self) -> None:
        """Make the report whole, durable, and give it its name."""
        await self._writer.commit(self.kept, in_input_order=self._in_order)
        self.committed = True
        if self._journal is not None:
            with suppress(OSError):  # the report is there; what is left does no harm
                for old in set_aside_names(self._journal.path):
                    old.unlink(missing_ok=True)
                self._journal.remove()


@asynccontextmanager
async def open_report(
    settings: Settings, *, now: str, tell: Tell
) -> AsyncIterator[Report]:
    """The report that the settings name, ready for records; `now` is RFC 3339.

    What an earlier run left unfinished is taken up with `settings.resume`, and kept
    beside it otherwise; `tell` is given a sentence for whoever should know. Raises
    `LockedError`, `OutputError`, and `UsageError` for what cannot be resumed.
    """
    writer = ReportWriter(settings.output)
    if writer.partial is None or writer.final is None:
        if settings.resume:
            raise UsageError(
                "--resume: a report can be resumed that goes to a file (-o FILE), not"
                " one that goes to standard output, a pipe or a device"
            )
        async with writer:
            yield Report(writer, settings)
        return
    path = writer.final.with_name(writer.final.name + ".journal")
    with Journal.locked(path, output=settings.output) as journal:
        report = None
        try:
            kept = await anyio.to_thread.run_sync(
                _begin, settings, writer, journal, now, tell
            )
            report = Report(writer, settings, journal=journal, kept=kept)
            writer.appends = kept is not None
            async with writer:
                yield report
        except Exception:
            if report is not None and report.unfinished_path is not None:
                tell(report.resume_hint)
            raise
        finally:
            if report is not None and report.kept is not None:
                report.kept.close()
            # Once the report is whole, what has these names is of another run.
            if report is None or not report.committed:
                _tidy(writer.partial, journal)


def _tidy(partial: Path, journal: Journal) -> None:
    """Take away what holds nothing."""
    with suppress(OSError):
        try:
            if holds(partial) or journal.holds_records:
                return
            partial.unlink(missing_ok=True)
        except OutputError:
            pass  # nothing of ours
        journal.remove()


def _begin(
    settings: Settings,
    writer: ReportWriter,
    journal: Journal,
    now: str,
    tell: Tell,
) -> ResumeIndex | None:
    """What is kept of an earlier run, if this one goes on with it."""
    assert writer.partial is not None
    try:
        return begin(settings, writer.partial, journal, now=now, tell=tell)
    except OSError as error:
        raise writer.error(error) from None
