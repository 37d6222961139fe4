"""A sharded run: plans the shards, audits them with an engine, merges the reports."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Protocol

import anyio

from auditor.config import Settings, record_settings, sharded_run_settings
from auditor.config.settings import MAX_RUNS_AT_ONCE
from auditor.errors import ExitCode, UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.list_reader import STANDARD_INPUT, list_name
from auditor.input.lists import input_items
from auditor.input.source_scan import digest_of_input
from auditor.report.audit_table import AuditTable
from auditor.report.locked_journal import Journal
from auditor.report.resume_index import KeptRecords
from auditor.report.shard_file import ShardReport
from auditor.report.writer import ReportWriter
from auditor.scale.merge_shards import merge_shards, merged_file, unfinished_summary
from auditor.scale.shard_dir import ShardDir, complete_report, make_default_folder
from auditor.util.clock import Clock, rfc3339
from auditor.util.shard import MAX_SHARDS, Shard
from auditor.util.text import format_count
from auditor.version import __version__

# Shards per worker of a cluster. With more shards, less is repeated when a worker is
# lost, and a slow worker delays the end less; but every shard reads all catalogs.
SHARDS_PER_WORKER = 4
# The shortest valid deadline, for a shard that begins after the run's deadline.
MIN_DEADLINE_S = 0.1

# Options that apply to the whole run, or that each shard gets a value of its own for.
_RUN_OPTIONS = frozenset(
    {"output", "format", "summary", "metrics", "sbom", "progress", "resume", "dry_run"}
    | {"shard", "runs_at_once", "processes", "engine", "scheduler", "shard_dir"}
)
_MAX_SHOWN = 5  # messages of a failed shard


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """The shards of a run; `at_once` of them are audited at the same time.

    `other_runs` runs like this one, itself included, share the registries' limits.
    """

    shards: Sequence[Shard]
    at_once: int
    other_runs: int = 1

    @property
    def runs_at_once(self) -> int:
        """The value of `--runs-at-once` for each shard."""
        return min(self.at_once * self.other_runs, MAX_RUNS_AT_ONCE)


def plan_shards(
    settings: Settings, *, workers: int, shards_per_worker: int = 1
) -> ShardPlan:
    """A plan for this number of workers.

    At most as many shards are audited at once as the lowest limit of concurrent
    requests allows, and there are at most as many as --max-requests allows requests.
    """
    limits = [settings.default_registry, *settings.registries.values()]
    concurrency = min(limit.concurrency.most_for_any for limit in limits)
    most = [limit.max_requests for limit in limits if limit.max_requests is not None]
    at_once = max(1, min(workers, concurrency, *most))
    of = min(at_once * shards_per_worker, MAX_SHARDS, *most)
    shards = tuple(Shard(number=number, of=of) for number in range(1, of + 1))
    return ShardPlan(shards=shards, at_once=at_once, other_runs=settings.runs_at_once)


def shard_flags(flags: Mapping[str, object]) -> dict[str, object]:
    """The flags of a run that apply to each shard, by option name."""
    return {
        name: value
        for name, value in flags.items()
        if name not in _RUN_OPTIONS and value not in (None, ())
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult:
    """How the audit of a shard ended.

    `code` is the exit code of `auditor audit`, or negative for a signal. `messages`
    explain a failure. `summary` is set if a shard without a complete report has one.
    """

    shard: Shard
    code: int
    messages: Sequence[str] = ()
    summary: Mapping[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether there is a complete report."""
        return self.code in {ExitCode.OK, ExitCode.FAILED}


class ShardEngine(Protocol):
    """Audits shards, each into its report."""

    async def run(
        self, plan: ShardPlan, on_result: Callable[[ShardResult], None]
    ) -> None:
        """Audit the shards of a plan; call `on_result` for each as it ends."""

    def stop(self, number: signal.Signals) -> None:
        """Stop after a signal; `run` returns soon. The second call stops at once."""


@dataclass(slots=True, kw_only=True)
class ShardedRun:
    """The run of a plan.

    `notify` gets sentences for a person; `stdin` is the file with standard input if
    that is one of the lists. A `table` is written in place of the report. `stopped` is
    set by a signal.
    """

    settings: Settings
    plan: ShardPlan
    shard_dir: ShardDir
    notify: Callable[[str], None]
    clock: Clock
    stdin: Path | None = None
    table: AuditTable | None = None
    failed: list[ShardResult] = field(default_factory=list)
    stopped: bool = False
    _ended: int = 0
    _complete: set[Shard] = field(default_factory=set)
    _merging: anyio.CancelScope | None = None
    _started_s: float = field(init=False)
    _started_at: str = field(init=False)

    def __post_init__(self) -> None:
        self._started_s = self.clock.monotonic()
        self._started_at = rfc3339(self.clock.epoch())

    async def run(self, engine: ShardEngine) -> Mapping[str, Any] | None:
        """Audit all shards, write the report and return its summary.

        None if the report is incomplete: then the reports of finished shards stay for
        a resumed run, and `unfinished_summary` has their totals.
        """
        shards = self._unfinished_shards()
        at_once = min(self.plan.at_once, len(shards) or 1)
        if shards:
            plan = replace(self.plan, shards=shards, at_once=at_once)
            await engine.run(plan, self._on_result)
        if self.stopped or self.failed:
            return None
        names = [self.shard_dir.name(shard) for shard in self.plan.shards]
        summary = None
        with anyio.CancelScope() as self._merging:
            summary = await merge_shards(
                names,
                self.settings.output,
                table=self.table,
                before_rename=self.shard_dir.mark_merged,
            )
        if summary is not None:
            self.shard_dir.remove()
        return summary

    def unfinished_summary(self) -> Mapping[str, Any]:
        """The summary of an unfinished run, from the summaries of its shards."""
        reports = (
            complete_report(self.shard_dir, shard)
            for shard in self.plan.shards
            if shard in self._complete
        )
        summaries = [report.summary for report in reports if report is not None]
        summaries += [r.summary for r in self.failed if r.summary is not None]
        return unfinished_summary(
            summaries,
            output=self.settings.output,
            started_at=self._started_at,
            now=rfc3339(self.clock.epoch()),
            duration_s=self.clock.monotonic() - self._started_s,
        )

    @property
    def without_summary(self) -> int:
        """The number of shards that ended without a summary."""
        return sum(result.summary is None for result in self.failed)

    @property
    def is_merging(self) -> bool:
        """Whether all shards are complete, and their reports are being merged."""
        return self._merging is not None

    def stop(self, engine: ShardEngine, number: signal.Signals) -> None:
        """Stop after a signal; a merge is cancelled, and the shards' reports stay."""
        self.stopped = True
        engine.stop(number)
        if self._merging is not None:
            self._merging.cancel()

    def _unfinished_shards(self) -> list[Shard]:
        """The shards to audit; in a resumed run those without a matching report."""
        if not self.settings.resume:
            return list(self.plan.shards)
        merged = merged_file(ReportWriter(self.settings.output).final)
        if merged and self.shard_dir.is_merged() and not merged.exists():
            # It was renamed: these are the shards of a complete report.
            self.shard_dir.clear()
        reports = [complete_report(self.shard_dir, shard) for shard in self.plan.shards]
        digest = self._input_digest(reports)
        now = rfc3339(self.clock.epoch())
        kept = KeptRecords.of(now, self.settings.resume_max_age_s)
        expected = (__version__, sharded_run_settings(self.settings), digest)
        unfinished = [
            shard
            for shard, report in zip(self.plan.shards, reports, strict=True)
            if report is None
            or None in (digest, report.input)
            or (report.version, report.settings, report.input) != expected
            or not kept.is_recent(str(report.summary.get("started_at")))
            or (self.settings.retry_failed and report.summary["references"]["failed"])
        ]
        for shard in unfinished:  # no worker may take its report for a new one
            self.shard_dir.discard(shard)
        self._complete = set(self.plan.shards) - set(unfinished)
        if self._complete:
            self._ended = len(self._complete)
            total = len(self.plan.shards)
            self._inform(f"resuming: {self._ended} of {total} shards are complete")
        return unfinished

    def _input_digest(self, reports: Iterable[ShardReport | None]) -> str | None:
        """The digest of the input, if there is a report to compare it with."""
        if not any(reports):
            return None
        lists = [
            str(self.stdin) if path == STANDARD_INPUT else path
            for path in self.settings.lists
        ]
        return digest_of_input(replace(self.settings, lists=tuple(lists)))

    def _on_result(self, result: ShardResult) -> None:
        self._ended += 1
        if result.is_complete:
            report = complete_report(self.shard_dir, result.shard)
            if report is not None:
                self._complete.add(result.shard)
                counts = report.summary["references"]
                references = format_count(counts["asked"], "reference")
                self._inform(
                    f"shard {result.shard} done"
                    f" ({self._ended} of {len(self.plan.shards)}):"
                    f" {counts['audited']} of {references} audited"
                )
                return
        self.failed.append(result)
        if self.stopped:
            return
        self.notify(f"shard {result.shard} failed (exit code {result.code})")
        for message in result.messages[-_MAX_SHOWN:]:
            self.notify(f"  {message}")

    def _inform(self, sentence: str) -> None:
        """Print what is no error."""
        if not self.settings.quiet:
            self.notify(sentence)


# -- output and input ------------------------------------------------------------


@dataclass(slots=True)
class LockedOutput:
    """An output that this run has locked; `is_complete` is set with its report."""

    is_complete: bool = False


@contextmanager
def lock_output(settings: Settings, clock: Clock) -> Iterator[LockedOutput]:
    """Lock the output for this run; raises `LockedError` and `OutputError`.

    Raises `UsageError` if --resume would have to continue a run without shards.
    """
    output = LockedOutput()
    final = ReportWriter(settings.output).final
    if final is None:
        yield output
        return
    partial = final.with_name(final.name + ".partial")
    journal_path = final.with_name(final.name + ".journal")
    with Journal(journal_path, output=settings.output) as journal:
        # The journal of a run without shards stays.
        is_new = journal.header is None and not journal.holds_records
        if settings.resume and (journal.holds_records or _has_content(partial)):
            raise UsageError(
                f"--resume: {partial} is from a run without shards; resume it without"
                " --processes and --engine, or start again without --resume"
            )
        try:
            if is_new:
                now = rfc3339(clock.epoch())
                journal.begin(record_settings(settings), now=now)
            yield output
        finally:
            if output.is_complete:
                partial.unlink(missing_ok=True)
                is_new = True
            # A sharded run that was killed left an empty journal, too.
            if is_new or not (journal.holds_records or _has_content(partial)):
                journal.remove()


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def shard_dir_of(settings: Settings) -> str:
    """The folder or URL for the reports of shards, from --shard-dir or the output."""
    if settings.shard_dir is not None:
        return settings.shard_dir
    final = ReportWriter(settings.output).final
    if final is None:
        raise UsageError(
            "a sharded run needs a folder for the reports of shards: add -o FILE or"
            " --shard-dir"
        )
    folder = final.with_name(f"{final.name}.shards")
    make_default_folder(folder)
    return str(folder)


def copy_stdin(settings: Settings, folder: Path) -> Path:
    """A copy of standard input in a private folder: every shard reads it.

    Raises `UsageError` as `input_items` does if it names nothing.
    """
    copy = folder / "input-stdin"
    with copy.open("wb") as into:
        shutil.copyfileobj(sys.stdin.buffer, into)
    settings = replace(settings, references=(), lists=(str(copy),))
    next(input_items(settings, names={str(copy): list_name(STANDARD_INPUT)}), None)
    return copy
