"""Expansion: the items of the input become references, each once, in their order.

`LookAhead` starts the listings of patterns ahead of the workers. A bounded number of
them runs at once, and each holds at most one unread page, so the memory does not depend
on the size of the registry. `expand` turns their pages into references, leaves out
duplicates and counts the listings.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import field
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass
from auditor.input.input_items import (
    ExpansionCounts,
    InputEntry,
    InputItem,
    InputSelector,
    ReferenceEntry,
    RejectedEntry,
)
from auditor.input.list_reader import read_in_thread
from auditor.input.listing_cache import ListingCache, ListingTurn
from auditor.input.listings import CatalogEnd, CatalogListing, TagListing, TagPage
from auditor.input.seen_references import SeenReferences
from auditor.input.tag_filter import Selection
from auditor.model import InputPosition
from auditor.oci.reference import Reference, RepositoryPattern, TagPattern
from auditor.registry.listing.interface import ListedTag
from auditor.registry.registries import Registries
from auditor.report.listing_stats import Listing
from auditor.util.deadline import Deadline, listing_not_finished
from auditor.util.shard import Shard

# Steps that may wait for the workers, and so listings that run at once: as many as the
# default of concurrent requests per registry.
MAX_AHEAD = 8
# Items without a listing are sent together: a switch of tasks for each would cost more
# than everything else that is done for it here.
ITEMS_PER_SEND = 64
# After the deadline, seconds to wait for more input. A file is read in milliseconds; a
# pipe may never end.
INPUT_GRACE_S = 2.0

T = TypeVar("T")

# A `CatalogListing` is sent at its start; the tag listings of its repositories follow.
Step = InputEntry | TagListing | CatalogListing | CatalogEnd
# Sent together, in the order of the input.
Steps = list[tuple[InputPosition, Step]]

_INPUT_CUT_OFF = RejectedEntry(
    text="(the rest of the input)",
    place="",
    failure=Failure(
        kind=FailureKind.INTERRUPTED,
        stage=Stage.INPUT,
        detail="the input was not read to its end: the run's deadline was reached",
        attempts=0,
    ),
)


async def expand(
    items: Iterable[InputItem],
    *,
    registries: Registries,
    group: TaskGroup,
    counts: ExpansionCounts,
    deadline: Deadline,
    selection: Selection,
    shard: Shard | None = None,
    on_position: Callable[[InputPosition], None] | None = None,
) -> AsyncIterator[InputEntry]:
    """The entries of the items, each reference once; `counts` is updated.

    With a `shard`, only the entries of its repositories. `on_position` is called with
    the position of each entry in the whole input. The listings run in `group`;
    cancelling the group ends them. At the deadline, unfinished listings and the input
    end with a failure.
    """
    send, steps = anyio.create_memory_object_stream[Steps](MAX_AHEAD)
    look_ahead = LookAhead(registries, group, send, deadline, selection, shard)
    group.start_soon(look_ahead.run, items)
    with SeenReferences() as seen:

        def is_new(entry: InputEntry, position: InputPosition) -> bool:
            if isinstance(entry, ReferenceEntry) and not seen.add(str(entry.reference)):
                counts.duplicates += 1
                return False
            counts.entries += 1
            if on_position is not None:
                on_position(position)
            return True

        async with steps:
            try:
                async for batch in steps:
                    for position, step in batch:
                        if isinstance(step, ReferenceEntry | RejectedEntry):
                            if step is _INPUT_CUT_OFF:
                                counts.cut_off = True
                            if is_new(step, position):
                                yield step
                            continue
                        async for entry in _entries_of(step, counts):
                            if is_new(entry, position):
                                yield entry
            finally:
                _close_unread(steps)


async def _entries_of(
    step: TagListing | CatalogListing | CatalogEnd, counts: ExpansionCounts
) -> AsyncIterator[InputEntry]:
    match step:
        case TagListing():
            counts.listings.begin(step.listing)
            async with step.pages:
                async for entry in step.entries():
                    yield entry
            counts.listings.end(step.listing, step.catalog)
        case CatalogListing():
            counts.listings.begin(step.listing)
        case CatalogEnd():
            for rejected in step.rejected():
                yield rejected
            counts.listings.end(step.catalog.listing)


def _close_unread(steps: MemoryObjectReceiveStream[Steps]) -> None:
    """Close the tag lists that were not read when the run stops."""
    with suppress(anyio.WouldBlock, anyio.EndOfStream):
        while True:
            for _, step in steps.receive_nowait():
                if isinstance(step, TagListing):
                    step.pages.close()


@dataclass(frozen=True, slots=True)
class LookAhead:
    """Reads items, starts their listings and sends the resulting steps.

    With a shard, repositories of other shards are left out; every catalog is read. At
    the deadline, an unfinished listing ends with a failure and the input with a
    rejected entry.
    """

    registries: Registries
    group: TaskGroup
    send: MemoryObjectSendStream[Steps]
    deadline: Deadline
    selection: Selection
    shard: Shard | None
    tag_lists: ListingCache[ListedTag] = field(default_factory=ListingCache)
    catalogs: ListingCache[str] = field(default_factory=ListingCache)

    async def run(self, items: Iterable[InputItem]) -> None:
        """Send every step, then close the stream."""
        cut_off: list[InputItem] = [_INPUT_CUT_OFF]
        batches = self._until_deadline(read_in_thread(items), cut_off, INPUT_GRACE_S)
        number = 0
        async with self.send:
            async for batch in batches:
                await self._send_items(batch, number + 1)
                number += len(batch)

    async def _send_items(self, batch: list[InputItem], first: int) -> None:
        """Send the steps of these items; `first` is the number of the first one."""
        plain: Steps = []
        for number, item in enumerate(batch, first):
            entry = item.selector if isinstance(item, InputSelector) else item
            if isinstance(entry, RepositoryPattern):
                plain = await self._send_all(plain)
                await self._start_catalog(entry, item.place, number)
            elif not self._is_in_shard(entry):
                continue
            elif isinstance(entry, TagPattern):
                plain = await self._send_all(plain)
                await self._start_tag_list(entry, item.place, None, (number, 0))
            else:
                if not isinstance(entry, RejectedEntry):
                    plain.append(((number, 0), ReferenceEntry(reference=entry)))
                else:
                    plain.append(((number, 0), entry))
                if len(plain) == ITEMS_PER_SEND:
                    plain = await self._send_all(plain)
        await self._send_all(plain)

    async def _send_all(self, steps: Steps) -> Steps:
        if steps:
            await self.send.send(steps)
        return []

    def _is_in_shard(self, entry: Reference | TagPattern | RejectedEntry) -> bool:
        if self.shard is None or entry is _INPUT_CUT_OFF:
            return True
        if isinstance(entry, RejectedEntry):  # a malformed line has no repository
            return self.shard.takes("", "")
        return self.shard.takes(entry.registry, entry.repository)

    async def _start_tag_list(
        self,
        pattern: TagPattern,
        place: str,
        catalog: Listing | None,
        position: InputPosition,
    ) -> None:
        send_page, pages = anyio.create_memory_object_stream[TagPage](1)
        turn = self.tag_lists.turn((pattern.registry, pattern.repository))
        self.group.start_soon(self._list_tags, pattern, turn, send_page)
        tags = TagListing(
            pattern, place, pages, selection=self.selection, catalog=catalog
        )
        try:
            await self.send.send([(position, tags)])
        except BaseException:
            pages.close()  # it has no reader
            raise

    async def _list_tags(
        self,
        pattern: TagPattern,
        turn: ListingTurn[ListedTag],
        send_page: MemoryObjectSendStream[TagPage],
    ) -> None:
        async with send_page:
            pages = self.tag_lists.pages(
                turn,
                functools.partial(
                    self.registries.list_tags, pattern.registry, pattern.repository
                ),
            )
            cut_off = listing_not_finished(f"the tag list of {pattern.repository}")
            async for page in self._until_deadline(pages, cut_off):
                await send_page.send(page)

    async def _start_catalog(
        self, pattern: RepositoryPattern, place: str, item: int
    ) -> None:
        catalog = CatalogListing(pattern, self.selection)
        number = 0
        await self.send.send([((item, number), catalog)])
        pages = self.catalogs.pages(
            self.catalogs.turn((pattern.registry, pattern.below)),
            functools.partial(
                self.registries.list_repositories, pattern.registry, pattern.below
            ),
        )
        failure: Failure | None = None
        cut_off = listing_not_finished(f"the catalog of {pattern.registry}")
        async for page in self._until_deadline(pages, cut_off):
            if isinstance(page, Failure):
                failure = page
                continue
            for repository in catalog.matching(page):
                tags = TagPattern(
                    registry=pattern.registry,
                    repository=repository,
                    pattern=pattern.pattern,
                )
                number += 1
                if self._is_in_shard(tags):
                    await self._start_tag_list(
                        tags, place, catalog.listing, (item, number)
                    )
        shard = self.shard
        end = CatalogEnd(
            catalog=catalog,
            place=place,
            failure=failure,
            is_sharded=shard is not None and shard.of > 1,
            reports_errors=shard is None or shard.takes(pattern.registry, ""),
        )
        await self.send.send([((item, number + 1), end)])

    async def _until_deadline(
        self, parts: AsyncIterator[T], cut_off: T, grace_s: float = 0.0
    ) -> AsyncIterator[T]:
        """The parts that arrive before the deadline; after it, `cut_off`."""
        while True:
            with self.deadline.scope(grace_s) as waiting:
                part = await anext(parts, None)
            if waiting.cancelled_caught:
                yield cut_off
                return
            if part is None:
                return
            yield part
