"""The state folder of `auditor nightly`.

    FOLDER/lock                          held while a night runs
    FOLDER/tonight.json                  the night in progress
    FOLDER/tonight.jsonl                 its report, while it is written and processed
    FOLDER/tonight.jsonl.*               what its audit needs to continue
    FOLDER/tonight.summary.json          the summary of its audit
    FOLDER/reports/2026-11-30.jsonl.zst  the report of each night
    FOLDER/nights/2026-11-30.json        what happened in each night
    FOLDER/history/                      the data set of `auditor history`
    FOLDER/latest.jsonl.zst, latest.html, latest.md    the newest complete night

Every file is replaced atomically. A night is named after the day it started, UTC; a
second one of a day gets a number. Nights are in the order of their numbers: the clock
may be set back.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson

from auditor.errors import AuditorError, LockedError, OutputError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.report.locked_journal import lock_file, read_header
from auditor.util.atomic_file import atomic_file, replace_durably, sync_directory
from auditor.util.compressed_file import ZSTD, compress_file
from auditor.util.text import format_count, safe_text

ReadT = TypeVar("ReadT")

_SUFFIX = f".jsonl{ZSTD}"
_TONIGHT = "tonight"
_LATEST = "latest"
_PID_BYTES = 32
_SUMMARY_KEYS = {
    *("references", "failures", "duration_s", "interrupted", "deadline_reached")
}
# A few errors of a configuration.
_REMARK_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What happened in one night.

    - `complete`: its audit came to its end
    - `sboms`: as in the audit's summary; None without `sbom`
    - `compared_with`: the last complete night before
    - `changes`: counts by change (`auditor diff`); None without such a night
    - `violations`: counts by severity; None without a policy
    - `report`: the file, relative to the folder
    - `remark`: why the night is not complete, or what it left out
    - `in_history`: false if the history could not be written; the next night tries
      again
    - `notified`: None without notifications
    - `options`: those that the content of the records depends on
    """

    schema: int = SCHEMA
    kind: str = "night"
    number: int
    name: str
    started_at: str
    finished_at: str | None = None
    duration_s: float = 0.0
    complete: bool = False
    references: int = 0
    audited: int = 0
    failed: int = 0
    sboms: dict[str, Any] | None = None
    compared_with: str | None = None
    changes: dict[str, int] | None = None
    violations: dict[str, int] | None = None
    report: str | None = None
    exit_code: int | None = None
    remark: str | None = None
    in_history: bool | None = None
    notified: bool | None = None
    options: dict[str, Any] | None = None

    @property
    def date(self) -> date:
        """The day on which it started, UTC."""
        return date.fromisoformat(self.started_at[:10])

    def audited_as(self, summary: Mapping[str, Any]) -> Night:
        """The night with the counts of this summary, and whether it is complete."""
        references = summary["references"]
        remark = None
        if summary["interrupted"]:
            remark = "its audit was interrupted"
        elif summary["deadline_reached"]:
            count = summary["failures"].get("interrupted", {}).get("count", 0)
            remark = (
                "its audit reached the deadline:"
                f" {format_count(count, 'reference')} not audited"
            )
        elif not references["audited"]:
            remark = f"no image could be audited ({references['failed']} failed)"
        return replace(
            self,
            duration_s=summary["duration_s"],
            complete=remark is None,
            references=references["asked"],
            audited=references["audited"],
            failed=references["failed"],
            sboms=summary.get("sboms"),
            remark=remark,
        )


class NightFolder:
    """The folder, locked by this process: see `open_night_folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history = path / "history"
        self.output = path / f"{_TONIGHT}.jsonl"
        self.summary = path / f"{_TONIGHT}.summary.json"
        self.latest_report = path / f"{_LATEST}{_SUFFIX}"
        self.latest_page = path / f"{_LATEST}.html"
        self.latest_text = path / f"{_LATEST}.md"
        self._tonight = path / f"{_TONIGHT}.json"
        self._nights = path / "nights"
        self._reports = path / "reports"
        self._damaged: dict[str, None] = {}

    @property
    def damaged(self) -> list[str]:
        """A sentence for each file that was left out because it is damaged."""
        return list(self._damaged)

    def nights(self) -> list[Night]:
        """Every night that is known, in order. Raises `UsageError`."""
        names = [name for name in _entries(self._nights) if name.endswith(".json")]
        nights = [
            self._undamaged(_read_night, self._nights / name, advice="; remove it")
            for name in names
        ]
        return sorted(filter(None, nights), key=lambda night: night.number)

    def complete_before(self, night: Night) -> list[Night]:
        """The complete nights before this one that have a report, the newest first."""
        return [
            one
            for one in reversed(self.nights())
            if one.complete
            and one.number < night.number
            and self.report_of(one).exists()
        ]

    def unfinished(self) -> Night | None:
        """The night that a run left unfinished, or None."""
        if self._tonight.name not in _entries(self.path):
            return None
        return self._undamaged(_read_night, self._tonight)

    def begin(self, started_at: str, options: Mapping[str, Any]) -> Night:
        """Begin a night now (RFC 3339), whose records depend on these options."""
        self._remove_audit()  # of a night that was ended, but not to the last file
        nights = self.nights()
        number = nights[-1].number + 1 if nights else 1
        day = started_at[:10]
        # The number of the last one: some of the day may be removed.
        same_day = max(
            (
                _number_of_day(night.name)
                for night in nights
                if night.started_at[:10] == day and not _is_failed_start(night)
            ),
            default=0,
        )
        name = f"{day}-{same_day + 1}" if same_day else day
        while (self._nights / f"{name}.json").exists():  # a damaged record
            same_day += 1
            name = f"{day}-{same_day + 1}"
        night = Night(
            number=number, name=name, started_at=started_at, options=dict(options)
        )
        write_bytes(self._tonight, _json(night))
        return night

    def record_failure(self, failed: Night) -> Night:
        """Record a `failed_start`; the night in progress takes its error over.

        Returns the night with the error, also if it cannot be recorded.
        """
        with suppress(AuditorError):
            if (night := self.unfinished()) is not None:
                failed = replace(
                    night, exit_code=failed.exit_code, remark=failed.remark
                )
                write_bytes(self._tonight, _json(failed))
            else:
                nights = self.nights()
                number = nights[-1].number + 1 if nights else 1
                failed = replace(failed, number=number)
                self.finish(failed)
        return failed

    def forget_summary(self) -> None:
        """Remove the summary of an audit that was interrupted and is continued."""
        with writing(self.summary):
            self.summary.unlink(missing_ok=True)

    def report_of(self, night: Night) -> Path:
        """The file of a night's report."""
        return self._reports / f"{night.name}{_SUFFIX}"

    def keep_report(self, night: Night) -> Night:
        """Keep tonight's report under the name of the night."""
        file = self.report_of(night)
        if self.output.exists():
            with writing(file):
                file.parent.mkdir(exist_ok=True)
                compress_file(self.output, file)
        return replace(night, report=str(file.relative_to(self.path)))

    def publish(self, night: Night) -> None:
        """Let `latest.jsonl.zst` lead to the report of this night."""
        link = self.latest_report.with_name(f"{self.latest_report.name}.partial")
        with writing(self.latest_report):
            link.unlink(missing_ok=True)
            link.symlink_to(self.report_of(night).relative_to(self.path))
            replace_durably(link, self.latest_report)

    def finish(self, night: Night) -> None:
        """Record what happened in this night. The night stays in progress."""
        with writing(self._nights):
            self._nights.mkdir(exist_ok=True)
        write_bytes(self._nights / f"{night.name}.json", _json(night))

    def end(self) -> None:
        """End the night in progress: remove its files.

        The state is the first: without its report, a night would be audited again.
        """
        with writing(self.path):
            self._tonight.unlink(missing_ok=True)
            sync_directory(self.path)
        self._remove_audit()

    def has_damaged_journal(self) -> bool:
        """Whether an audit in progress, also of a shard, cannot be continued."""
        return any(
            _has_content(partial) and not _has_header(partial.with_suffix(".journal"))
            for pattern in (".jsonl.partial", ".jsonl.shards/*.partial")
            for partial in self.path.glob(_TONIGHT + pattern)
        )

    def unfinished_records(self) -> int:
        """The records of an audit in progress, also of one in shards."""
        return sum(
            _whole_lines(file)
            for pattern in (".jsonl.partial", ".jsonl.shards/*.jsonl*")
            for file in self.path.glob(_TONIGHT + pattern)
            if file.name.endswith((".jsonl", ".jsonl.partial"))
        )

    def _remove_audit(self) -> None:
        """Remove the report in progress, with all that its audit needs to continue."""
        with writing(self.path):
            for file in self.path.glob(f"{_TONIGHT}.*"):
                if file == self._tonight:
                    continue
                if file.is_dir() and not file.is_symlink():
                    shutil.rmtree(file)
                else:
                    file.unlink(missing_ok=True)

    def remove(self, night: Night) -> None:
        """Remove a night: its report, then its record."""
        with writing(self._nights):
            self.report_of(night).unlink(missing_ok=True)
            (self._nights / f"{night.name}.json").unlink(missing_ok=True)

    def read_summary(self) -> dict[str, Any] | None:
        """The summary of tonight's audit, if it came to its end."""
        if not self.output.exists() or not self.summary.exists():
            return None
        return self._undamaged(_read_summary, self.summary)

    def _undamaged(
        self, read: Callable[[Path], ReadT], file: Path, *, advice: str = ""
    ) -> ReadT | None:
        try:
            return read(file)
        except UsageError as error:
            self._damaged[f"{error}{advice}"] = None
            return None


def failed_start(at: str, code: int, sentence: str) -> Night:
    """A night that ended at this time (RFC 3339) with an exit code of 2 or more.

    Its name differs from those of reports: `2026-11-30T020000Z`.
    """
    return Night(
        number=0,
        name=at[:19].replace(":", "") + "Z",
        started_at=at,
        finished_at=at,
        exit_code=code,
        remark=safe_text("; ".join(sentence.splitlines()), _REMARK_CHARS),
    )


def _number_of_day(name: str) -> int:
    """3 of `2026-11-30-3`."""
    _, _, number = name[len("2026-11-30") :].partition("-")
    return int(number) if number.isdecimal() else 1


def _is_failed_start(night: Night) -> bool:
    return "T" in night.name


def read_nights(
    path: str, notify: Callable[[str], None] = lambda _: None
) -> list[Night]:
    """The nights of a folder, in order, with the one in progress last.

    Reads only: another process may work in the folder. A damaged file is left out;
    `notify` gets a sentence about it. Raises `UsageError`.
    """
    folder = NightFolder(Path(path))
    try:
        os.listdir(folder.path)  # noqa: PTH208  (raises at once)
    except FileNotFoundError:
        sentence = f"{safe_text(path)}: no such folder; no night was run yet"
        raise UsageError(sentence) from None
    except OSError as error:
        raise _cannot_be_read(folder.path, error) from None
    nights = folder.nights()
    unfinished = folder.unfinished()
    if unfinished is not None and unfinished.name not in {n.name for n in nights}:
        nights.append(unfinished)
    for sentence in folder.damaged:
        notify(sentence)
    return nights


@contextmanager
def open_night_folder(path: str) -> Iterator[NightFolder]:
    """The state folder, made if it is missing and locked until the end.

    Raises `LockedError` if another night runs in it, `OutputError` if it is unusable.
    """
    folder = Path(path).absolute()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(folder / "lock", flags, 0o600)
    try:
        try:
            lock_file(descriptor, path)
        except LockedError:
            holder = (
                os.pread(descriptor, _PID_BYTES, 0).decode(errors="replace").strip()
            )
            raise LockedError(
                f"{safe_text(path)}: another auditor nightly works in this folder"
                + (f" (process {safe_text(holder)})" if holder else "")
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield NightFolder(folder)
    finally:
        os.close(descriptor)


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Turn an `OSError` of the body into an `OutputError` about the file."""
    try:
        yield
    except OSError as error:
        name = safe_text(str(error.filename or file))
        reason = error.strerror or error
        raise OutputError(f"{name}: cannot be written: {reason}") from None


def write_bytes(file: Path, content: bytes) -> None:
    """Replace a file atomically. Raises `OutputError`."""
    with writing(file), atomic_file(file) as stream:
        stream.write(content)


def _entries(folder: Path) -> list[str]:
    """The names in a folder, none if it does not exist. Raises `UsageError`."""
    try:
        return os.listdir(folder)  # noqa: PTH208  (names only)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _cannot_be_read(folder, error) from None


def _cannot_be_read(file: Path, error: OSError) -> UsageError:
    reason = error.strerror or error
    return UsageError(f"{safe_text(str(file))}: cannot be read: {reason}")


def _has_content(partial: Path) -> bool:
    with suppress(OSError):
        return partial.stat().st_size > 0
    return False


def _has_header(journal: Path) -> bool:
    with suppress(OSError):
        return read_header(journal) is not None
    return False


def _whole_lines(file: Path) -> int:
    with suppress(OSError), file.open("rb") as stream:
        return sum(line.endswith(b"\n") for line in stream)
    return 0


def _json(night: Night) -> bytes:
    return orjson.dumps(night, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _read_night(file: Path) -> Night:
    document = _read_json(file)
    names = Night.__slots__
    with suppress(TypeError, ValueError):
        night = Night(**{name: document[name] for name in names if name in document})
        if _is_valid(night):
            return night
    raise UsageError(f"{safe_text(str(file))}: not the record of a night")


def _is_valid(night: Night) -> bool:
    """Whether the values have the types that the steps of a night need."""
    began = datetime.fromisoformat(night.started_at)
    numbers = (night.number, night.references, night.audited, night.failed)
    maps = (night.changes, night.violations)
    return (
        began.tzinfo is not None
        and isinstance(night.name, str)
        and "/" not in night.name
        and all(isinstance(number, int) for number in numbers)
        and isinstance(night.duration_s, float | int)
        and all(counts is None or isinstance(counts, dict) for counts in maps)
    )


def _read_summary(file: Path) -> dict[str, Any]:
    summary = _read_json(file)
    if not summary.keys() >= _SUMMARY_KEYS:
        raise UsageError(f"{safe_text(str(file))}: not the summary of an audit")
    return summary


def _read_json(file: Path) -> dict[str, Any]:
    try:
        document = orjson.loads(file.read_bytes())
    except OSError as error:
        raise _cannot_be_read(file, error) from None
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise UsageError(f"{safe_text(str(file))}: not valid JSON")
    return document
