"""A whole audit: from the items of its input to one record for each entry.

    expand (auditor.input) -> Pool (pool.py) -> ImageAuditor (image.py) -> write

`expand` yields the entries of the input. Entries that already have a record in an
unfinished report are skipped. The pool audits the others concurrently, with workers for
each registry, and passes their records to `write` in input order.

`job.py` opens the registries, the cache and the report that a run needs.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from auditor.audit.image import ImageAuditor, failure_record
from auditor.audit.image_metadata import ImageOptions
from auditor.audit.memory_sizes import MAX_WAITING_BYTES, record_bytes
from auditor.audit.pool import Pool
from auditor.cache.digest_cache import DigestCache
from auditor.config import Settings
from auditor.errors import unwrap_exception_group
from auditor.input.expand import expand
from auditor.input.input_items import (
    ExpansionCounts,
    InputEntry,
    InputItem,
    ReferenceEntry,
    RejectedEntry,
)
from auditor.input.tag_filter import Selection
from auditor.model import ImageRecord, InputPosition, Order, Record, Warn, WarningCode
from auditor.oci.reference import Reference
from auditor.registry.host_status import HostStatus
from auditor.registry.listing.interface import ListedTag
from auditor.registry.registries import Registries
from auditor.report.resume_index import ResumeIndex
from auditor.report.summary import Summary, Tally
from auditor.util.clock import Clock, rfc3339
from auditor.util.deadline import (
    Deadline,
    not_finished,
    not_started,
    reference_timed_out,
)
from auditor.util.text import format_count

if TYPE_CHECKING:
    from auditor.config.signature_policy import SignaturePolicy
    from auditor.input.source_table import SourceTable

log = logging.getLogger("auditor.audit")

# Between two requests of a reference, none is in flight for a few milliseconds.
_IDLE_CHECKS, _IDLE_CHECK_S = 4, 0.05

_AGE_UNKNOWN = Warn(
    code=WarningCode.AGE_UNKNOWN,
    detail="kept by --since: neither the listing nor each platform has a creation date",
)


class AuditRun:
    """One audit: call `run`, then `summary`."""

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
        spill_folder: Path | None = None,
        sources: SourceTable | None = None,
        signatures: SignaturePolicy | None = None,
    ) -> None:
        """`on_position` gets the input position of a record before `write` gets it.

        Without a `cache` the run has one of its own, in memory. Entries with a record
        in `resume_index` are not audited. `spill_folder` is for a temporary file, as
        large as the records that wait for a slow registry; by default TMPDIR.
        `sources` are recorded, if they are given; a resumed record with others is not
        kept. `signatures` is the signature policy of the settings, read if not given.
        """
        self._positions = _PositionTracker(on_position) if on_position else None
        self._position: InputPosition = (0, 0)
        self._settings = settings
        self._items = items
        self._registries = registries
        self._clock = clock
        self._write = write
        self._resume_index = resume_index
        self._sources = sources
        images_cache = cache or DigestCache(None, now=clock.epoch)
        self._own_cache = None if cache else images_cache
        self._images = ImageAuditor(
            registries,
            options=ImageOptions.of(settings, signatures),
            clock=clock,
            cache=images_cache,
            recheck_s=settings.cache_recheck_s,
        )
        self._bases = None
        if settings.check_bases:
            from auditor.audit.base_checks import BaseChecker  # noqa: PLC0415

            self._bases = BaseChecker(
                registries, self._images.content, self._images.resolver
            )
        self._selection = Selection.of(settings, clock.epoch())
        self._counts = ExpansionCounts()
        self._is_expanded = False
        self._deadline = Deadline()
        self._stopping = anyio.Event()
        # A cancel scope costs some 20 us for each reference.
        self._needs_scope = (
            settings.deadline_s is not None or settings.reference_timeout_s is not None
        )
        self._started_s = clock.monotonic()
        self._started_at = clock.epoch()
        self.tally = Tally()
        # The result of an image that `--since` filters out is None.
        self._pool: Pool[InputEntry, Record | None] = Pool(
            workers=registries.workers_of,
            window=settings.window,
            in_order=settings.order is Order.INPUT,
            work=self._work,
            write=self._write_result,
            lane=_registry_name,
            is_listed=_is_listed,
            size_of=record_bytes,
            max_bytes=MAX_WAITING_BYTES,
            spill_folder=spill_folder,
            prepare=self._prefetch_token,
        )

    async def run(self) -> None:
        """Audit everything. Raises an `AuditorError` that stops the whole run."""

        async def expire_after(seconds: float) -> None:
            await self._clock.sleep(seconds)
            self.expire()

        with unwrap_exception_group(), self._own_cache or nullcontext():
            async with anyio.create_task_group() as group:
                if self._settings.deadline_s is not None:
                    group.start_soon(expire_after, self._settings.deadline_s)
                group.start_soon(self._end_when_idle)
                await self._pool.run(self._entries)
                group.cancel_scope.cancel()
        # A part of the input says nothing about the policy.
        is_whole = self._resume_index is None and self._settings.shard is None
        if is_whole and (images := self._images.unnamed_images()) is not None:
            log.warning(
                "no signature was verified: the signature policy names none of the"
                " repositories of %s",
                format_count(images, "image"),
            )

    def stop(self, grace_s: float) -> None:
        """Start nothing more; requests in flight have `grace_s` seconds to finish.

        What waits before it is sent (for a slot, a host, a retry) is not waited for.
        """
        self._registries.limiters.drain()
        self._pool.stop(grace_s)
        self._stopping.set()

    async def _end_when_idle(self) -> None:
        """End the grace of `stop` once no request is in flight."""
        await self._stopping.wait()
        checks = 0
        while checks < _IDLE_CHECKS:
            # The machine's time, as that of the grace.
            await anyio.sleep(_IDLE_CHECK_S)
            checks = checks + 1 if self._registries.limiters.are_idle else 0
        self._pool.stop(0)

    def expire(self) -> None:
        """Reach the deadline: entries without a record become failures.

        Requests in flight are cancelled if the settings have a time limit.
        """
        self._deadline.reach()

    @property
    def has_waiting(self) -> bool:
        """Whether a finished record waits for its turn."""
        return self._pool.has_waiting

    def early_records(self, *, last: bool = False) -> Iterator[Record]:
        """Finished records that wait for their turn: see `Pool.early_results`."""
        return filter(None, self._pool.early_results(last=last))

    def known_references(self) -> tuple[int, bool]:
        """The number of references found so far, and whether these are all."""
        return self._counts.entries, self._is_expanded

    def finished_references(self) -> int:
        """The number of references that are done: those that wait for their turn, too.

        One slow host keeps the records of all others from the report.
        """
        return self.tally.count + self._pool.waiting

    def host_statuses(self) -> list[HostStatus]:
        """The hosts that are waited for."""
        return self._registries.statuses()

    def summary(self) -> Summary:
        """The summary of the run, or of what it has done so far."""
        digest_cache = self._images.content.digest_cache
        resumed = None
        if (index := self._resume_index) is not None:
            is_finished = self._is_expanded and not self._pool.stopped
            not_kept = index.taken + index.replaced
            left_out = index.count - not_kept if is_finished else 0
            resumed = {"kept": index.taken, "left_out": left_out}
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
            unused_logins=self._registries.unused_logins(),
            registries_conf=self._registries.conf.files,
            blobs=self._images.blobs.counts,
            hosts=self._registries.concurrencies(),
            resumed=resumed,
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
            lines = None
            if self._resume_index is not None:
                lines = self._take(self._resume_index, entry)
            if self._positions is not None:
                self._positions.add(self._position, has_record=lines is not None)
            if lines is None:
                yield entry
            else:
                self.tally.add_lines(lines)
        self._is_expanded = True

    def _take(self, index: ResumeIndex, entry: InputEntry) -> bytes | None:
        """The record of the entry in the unfinished report."""
        if not isinstance(entry, ReferenceEntry):
            return index.take(None)
        current = None
        if self._sources is not None:
            current = self._sources.of_reference(
                entry.reference, is_untagged=entry.untagged
            )
        return index.take(str(entry.reference), current)

    def _set_position(self, position: InputPosition) -> None:
        self._position = position

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

    @property
    def _work(self) -> Callable[[InputEntry], Awaitable[Record | None]]:
        """What makes a record, with the steps that the run needs."""
        if self._bases is not None:
            return self._audit_with_bases
        return self._audit_entry if self._sources is None else self._audit

    async def _audit_with_bases(self, entry: InputEntry) -> Record | None:
        record = await self._audit(entry)
        if self._bases is None or not isinstance(record, ImageRecord):
            return record
        # After the image, with a time of its own: a slow base costs no image.
        if not self._needs_scope:
            return await self._bases.check(record)
        with self._deadline.scope(limit_s=self._settings.reference_timeout_s):
            return await self._bases.check(record)
        return self._bases.unfinished(record)

    async def _audit(self, entry: InputEntry) -> Record | None:
        record = await self._audit_entry(entry)
        if self._sources is None or record is None:
            return record
        if isinstance(entry, ReferenceEntry):
            found = self._sources.of_reference(
                entry.reference, is_untagged=entry.untagged
            )
        else:
            found = self._sources.of_rejected(entry)
        return replace(record, **vars(found))

    async def _audit_entry(self, entry: InputEntry) -> Record | None:
        if isinstance(entry, RejectedEntry):
            now = rfc3339(self._clock.epoch())
            return failure_record(entry.text, entry.pattern, entry.failure, now)
        if self._deadline.reached:
            return self._images.failure_record(entry.reference, not_started())
        if not self._needs_scope:
            return await self._audit_reference(entry)
        limit_s = self._settings.reference_timeout_s
        with self._deadline.scope(limit_s=limit_s):
            return await self._audit_reference(entry)
        is_late = self._deadline.reached
        failure = not_finished() if is_late else reference_timed_out(limit_s or 0)
        return self._images.failure_record(entry.reference, failure)

    async def _audit_reference(self, entry: ReferenceEntry) -> Record | None:
        record = await self._images.audit(
            entry.reference,
            is_listed=entry.listed_tag is not None,
            listed_digest=entry.digest,
        )
        if entry.listed_tag is not None and isinstance(record, ImageRecord):
            record = _with_times(record, entry.listed_tag)
        if entry.untagged and isinstance(record, ImageRecord):
            record = replace(record, untagged=True)
        if entry.age_unknown and isinstance(record, ImageRecord):
            is_too_old = self._selection.is_image_too_old(record)
            if is_too_old:
                return None
            if is_too_old is None:
                return replace(record, warnings=(*record.warnings, _AGE_UNKNOWN))
        return record

    async def _write_result(self, result: Record | None) -> None:
        has_record = result is not None
        if self._resume_index is not None:
            self._resume_index.entry_finished(has_record=has_record)
        if self._positions is not None:
            self._positions.entry_finished(has_record=has_record)
        if result is None:
            self.tally.filtered += 1
            return
        await self._write(result)
        self.tally.add(result)


def _with_times(record: ImageRecord, tag: ListedTag) -> ImageRecord:
    """The record of a listed tag, with the times of the listing."""
    if tag.pushed is None and tag.pulled is None:
        return record  # most listings: no copy
    return replace(
        record, pushed_at=_to_second(tag.pushed), pulled_at=_to_second(tag.pulled)
    )


def _to_second(time: datetime | None) -> str | None:
    return None if time is None else rfc3339(time.timestamp())


def _registry_name(entry: InputEntry) -> str | None:
    """The lane of the pool: one for each registry."""
    return entry.reference.registry if isinstance(entry, ReferenceEntry) else None


def _is_listed(entry: InputEntry) -> bool:
    return isinstance(entry, ReferenceEntry) and entry.listed_tag is not None


class _PositionTracker:
    """Reports the input positions of records in the order of the records.

    Entries are added in input order and finish in the order of their records. An entry
    with a record in the resumed report is finished from the start.

    An unfinished entry is one number, 40 bytes: all that wait for a silent host are
    here.
    """

    def __init__(self, report: Callable[[InputPosition], None]) -> None:
        self._report = report
        self._unfinished: deque[int] = deque()

    def add(self, position: InputPosition, *, has_record: bool) -> None:
        """Add the next entry of the input."""
        item, repository = position
        self._unfinished.append(item << 33 | repository << 1 | has_record)
        self._report_resumed()

    def entry_finished(self, *, has_record: bool) -> None:
        """Finish the next entry that had no record when it was added."""
        number = self._unfinished.popleft()
        if has_record:
            self._report(_position(number))
        self._report_resumed()

    def _report_resumed(self) -> None:
        while self._unfinished and self._unfinished[0] & 1:
            self._report(_position(self._unfinished.popleft()))


def _position(number: int) -> InputPosition:
    return number >> 33, number >> 1 & 0xFFFF_FFFF
