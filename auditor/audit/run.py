"""A whole run: settings in, a report and its summary out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import cast

import anyio
from anyio.abc import TaskGroup

from auditor.audit.image import ImageAuditor
from auditor.audit.pool import Pool, PoolSize
from auditor.cache.store import DigestStore
from auditor.config import Order, Settings
from auditor.errors import unwrapped
from auditor.input.expand import expand
from auditor.input.lists import Item
from auditor.input.steps import Asked, Dropped, Entry, Expansion, Refused, Turn
from auditor.input.tag_filter import Selection
from auditor.model import FailureRecord, ImageRecord, Record
from auditor.oci.reference import Reference
from auditor.pipeline.expansion.places import Places
from auditor.pipeline.imaging.wanted import Wanted
from auditor.registry.registries import Registries
from auditor.report.resume import Kept
from auditor.report.summary import Resumed, Summary
from auditor.reports.summary.recount import recount
from auditor.reports.summary.tally import Tally
from auditor.util.clock import Clock, rfc3339
from auditor.util.deadline import Deadline, not_finished, not_reached, too_slow


class Run:
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
        placed: Callable[[Turn], None] | None = None,
        store: DigestStore | None = None,
        kept: Kept | None = None,
    ) -> None:
        """`store` null: a private one, closed with the run."""
        self._places = Places(placed) if placed else None
        self._turn: Turn = (0, 0)
        self._settings = settings
        self._items = items
        self._registries = registries
        self._clock = clock
        self._write = write
        self._kept = kept
        self._private = None if store else DigestStore(None, now=clock.epoch)
        self._images = ImageAuditor(
            registries,
            wanted=Wanted.of(settings),
            clock=clock,
            store=store or cast("DigestStore", self._private),
            # Who asks whether blobs are still there asks that of manifests, too.
            recheck_s=0 if settings.verify_blobs else settings.store_recheck_s,
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
        with unwrapped(), self._private or nullcontext():
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
            damaged=self._images.content.store.damaged,
            not_stored=self._images.content.store.not_stored,
            listings=self._expansion.listings,
            max_requests=self._settings.max_requests,
            allowances=self._registries.allowances(),
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

    def _place(self, turn: Turn) -> None:
        self._turn = turn

    def _is_kept(self, entry: Entry) -> bool:
        if self._kept is None:
            return False
        name = str(entry.reference) if isinstance(entry, Asked) else None
        lines = self._kept.take(name)
        if lines is not None:
            recount(self.tally, lines)
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
            return self._images.failure_record(entry.reference, not_reached())
        if not self._limited:
            return await self._audited(entry)
        limit_s = self._settings.reference_timeout_s
        with self._deadline.scope(limit_s=limit_s):
            return await self._audited(entry)
        why = not_finished() if self._deadline.reached else too_slow(limit_s or 0)
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
            self._kept.made(written=not isinstance(result, Dropped))
        if self._places is not None:
            self._places.made(written=not isinstance(result, Dropped))
        if isinstance(result, Dropped):
            self.tally.filtered += 1
            return
        await self._write(result)
        self.tally.add(result)


def _host(entry: Entry) -> str | None:
    return entry.reference.registry if isinstance(entry, Asked) else None
