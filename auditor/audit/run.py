"""A whole audit: from the items of its input to one record for each entry.

    expand (auditor.input) -> Pool (pool.py) -> ImageAuditor (image.py) -> write

`expand` yields the entries of the input. Entries whose record an unfinished report
already has are passed over. The pool audits the others concurrently, with workers for
each registry, and passes their records to `write` in input order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import cast

import anyio
from anyio.abc import TaskGroup

from auditor.audit.image import ImageAuditor
from auditor.audit.image_metadata import ImageOptions
from auditor.audit.pool import Pool, PoolSize
from auditor.cache.digest_cache import DigestCache
from auditor.config import Settings
from auditor.errors import unwrap_exception_group
from auditor.fast_dataclass import dataclass
from auditor.input.expand import expand
from auditor.input.input_items import (
    ExpansionCounts,
    InputEntry,
    InputItem,
    ReferenceEntry,
    RejectedEntry,
)
from auditor.input.tag_filter import Selection
from auditor.model import FailureRecord, ImageRecord, InputPosition, Order, Record
from auditor.oci.reference import Reference
from auditor.registry.registries import Registries
from auditor.report.resume import ResumeIndex
from auditor.report.summary import Resumed, Summary, Tally
from auditor.util.clock import Clock, rfc3339
from auditor.util.deadline import (
    Deadline,
    not_finished,
    not_started,
    reference_timed_out,
)


@dataclass(frozen=True, slots=True)
class _FilteredOut:
    """The result for an image that is too old: it has no record."""


class AuditRun:
    """One audit: make it, `run` it, then ask for its `summary`."""

    def __init__(
        self,
        settings: Settings,
        items: Iterable[InputItem],
        *,
        registries: Registries,
        clock: Clock,
        write: Callable[[Record], Awaitable[None]],
        on_position: Callable[[InputPosition], None] | None = None,
        cache: DigestCache | None = None,
        resume_index: ResumeIndex | None = None,
    ) -> None:
        """`write` gets each record, `on_position` its input position before.

        Without a `cache` the run has one of its own, in memory. Entries with a record
        in `resume_index` are not audited.
        """
        self._positions = _PositionTracker(on_position) if on_position else None
        self._position: InputPosition = (0, 0)
        self._settings = settings
        self._items = items
        self._registries = registries
        self._clock = clock
        self._write = write
        self._resume_index = resume_index
        self._own_cache = None if cache else DigestCache(None, now=clock.epoch)
        self._images = ImageAuditor(
            registries,
            options=ImageOptions.of(settings),
            clock=clock,
            cache=cache or cast("DigestCache", self._own_cache),
            # `verify_blobs` asks what exists now: manifests are rechecked as well.
            recheck_s=0 if settings.verify_blobs else settings.cache_recheck_s,
        )
        self._selection = Selection.of(
            settings, datetime.fromtimestamp(clock.epoch(), UTC)
        )
        self._counts = ExpansionCounts()
        self._is_expanded = False
        self._deadline = Deadline()
        # A cancel scope costs some 20 us for each reference.
        self._needs_scope = (
            settings.deadline_s is not None or settings.reference_timeout_s is not None
        )
        self._started_s = clock.monotonic()
        self._started_at = clock.epoch()
        self.tally = Tally()
        self._pool: Pool[InputEntry, Record | _FilteredOut] = Pool(
            size=PoolSize(workers=settings.workers_of, window=settings.window),
            in_order=settings.order is Order.INPUT,
            work=self._audit,
            write=self._write_result,
            lane=_registry_name,
            prepare=self._prefetch_token,
        )

    async def run(self) -> None:
        """Audit everything. Raises an `AuditorError` that stops the whole run."""
        with unwrap_exception_group(), self._own_cache or nullcontext():
            async with anyio.create_task_group() as group:
                if self._settings.deadline_s is not None:
                    group.start_soon(self._expire_after, self._settings.deadline_s)
                await self._pool.run(self._entries)
                group.cancel_scope.cancel()

    def stop(self, grace_s: float) -> None:
        """Start nothing more; what is in progress has `grace_s` seconds to finish."""
        self._pool.stop(grace_s)

    def expire(self) -> None:
        """Reach the deadline: entries without a record become failures.

        Requests in flight are cancelled if the settings have a time limit.
        """
        self._deadline.reach()

    async def _expire_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self.expire()

    @property
    def has_waiting(self) -> bool:
        """Whether a finished record waits for its turn."""
        return self._pool.has_waiting

    def early_records(self, *, last: bool = False) -> list[Record]:
        """Finished records that wait for their turn: see `Pool.early_results`."""
        results = self._pool.early_results(last=last)
        return [result for result in results if not isinstance(result, _FilteredOut)]

    def known_references(self) -> tuple[int, bool]:
        """The number of references found so far, and whether these are all."""
        return self._counts.entries, self._is_expanded

    def summary(self) -> Summary:
        """The summary of the run, or of what it has done so far."""
        digest_cache = self._images.content.digest_cache
        return Summary(
            started_at=rfc3339(self._started_at),
            finished_at=rfc3339(self._clock.epoch()),
            duration_s=self._clock.monotonic() - self._started_s,
            interrupted=self._pool.stopped,
            deadline_reached=self._deadline.reached,
            output=self._settings.output,
            asked=self._counts.entries,
            all_listed=self._is_expanded and not self._counts.cut_off,
            duplicates=self._counts.duplicates,
            tally=self.tally,
            requests=self._registries.counts.sent,
            repeated=self._registries.counts.repeated,
            saved=self._images.content.saved,
            damaged=digest_cache.damaged,
            not_stored=digest_cache.not_stored,
            listings=self._counts.listings,
            max_requests=self._settings.max_requests,
            rate_limits=self._registries.rate_limits(),
            blobs=self._images.repository_data.blobs.counts,
            resumed=self._resumed(),
        )

    def _resumed(self) -> Resumed | None:
        index = self._resume_index
        if index is None:
            return None
        is_finished = self._is_expanded and not self._pool.stopped
        return Resumed(
            kept=index.taken, left_out=index.count - index.taken if is_finished else 0
        )

    async def _entries(self, group: TaskGroup) -> AsyncIterator[InputEntry]:
        """The entries that have no record yet."""
        async for entry in expand(
            self._items,
            registries=self._registries,
            group=group,
            counts=self._counts,
            deadline=self._deadline,
            selection=self._selection,
            shard=self._settings.shard,
            on_position=self._set_position,
        ):
            has_record = self._take_record(entry)
            if self._positions is not None:
                self._positions.add(self._position, has_record=has_record)
            if not has_record:
                yield entry
        self._is_expanded = True

    def _set_position(self, position: InputPosition) -> None:
        self._position = position

    def _take_record(self, entry: InputEntry) -> bool:
        """Whether the resumed report has the record of an entry, which is counted."""
        if self._resume_index is None:
            return False
        reference = str(entry.reference) if isinstance(entry, ReferenceEntry) else None
        lines = self._resume_index.take(reference)
        if lines is not None:
            self.tally.add_lines(lines)
        return lines is not None

    def _prefetch_token(self, entry: InputEntry, group: TaskGroup) -> None:
        # Tokens are fetched while references wait for a worker.
        if (
            isinstance(entry, ReferenceEntry)
            and not self._deadline.reached
            and self._images.needs_token(entry.reference)
        ):
            group.start_soon(self._fetch_token, entry.reference)

    async def _fetch_token(self, reference: Reference) -> None:
        with self._deadline.scope():
            await self._images.fetch_token(reference)

    async def _audit(self, entry: InputEntry) -> Record | _FilteredOut:
        if isinstance(entry, RejectedEntry):
            return self._rejected_record(entry)
        if self._deadline.reached:
            return self._images.failure_record(entry.reference, not_started())
        if not self._needs_scope:
            return await self._audit_reference(entry)
        limit_s = self._settings.reference_timeout_s
        with self._deadline.scope(limit_s=limit_s):
            return await self._audit_reference(entry)
        failure = (
            not_finished()
            if self._deadline.reached
            else reference_timed_out(limit_s or 0)
        )
        return self._images.failure_record(entry.reference, failure)

    async def _audit_reference(self, entry: ReferenceEntry) -> Record | _FilteredOut:
        record = await self._images.audit(
            entry.reference,
            is_listed=entry.listed_tag is not None,
            listed_digest=entry.digest,
        )
        if (
            entry.age_unknown
            and isinstance(record, ImageRecord)
            and self._selection.is_image_too_old(record)
        ):
            return _FilteredOut()
        return record

    def _rejected_record(self, entry: RejectedEntry) -> FailureRecord:
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

    async def _write_result(self, result: Record | _FilteredOut) -> None:
        has_record = not isinstance(result, _FilteredOut)
        if self._resume_index is not None:
            self._resume_index.entry_finished(has_record=has_record)
        if self._positions is not None:
            self._positions.entry_finished(has_record=has_record)
        if isinstance(result, _FilteredOut):
            self.tally.filtered += 1
            return
        await self._write(result)
        self.tally.add(result)


def _registry_name(entry: InputEntry) -> str | None:
    """The lane of the pool: one for each registry."""
    return entry.reference.registry if isinstance(entry, ReferenceEntry) else None


class _PositionTracker:
    """Reports the input positions of records in the order of the records.

    Entries are added in input order and finish in the order of their records. An entry
    with a record in the resumed report is finished from the start.
    """

    def __init__(self, report: Callable[[InputPosition], None]) -> None:
        self._report = report
        self._unfinished: deque[tuple[InputPosition, bool]] = deque()

    def add(self, position: InputPosition, *, has_record: bool) -> None:
        """Add the next entry of the input."""
        self._unfinished.append((position, has_record))
        self._report_resumed()

    def entry_finished(self, *, has_record: bool) -> None:
        """Finish the next entry that had no record when it was added."""
        position, _ = self._unfinished.popleft()
        if has_record:
            self._report(position)
        self._report_resumed()

    def _report_resumed(self) -> None:
        while self._unfinished and self._unfinished[0][1]:
            self._report(self._unfinished.popleft()[0])
