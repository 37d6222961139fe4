"""The report of one run: locked, safe from crashes, resumed where an earlier one ended.

OUT                 the last whole report; it changes when the new one is whole
OUT.partial         the new one: lines are only ever appended
OUT.journal         the lock, which run it is, what is finished out of turn
OUT.partial.old     what an earlier run left unfinished, until this one is whole
OUT.partial.sorted  the new one, being copied in the order of the input
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio.to_thread

from auditor.config import Order, Settings
from auditor.errors import OutputError, UsageError
from auditor.model import Record
from auditor.report.journal import Journal
from auditor.report.resume import Kept
from auditor.report.shapes import encoder
from auditor.reports.jsonl import ReportWriter
from auditor.reports.unfinished import Tell, begin, holds, set_aside_names


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
        return None if self.committed or not holds(partial) else partial

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
) -> Kept | None:
    """What is kept of an earlier run, if this one goes on with it."""
    assert writer.partial is not None
    try:
        return begin(settings, writer.partial, journal, now=now, tell=tell)
    except OSError as error:
        raise writer.error(error) from None
