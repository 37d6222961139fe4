"""What an earlier run left unfinished: gone on with, or kept beside the new report."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from auditor.config import Settings, decisive
from auditor.errors import OutputError, UsageError
from auditor.report.journal import Journal
from auditor.report.resume import Kept
from auditor.reports.jsonl import write_all
from auditor.reports.spans import spans
from auditor.version import __version__

Tell = Callable[[str], None]


def begin(
    settings: Settings, partial: Path, journal: Journal, *, now: str, tell: Tell
) -> Kept | None:
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
