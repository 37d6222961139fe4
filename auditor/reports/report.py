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
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread

from auditor.config import Order, Settings, decisive
from auditor.errors import OutputError, UsageError
from auditor.records import Record
from auditor.reports.journal import Journal
from auditor.reports.jsonl import ReportWriter, write_all
from auditor.reports.kept import Kept
from auditor.reports.shapes import encoder
from auditor.reports.spans import spans
from auditor.version import __version__

Tell = Callable[[str], None]


class Report:
    """Where the records of a run go. Made by `open_report`."""

    def __init__(
        self,
        writer: ReportWriter,
        settings: Settings,
        *,
        journal: Journal | None = None,
        kept: Kept | None = None,
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
    def leftover(self) -> Path | None:
        """The file that holds what was finished, if the report is not whole."""
        partial = self._writer.partial
        return None if self.committed or not _holds(partial) else partial

    @property
    def way_on(self) -> str:
        """What to tell of a report that is not whole."""
        return f"what was finished is in {self.leftover}; --resume goes on with it"

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
                for old in _old(self._journal.path):
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
            if report is not None and report.leftover is not None:
                tell(report.way_on)
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
            if _holds(partial) or journal.holds_records:
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
) -> Kept | None:
    """What is kept of an earlier run, if this one goes on with it."""
    assert writer.partial is not None
    try:
        return _taken_up(settings, writer.partial, journal, now, tell)
    except OSError as error:
        raise writer.error(error) from None


def _taken_up(
    settings: Settings,
    partial: Path,
    journal: Journal,
    now: str,
    tell: Tell,
) -> Kept | None:
    unfinished = _holds(partial) or journal.holds_records
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


def _resumed(partial: Path, journal: Journal) -> Kept:
    """The finished records of `partial`, with the early ones of the journal behind.

    A torn last line is cut off, and with it, in the flat shapes, the last record.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    fd = os.open(partial, flags, 0o644)
    with os.fdopen(fd, "r+b", buffering=0) as file:
        kept = Kept(_opened(partial))
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


def _read(partial: Path, kept: Kept) -> None:
    with _opened(partial) as stream:
        for span in spans(stream, 0, ended=False):
            kept.add(span)
            kept.end = span.start + span.size


def _append_early(journal: Journal, kept: Kept, file: FileIO) -> None:
    early, start = journal.records()
    with early:
        for span in spans(early, start, ended=False):
            if kept.add(replace(span, start=kept.end)):
                lines = os.pread(early.fileno(), span.size, span.start)
                write_all(file.fileno(), lines)
                kept.end += span.size


def _set_aside(partial: Path, journal: Journal) -> Path:
    old_partial, old_journal = _old(journal.path)
    old_journal.unlink(missing_ok=True)
    stream, _ = journal.records()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with stream, os.fdopen(os.open(old_journal, flags, 0o600), "wb") as copy:
        stream.seek(0)
        shutil.copyfileobj(stream, copy)
    with suppress(FileNotFoundError):
        partial.replace(old_partial)
    return old_partial


def _old(journal: Path) -> tuple[Path, Path]:
    name = journal.name.removesuffix(".journal")
    return (
        journal.with_name(name + ".partial.old"),
        journal.with_name(name + ".journal.old"),
    )


def _holds(partial: Path | None) -> bool:
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
