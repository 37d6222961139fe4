"""A run that is shared out: its shares audited, its parts put together."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path
from typing import Any

import anyio

from auditor.audit.run import digest_of_input
from auditor.config import Settings, record_settings, sharded_run_settings
from auditor.errors import OutputError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.listings import nothing_matches
from auditor.input.lists import STANDARD_INPUT, items_of
from auditor.model import FailureRecord, Shape
from auditor.oci.reference import RepositoryPattern, parse_selector
from auditor.report.journal import Journal
from auditor.report.listing_stats import Listing, Listings, ListKind
from auditor.report.merge import merge_records, read_shard_reports
from auditor.report.shapes import encoder
from auditor.report.shard_file import ShardInfo
from auditor.report.summary import Summary, Tally, add_failures, merge_summaries
from auditor.report.writer import ReportWriter
from auditor.scale.parts import Parts, is_url, open_part, own_folder, whole_part
from auditor.scale.processes import Engine, Plan, Share
from auditor.util.clock import Clock, rfc3339
from auditor.util.shard import Shard
from auditor.util.text import format_count
from auditor.version import __version__

# -- so_far --
# What a run that is shared out has come to where its report is not whole.


def summary_so_far(
    summaries: Sequence[Mapping[str, Any]],
    *,
    output: str,
    started_at: str,
    now: str,
    duration_s: float,
) -> dict[str, Any]:
    """The summary of the shares that have one, as that of an interrupted run.

    There may be none of them. Times are RFC 3339 UTC, those of the run.
    """
    # A share that nothing is known of: whatever the input holds may be in it.
    unknown = Summary(
        started_at=started_at,
        finished_at=now,
        duration_s=duration_s,
        interrupted=True,
        output=output,
        asked=0,
        all_listed=False,
        duplicates=0,
        tally=Tally(),
        requests={},
        repeated={},
        saved={},
        listings=Listings(),
    )
    return merge_summaries([unknown.to_json(), *summaries], output=output)


# -- unmatched --
# Patterns for which no share has a tag: none of them alone could say so.


def unmatched(summary: Mapping[str, Any]) -> Iterator[FailureRecord]:
    """The records of such patterns, from the summary of the whole audit."""
    for found in summary["listings"]:
        listing = Listing.from_json(found)
        if listing.kind is not ListKind.REPOSITORIES or not listing.matches_nothing:
            continue
        pattern = parse_selector(listing.selector)
        assert isinstance(pattern, RepositoryPattern)
        failure = nothing_matches(pattern, listing)
        yield FailureRecord(
            reference=listing.selector,
            registry=pattern.registry,
            repository=pattern.repository,
            tag=None,
            digest=None,
            stage=failure.stage,
            failure=failure.kind,
            status=failure.status,
            detail=failure.detail,
            attempts=failure.attempts,
            audited_at=summary["finished_at"],
        )


# -- join --
# The parts of a run put together: one report, one summary.

# Beside the output: its `.partial` may be that of another run, which can be resumed.
_SUFFIX = ".merged"


async def join(names: Sequence[str], output: str) -> dict[str, Any]:
    """Write the report of all parts to `output`; the summary of the whole.

    Patterns that matched nothing in any share are its last records.

    Raises `UsageError` for parts that are not all the shares of one audit, and
    `OutputError` for what cannot be written.
    """
    _check_output(names, output)
    parts = read_shard_reports(names, open_part)
    whole = merge_summaries([part.info.summary for part in parts], output=output)
    nothing = list(unmatched(whole))
    encode = encoder(Shape(parts[0].info.settings["shape"]))
    writer = ReportWriter(output)
    final = writer.final
    if final is not None:
        writer = ReportWriter(f"{final}{_SUFFIX}")
    async with writer:
        try:
            for record in merge_records(parts, open_part):
                await writer.write(record)
            for failure in nothing:
                await writer.write(encode(failure))
            await writer.commit()
        except BaseException:
            # All that it holds is in the parts.
            if writer.partial is not None:
                writer.partial.unlink(missing_ok=True)
            raise
    if final is not None and writer.final is not None:
        _rename(writer.final, final)
    return add_failures(whole, nothing)


def _check_output(names: Sequence[str], output: str) -> None:
    final = ReportWriter(output).final
    ours = {Path(name).resolve() for name in names if not is_url(name)}
    if final is not None and final.resolve() in ours:
        raise UsageError(f"--output: {output} is one of the parts")


def _rename(source: Path, target: Path) -> None:
    try:
        source.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise OutputError(
            f"{target}: the report cannot be written: {error.strerror}"
        ) from None


_SHOWN_WORDS = 5


@dataclass(slots=True, kw_only=True)
class SharedRun:
    """The run of a plan by an engine. `tell` is given sentences for a person; `stdin`
    is the file that holds the standard input, if that is a list."""

    settings: Settings
    plan: Plan
    parts: Parts
    tell: Callable[[str], None]
    clock: Clock
    stdin: Path | None = None
    failed: list[Share] = field(default_factory=list)
    stopped: bool = False
    _ended: int = 0
    _whole: set[Shard] = field(default_factory=set)
    _joining: anyio.CancelScope | None = None
    _began_s: float = field(init=False)
    _began_at: str = field(init=False)

    def __post_init__(self) -> None:
        self._began_s = self.clock.monotonic()
        self._began_at = rfc3339(self.clock.epoch())

    async def run(self, engine: Engine) -> Mapping[str, Any] | None:
        """Audit all shares and write the report; its summary, or null where it is not
        whole: then the parts stay, a resumed run goes on with them, and `so_far` says
        what they hold."""
        todo = self._todo()
        at_once = min(self.plan.at_once, len(todo) or 1)
        left = replace(self.plan, shards=todo, at_once=at_once)
        if todo:
            await engine.run(left, self._share_ended)
        if self.stopped or self.failed:
            return None
        names = [self.parts.name(shard) for shard in self.plan.shards]
        summary = None
        with anyio.CancelScope() as self._joining:
            summary = await join(names, self.settings.output)
        if summary is not None:
            self.parts.remove()
        return summary

    def so_far(self) -> Mapping[str, Any]:
        """The summary of a run whose report is not whole: that of the shares that have
        said what they came to."""
        heads = (
            whole_part(self.parts, s) for s in self.plan.shards if s in self._whole
        )
        found = [head.summary for head in heads if head is not None]
        found += [one.summary for one in self.failed if one.summary is not None]
        return summary_so_far(
            found,
            output=self.settings.output,
            started_at=self._began_at,
            now=rfc3339(self.clock.epoch()),
            duration_s=self.clock.monotonic() - self._began_s,
        )

    @property
    def uncounted(self) -> int:
        """How many shares were begun and ended without a word of what they came to."""
        return sum(share.summary is None for share in self.failed)

    @property
    def is_joining(self) -> bool:
        """Whether the shares are whole, and are being put together."""
        return self._joining is not None

    def stop(self, engine: Engine, number: signal.Signals) -> None:
        """End early. Parts that are being put together stay parts."""
        self.stopped = True
        engine.stop(number)
        if self._joining is not None:
            self._joining.cancel()

    def _todo(self) -> list[Shard]:
        if not self.settings.resume:
            return list(self.plan.shards)
        heads = [whole_part(self.parts, shard) for shard in self.plan.shards]
        wanted = (__version__, sharded_run_settings(self.settings), self._input(heads))
        todo = [
            shard
            for shard, head in zip(self.plan.shards, heads, strict=True)
            if head is None
            or None in (wanted[2], head.input)
            or (head.version, head.settings, head.input) != wanted
        ]
        self._whole = set(self.plan.shards) - set(todo)
        done = len(self._whole)
        if done:
            self._ended = done
            self.tell(f"resuming: {done} of {len(self.plan.shards)} shares are whole")
        return todo

    def _input(self, heads: Iterable[ShardInfo | None]) -> str | None:
        """The digest of the input, where there is one to compare it with."""
        if not any(heads):
            return None
        lists = [
            str(self.stdin) if path == STANDARD_INPUT else path
            for path in self.settings.lists
        ]
        return digest_of_input(items_of(replace(self.settings, lists=tuple(lists))))

    def _share_ended(self, share: Share) -> None:
        self._ended += 1
        of = len(self.plan.shards)
        if share.is_whole:
            head = whole_part(self.parts, share.shard)
            if head is not None:
                self._whole.add(share.shard)
                found = head.summary["references"]
                asked = format_count(found["asked"], "reference")
                self.tell(
                    f"share {share.shard} is done ({self._ended} of {of}):"
                    f" {found['audited']} of {asked} audited"
                )
                return
        self.failed.append(share)
        if self.stopped:
            return
        self.tell(f"share {share.shard} failed (exit code {share.code})")
        for sentence in share.last_words[-_SHOWN_WORDS:]:
            self.tell(f"  {sentence}")


@dataclass(slots=True)
class Output:
    """An output that is locked. `is_whole`: its report is there, so that what an
    earlier run left beside it is of no use any more."""

    is_whole: bool = False


@contextmanager
def output_locked(settings: Settings, clock: Clock) -> Iterator[Output]:
    """The output, for this run alone. Raises `LockedError`, `OutputError`, and
    `UsageError` where a run of one process could be resumed and not this one."""
    output = Output()
    final = ReportWriter(settings.output).final
    if final is None:
        yield output
        return
    path = final.with_name(final.name + ".journal")
    with Journal(path, output=settings.output) as lock:
        # What a run of one process left there is not ours to take away.
        fresh = lock.header is None and not lock.holds_records
        if settings.resume and (lock.holds_records or _holds(final)):
            raise UsageError(
                f"--resume: {_partial(final)} was left by a run of one process: go on"
                " with it without --processes and --engine, or begin anew without"
                " --resume"
            )
        try:
            if fresh:
                now = rfc3339(clock.epoch())
                lock.begin(record_settings(settings), version=__version__, now=now)
            yield output
        finally:
            if output.is_whole:
                _partial(final).unlink(missing_ok=True)
                fresh = True
            # A run like this one that was killed left a journal of nothing, too.
            if fresh or not (lock.holds_records or _holds(final)):
                lock.remove()


def _holds(final: Path) -> bool:
    """Whether an unfinished report is beside this one."""
    partial = _partial(final)
    return partial.exists() and partial.stat().st_size > 0


def _partial(final: Path) -> Path:
    return final.with_name(final.name + ".partial")


def parts_place(settings: Settings) -> str:
    """Where the parts of a run are: a place that is named, or a folder of ours."""
    if settings.shard_dir is not None:
        return settings.shard_dir
    final = ReportWriter(settings.output).final
    if final is None:
        raise UsageError(
            "a run that is shared out needs a place for its parts: -o FILE, or --shard-dir"
        )
    folder = final.with_name(f"{final.name}.shards")
    own_folder(folder)
    return str(folder)


def spooled_input(settings: Settings, folder: Path) -> Path | None:
    """Standard input as a file, if it is one of the lists: every share reads it."""
    if "-" not in settings.lists:
        return None
    copy = folder / "input-stdin"
    copy.unlink(missing_ok=True)  # what an earlier run left, or a link
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(copy, flags, 0o600), "wb") as into:
        shutil.copyfileobj(sys.stdin.buffer, into)
    return copy
