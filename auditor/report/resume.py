"""Resuming a report: continue the records of an unfinished run, or set them aside.

`begin_or_resume` decides which. On a resume it reads the old `OUT.partial` and the
records of `OUT.journal` into a `ResumeIndex` (resume_index.py).

`resumed_values` finds the unfinished report if its name has placeholders: a run of
another day, or of another minute, wrote it under another name. It is the newest of the
files that the name could have become on this host.
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from auditor.config.file_names import expand, glob_of, values_in
from auditor.errors import OutputError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.report.locked_journal import Journal, read_header, write_all
from auditor.report.resume_index import KeptRecords, ResumeIndex, record_offsets
from auditor.util.atomic_file import replace_durably
from auditor.util.compressed_file import MARK_BYTES, compression_of, decompressing
from auditor.util.text import format_duration, safe_text
from auditor.version import __version__

_COPY_BYTES = 1024 * 1024


def begin_or_resume(
    partial: Path,
    journal: Journal,
    *,
    kept: KeptRecords | None,
    settings: Mapping[str, Any],
    now: str,
    notify: Callable[[str], None],
) -> ResumeIndex | None:
    """Start the journal of a new report (None), or index the records of the old one.

    `kept`: the records to keep of an unfinished report, None to start a new one.
    `settings` are those that the records depend on, `now` is RFC 3339; `notify` gets
    a sentence for the user. Raises `UsageError` for what cannot be resumed, `OSError`,
    and `OutputError` if `partial` is not a regular file.
    """
    copy_name(partial).unlink(missing_ok=True)  # of a run that was killed meanwhile
    unfinished = has_content(partial) or journal.holds_records
    version = None if journal.header is None else journal.header.get("auditor")
    is_other_version = isinstance(version, str) and version != __version__
    if kept is not None and unfinished and not is_other_version:
        _check_same_settings(settings, partial, journal)
        _make_plain(partial)
        index = _index_records(partial, journal, kept)
        journal.resume(now=now)
        notify(_resuming_text(index, partial, kept))
        return index
    if unfinished:
        old = _set_aside(partial, journal)
        # An upgrade between two nightly runs must not need a person: no error.
        notify(
            f"{partial}: written by auditor {version}, this is {__version__};"
            f" starting a new report (the old one is kept as {old.name} until the new"
            " one is complete)"
            if kept is not None
            else f"{partial}: left by an unfinished run, kept as {old.name} until this"
            " report is complete; --resume would have continued it"
        )
    elif kept is not None:
        notify("nothing to resume; starting a new report")
    journal.begin(settings, now=now)
    return None


def set_aside_names(journal: Path) -> tuple[Path, Path]:
    """The names under which an unfinished report and its journal are kept."""
    return journal.with_suffix(".partial.old"), journal.with_suffix(".journal.old")


def copy_name(partial: Path) -> Path:
    """The name of a copy of the partial file, before it replaces it."""
    return partial.with_name(f"{partial.name}.copy")


def has_content(partial: Path) -> bool:
    """Whether the file exists and is not empty.

    Raises `OutputError` if the path is not a regular file.
    """
    try:
        status = partial.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise OutputError(f"{partial}: cannot be written: not a regular file")
    return status.st_size > 0


def _check_same_settings(
    settings: Mapping[str, Any], partial: Path, journal: Journal
) -> None:
    def refused(why: str) -> UsageError:
        return UsageError(
            f"--resume: {partial} {why}; run without --resume to start a new report"
        )

    if journal.header is None:
        raise refused(f"has no readable journal ({journal.path.name})")
    before = journal.header.get("settings")
    if before == settings:
        return
    if not isinstance(before, dict):
        raise refused("was started with unknown settings")
    differences = [
        f"{name} was {before.get(name)!r} and is {value!r}"
        for name, value in settings.items()
        if before.get(name) != value
    ]
    detail = ", ".join(differences) or "unknown ones"
    raise refused(f"was started with other settings ({detail})")


def _resuming_text(index: ResumeIndex, partial: Path, kept: KeptRecords) -> str:
    again = []
    if index.old:
        age = format_duration(kept.keep_s)
        again.append(f"{index.old} older than {age} (--resume-max-age)")
    if index.failed:
        again.append(f"{index.failed} failed (--retry-failed)")
    text = f"resuming: {index.count:,} finished records are in {partial}"
    return f"{text}; audited again: {', '.join(again)}" if again else text


def _index_records(partial: Path, journal: Journal, kept: KeptRecords) -> ResumeIndex:
    """Index `partial`, after appending the journal's records to it.

    A torn last line is cut off, and with it, in the flat shapes, the last record.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with os.fdopen(os.open(partial, flags, 0o644), "r+b", buffering=0) as file:
        index = ResumeIndex(_open_no_follow(partial), kept)
        try:
            with _open_no_follow(partial) as stream:
                for record in record_offsets(stream, 0, complete=False):
                    index.add(record)
                    index.end = record.start + record.size
            file.truncate(index.end)
            early, start = journal.open_records()
            with early:
                for record in record_offsets(early, start, complete=False):
                    if index.add(replace(record, start=index.end)):
                        lines = os.pread(early.fileno(), record.size, record.start)
                        write_all(file.fileno(), lines)
                        index.end += record.size
            os.fsync(file.fileno())
        except BaseException:
            index.close()
            raise
    return index


def _make_plain(partial: Path) -> None:
    """Decompress a complete report whose run was killed before it got its name."""
    if not partial.exists():
        return
    copy = copy_name(partial)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with _open_no_follow(partial) as packed:
        suffix = compression_of(packed.read(MARK_BYTES))
        if suffix is None:
            return
        packed.seek(0)
        with os.fdopen(os.open(copy, flags, 0o644), "wb") as plain:
            shutil.copyfileobj(decompressing(packed, suffix), plain, _COPY_BYTES)
            plain.flush()
            os.fsync(plain.fileno())
    replace_durably(copy, partial)


def _open_no_follow(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def _set_aside(partial: Path, journal: Journal) -> Path:
    """Copy the journal, which stays locked, and rename the partial file."""
    old_partial, old_journal = set_aside_names(journal.path)
    old_journal.unlink(missing_ok=True)
    stream, _ = journal.open_records()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with stream, os.fdopen(os.open(old_journal, flags, 0o600), "wb") as copy:
        stream.seek(0)
        shutil.copyfileobj(stream, copy)
    with suppress(FileNotFoundError):
        partial.replace(old_partial)
    return old_partial


# -- a report whose name has placeholders ----------------------------------------------

# What a run leaves next to its report: see writer.py and scale/shard_dir.py.
_LEFT_BEHIND = (".partial", ".journal", ".shards")


@dataclass(frozen=True, slots=True)
class _Unfinished:
    path: str
    values: dict[str, str]

    @property
    def age_key(self) -> tuple[str, str]:
        return self.values.get("date", ""), self.values.get("time", "")

    @property
    def begun_s(self) -> float:
        """When it was begun, in epoch seconds."""
        with suppress(OSError, TypeError, ValueError):
            header = read_header(Path(f"{self.path}.journal")) or {}
            return datetime.fromisoformat(header["since"]).timestamp()
        # A run in shards removes its journal when it is interrupted.
        shards = Path(f"{self.path}.shards")
        times = [file.stat().st_mtime for file in (*shards.glob("*"), shards)]
        return min(times)


def resumed_values(
    name: str,
    values: Mapping[str, str],
    *,
    now_s: float,
    max_age_s: float,
    notify: Callable[[str], None],
) -> dict[str, str]:
    """The values of the placeholders with which a resumed run names its files.

    `values` are those of now. If the newest unfinished report of this `name` was begun
    at most `max_age_s` ago, they are its own, so that the run completes it; `notify`
    gets a sentence about it, or about an older one that stays.
    """
    path = expand(name, values)
    newest = max(_unfinished(name, values), key=lambda one: one.age_key, default=None)
    if newest is None or newest.path == path:
        return dict(values)
    try:
        age_s = abs(now_s - newest.begun_s)
    except OSError:  # another run has just completed it
        return dict(values)
    shown = safe_text(newest.path)
    if age_s > max_age_s:
        notify(
            f"{shown}: left by an unfinished run that began more than"
            f" {format_duration(max_age_s)} ago (--resume-max-age); it stays, and"
            f" {safe_text(path)} is a new report"
        )
        return dict(values)
    notify(f"continuing {shown}, which an earlier run left unfinished")
    return {**values, **newest.values}


def _unfinished(name: str, values: Mapping[str, str]) -> list[_Unfinished]:
    found: dict[str, _Unfinished] = {}
    for suffix in _LEFT_BEHIND:
        for file in glob.glob(glob_of(name, values) + suffix):  # noqa: PTH207
            path = file.removesuffix(suffix)
            if (then := values_in(path, name, values)) is not None:
                found[path] = _Unfinished(path, then)
    return list(found.values())
