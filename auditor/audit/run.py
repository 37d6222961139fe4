"""A whole run: settings in, a report and its summary out."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from hashlib import blake2b
from typing import cast

import anyio
from anyio.abc import TaskGroup

from auditor.audit.image import ImageAuditor
from auditor.audit.image_metadata import ImageOptions
from auditor.audit.pool import Pool, PoolSize
from auditor.cache.digest_cache import DigestCache, open_cache
from auditor.config import Settings, record_settings, sharded_run_settings
from auditor.errors import unwrap_exception_group
from auditor.fast_dataclass import dataclass
from auditor.input.expand import expand
from auditor.input.lists import Item, Listed, items_of
from auditor.input.steps import Asked, Dropped, Entry, Expansion, Refused
from auditor.input.tag_filter import Selection
from auditor.model import FailureRecord, ImageRecord, InputPosition, Order, Record
from auditor.oci.reference import Reference
from auditor.registry.registries import Registries, open_registries
from auditor.report.resume import ResumeIndex
from auditor.report.shard_file import ShardFile
from auditor.report.summary import Resumed, Summary, Tally
from auditor.report.writer import Report, ReportOptions, open_report
from auditor.util.clock import Clock, rfc3339
from auditor.util.deadline import (
    Deadline,
    not_finished,
    not_started,
    reference_timed_out,
)

# -- places --
# Where the records of a share stand in the whole input, in the records' order.


class PositionTracker:
    """Knows the turns of the entries that have no record yet, and tells those of the
    records as they are written. What an earlier run has kept has its record already.
    """

    def __init__(self, tell: Callable[[InputPosition], None]) -> None:
        self._tell = tell
        self._waiting: deque[tuple[InputPosition, bool]] = deque()

    def entry(self, turn: InputPosition, *, kept: bool) -> None:
        """The next entry of the input."""
        self._waiting.append((turn, kept))
        self._pass_kept()

    def made(self, *, written: bool) -> None:
        """The next entry that was not kept has come to its end, with a record or
        without."""
        turn, _ = self._waiting.popleft()
        if written:
            self._tell(turn)
        self._pass_kept()

    def _pass_kept(self) -> None:
        while self._waiting and self._waiting[0][1]:
            self._tell(self._waiting.popleft()[0])


class AuditRun:
    """One audit. Make it, `run` it, then ask for its `summary`.

    `placed` is told where in the whole input each record stands, in the records' order.
    What an earlier run has `kept` is passed over.
    """

    def __init__(
        self,
        settings: Settings,
        items: Iterable[Item],
        *,
        registries: Registries,
        clock: Clock,
        write: Callable[[Record], Awaitable[None]],
        placed: Callable[[InputPosition], None] | None = None,
        cache: DigestCache | None = None,
        kept: ResumeIndex | None = None,
    ) -> None:
        """`cache` null: a private one, closed with the run."""
        self._places = PositionTracker(placed) if placed else None
        self._turn: InputPosition = (0, 0)
        self._settings = settings
        self._items = items
        self._registries = registries
        self._clock = clock
        self._write = write
        self._kept = kept
        self._private = None if cache else DigestCache(None, now=clock.epoch)
        self._images = ImageAuditor(
            registries,
            wanted=ImageOptions.of(settings),
            clock=clock,
            cache=cache or cast("DigestCache", self._private),
            # Who asks whether blobs are still there asks that of manifests, too.
            recheck_s=0 if settings.verify_blobs else settings.cache_recheck_s,
        )
        self._selection = Selection.of(
            settings, datetime.fromtimestamp(clock.epoch(), UTC)
        )
        self._expansion = Expansion()
        self._expanded = False
        self._deadline = Deadline()
        # A scope around each reference costs some 20 us: only where something may
        # end it.
        self._limited = (
            settings.deadline_s is not None or settings.reference_timeout_s is not None
        )
        self._started = clock.monotonic()
        self._started_at = clock.epoch()
        self.tally = Tally()
        self._pool: Pool[Entry, Record | Dropped] = Pool(
            size=PoolSize(workers=settings.workers_of, window=settings.window),
            in_order=settings.order is Order.INPUT,
            work=self._work,
            write=self._put,
            lane=_host,
            prepare=self._prepare,
        )

    async def run(self) -> None:
        """Audit everything. Raises an `AuditorError` that stops the whole run."""
        with unwrap_exception_group(), self._private or nullcontext():
            async with anyio.create_task_group() as group:
                if self._settings.deadline_s is not None:
                    group.start_soon(self._expire_after, self._settings.deadline_s)
                await self._pool.run(self._jobs)
                group.cancel_scope.cancel()

    def stop(self, grace_s: float) -> None:
        """End early: what is under way has `grace_s` seconds to finish."""
        self._pool.stop(grace_s)

    def expire(self) -> None:
        """Say that the run's time is up: what has no record yet gets one that says so.

        What is under way is cut short if the settings limit the time.
        """
        self._deadline.reach()

    async def _expire_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self.expire()

    @property
    def waits(self) -> bool:
        """Whether a finished record waits for its turn."""
        return self._pool.waits

    def early(self, *, last: bool = False) -> list[Record]:
        """Finished records that wait for their turn: see `Pool.early`."""
        results = self._pool.early(last=last)
        return [one for one in results if not isinstance(one, Dropped)]

    def asked(self) -> tuple[int, bool]:
        """References known so far, and whether these are all."""
        return self._expansion.asked, self._expanded

    def summary(self) -> Summary:
        """What the run came to."""
        return Summary(
            started_at=rfc3339(self._started_at),
            finished_at=rfc3339(self._clock.epoch()),
            duration_s=self._clock.monotonic() - self._started,
            interrupted=self._pool.stopped,
            deadline_reached=self._deadline.reached,
            output=self._settings.output,
            asked=self._expansion.asked,
            all_listed=self._expanded and not self._expansion.cut,
            duplicates=self._expansion.duplicates,
            tally=self.tally,
            requests=self._registries.counts.sent,
            repeated=self._registries.counts.repeated,
            saved=self._images.content.saved,
            damaged=self._images.content.cache.damaged,
            not_stored=self._images.content.cache.not_stored,
            listings=self._expansion.listings,
            max_requests=self._settings.max_requests,
            rate_limits=self._registries.rate_limits(),
            blobs=self._images.around.blobs.counts,
            resumed=self._resumed(),
        )

    def _resumed(self) -> Resumed | None:
        if self._kept is None:
            return None
        whole = self._expanded and not self._pool.stopped
        return Resumed(
            kept=self._kept.taken,
            left_out=self._kept.count - self._kept.taken if whole else 0,
        )

    async def _jobs(self, group: TaskGroup) -> AsyncIterator[Entry]:
        async for entry in expand(
            self._items,
            registries=self._registries,
            group=group,
            seen=self._expansion,
            deadline=self._deadline,
            selection=self._selection,
            shard=self._settings.shard,
            placed=self._place,
        ):
            kept = self._is_kept(entry)
            if self._places is not None:
                self._places.entry(self._turn, kept=kept)
            if not kept:
                yield entry
        self._expanded = True

    def _place(self, turn: InputPosition) -> None:
        self._turn = turn

    def _is_kept(self, entry: Entry) -> bool:
        if self._kept is None:
            return False
        name = str(entry.reference) if isinstance(entry, Asked) else None
        lines = self._kept.take(name)
        if lines is not None:
            self.tally.add_lines(lines)
        return lines is not None

    def _prepare(self, entry: Entry, group: TaskGroup) -> None:
        # Tokens are asked for while the references wait for a worker.
        if (
            isinstance(entry, Asked)
            and not self._deadline.reached
            and self._images.wants_prefetch(entry.reference)
        ):
            group.start_soon(self._prefetch, entry.reference)

    async def _prefetch(self, reference: Reference) -> None:
        with self._deadline.scope():
            await self._images.prefetch(reference)

    async def _work(self, entry: Entry) -> Record | Dropped:
        if isinstance(entry, Refused):
            return self._refused(entry)
        if self._deadline.reached:
            return self._images.failure_record(entry.reference, not_started())
        if not self._limited:
            return await self._audited(entry)
        limit_s = self._settings.reference_timeout_s
        with self._deadline.scope(limit_s=limit_s):
            return await self._audited(entry)
        why = (
            not_finished()
            if self._deadline.reached
            else reference_timed_out(limit_s or 0)
        )
        return self._images.failure_record(entry.reference, why)

    async def _audited(self, entry: Asked) -> Record | Dropped:
        record = await self._images.audit(
            entry.reference, listed=entry.listed, digest=entry.digest
        )
        if (
            entry.age_unknown
            and isinstance(record, ImageRecord)
            and self._selection.drops(record)
        ):
            return Dropped()
        return record

    def _refused(self, entry: Refused) -> FailureRecord:
        pattern = entry.pattern
        return FailureRecord(
            reference=entry.text,
            registry=pattern.registry if pattern else None,
            repository=pattern.repository if pattern else None,
            tag=None,
            digest=None,
            stage=entry.failure.stage,
            failure=entry.failure.kind,
            status=entry.failure.status,
            detail=entry.failure.detail,
            attempts=entry.failure.attempts,
            audited_at=rfc3339(self._clock.epoch()),
        )

    async def _put(self, result: Record | Dropped) -> None:
        if self._kept is not None:
            self._kept.entry_finished(has_record=not isinstance(result, Dropped))
        if self._places is not None:
            self._places.made(written=not isinstance(result, Dropped))
        if isinstance(result, Dropped):
            self.tally.filtered += 1
            return
        await self._write(result)
        self.tally.add(result)


def _host(entry: Entry) -> str | None:
    return entry.reference.registry if isinstance(entry, Asked) else None


# -- input_digest --
# Whether two runs were asked the same: a digest over what their input says.


class InputDigest:
    """Passes items on, once; `value` is over all of them, in their order.

    Where an item stands is not part of it: a copy of a list says the same.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = items
        self._digest = blake2b(digest_size=16)
        self._is_whole = False

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            text = str(item.selector) if isinstance(item, Listed) else item.text
            self._digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
            yield item
        self._is_whole = True

    @property
    def value(self) -> str | None:
        """In hexadecimal; null for an input that was not read to its end."""
        return self._digest.hexdigest() if self._is_whole else None


def digest_of_input(items: Iterable[Item]) -> str | None:
    """The digest of an input that is read for this only."""
    digest = InputDigest(items)
    for _ in digest:
        pass
    return digest.value


# -- into_report --
# A run into its report, with what is finished safe from a crash.

# How much finished work a crash may cost.
KEEP_EVERY_S = 1.0


async def run_into_report(run: AuditRun, report: Report) -> None:
    """Run; every second what is finished is made safe, in its turn or not."""
    with unwrap_exception_group():
        async with anyio.create_task_group() as group:
            group.start_soon(_keep_safe, run, report)
            await run.run()
            group.cancel_scope.cancel()


async def _keep_safe(run: AuditRun, report: Report) -> None:
    while True:
        await anyio.sleep(KEEP_EVERY_S)
        await report.checkpoint(run.early(), has_waiting=run.waits)


# -- job --
# A run with everything that it needs: registries, store, report, shard file.


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditJob:
    """A run and where its records go; after it, `commit` makes the report whole."""

    run: AuditRun
    report: Report
    shard_file: ShardFile | None
    input_digest: InputDigest | None

    async def commit(self) -> None:
        """Give the report its name, and then the shard file that belongs to it."""
        await self.report.commit()
        if self.shard_file is not None:
            digest = self.input_digest.value if self.input_digest else None
            self.shard_file.commit(self.run.summary().to_json(), input_digest=digest)


@asynccontextmanager
async def open_job(
    settings: Settings,
    *,
    clock: Clock,
    notify: Callable[[str], None],
    items: Iterable[Item] | None = None,
) -> AsyncIterator[AuditJob]:
    """The job that the settings describe; `notify` gets sentences for the user, and
    `items` stand for the settings' references and lists.

    Raises the `AuditorError`s of what it opens.
    """
    async with (
        open_registries(settings, clock=clock) as registries,
        open_cache(settings, now=clock.epoch) as cache,
        open_report(
            report_options(settings), now=rfc3339(clock.epoch()), notify=notify
        ) as report,
    ):
        with _shard_file(settings, report, notify) or nullcontext() as shard_file:
            items = items_of(settings) if items is None else items
            digest = InputDigest(items) if shard_file else None
            run = AuditRun(
                settings,
                digest or items,
                registries=registries,
                clock=clock,
                write=report.write,
                placed=shard_file.add if shard_file else None,
                kept=report.resume_index,
                cache=cache,
            )
            yield AuditJob(
                run=run, report=report, shard_file=shard_file, input_digest=digest
            )


def report_options(settings: Settings) -> ReportOptions:
    """How the report of a run with these settings is written."""
    return ReportOptions(
        output=settings.output,
        shape=settings.shape,
        order=settings.order,
        resume=settings.resume,
        settings=record_settings(settings),
    )


def _shard_file(
    settings: Settings, report: Report, notify: Callable[[str], None]
) -> ShardFile | None:
    if settings.shard is None:
        return None
    if report.final is None:
        # Of use to whoever wants a part of the work and nothing put together.
        notify(
            f"share {settings.shard} goes where no shard file can stand beside it:"
            " auditor merge cannot take it (-o FILE leaves both)"
        )
        return None
    return ShardFile(
        report.final,
        settings.shard,
        settings=sharded_run_settings(settings),
        order=settings.order,
    )
