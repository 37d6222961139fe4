"""Listings that run ahead of the workers, in the order of the input.

A bounded number of listings runs at once, and each holds at most one unread page, so
the memory does not depend on the size of the registry.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterable
from dataclasses import field
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass
from auditor.input.input_items import InputItem, InputSelector, RejectedEntry
from auditor.input.list_reader import read_in_thread
from auditor.input.listing_cache import ListingCache, ListingTurn
from auditor.input.listings import CatalogEnd, CatalogListing, TagListing, TagPage
from auditor.input.tag_filter import Selection
from auditor.model import InputPosition
from auditor.oci.reference import Reference, RepositoryPattern, TagPattern
from auditor.registry.listing.interface import ListedTag, Page
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

ListEntry = TypeVar("ListEntry")

# A `CatalogListing` is sent at its start; the tag listings of its repositories follow.
Step = InputItem | RejectedEntry | TagListing | CatalogListing | CatalogEnd
# Sent together, in the order of the input.
Steps = list[tuple[InputPosition, Step]]

_INPUT_CUT_OFF = RejectedEntry(
    text="(the rest of the input)",
    place="",
    failure=Failure(
        kind=FailureKind.INTERRUPTED,
        stage=Stage.INPUT,
        detail="the input was not read completely: the run's deadline was reached",
        attempts=0,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
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
    shard: Shard | None = None
    tag_lists: ListingCache[ListedTag] = field(default_factory=ListingCache)
    catalogs: ListingCache[str] = field(default_factory=ListingCache)

    async def run(self, items: Iterable[InputItem]) -> None:
        """Send every step, then close the stream."""
        batches = read_in_thread(items)
        number = 0
        async with self.send:
            while True:
                with self.deadline.scope(INPUT_GRACE_S) as waiting:
                    batch = await anext(batches, None)
                if waiting.cancelled_caught:
                    await self.send.send([((number + 1, 0), _INPUT_CUT_OFF)])
                    return
                if batch is None:
                    return
                number = await self._send_items(batch, number)

    async def _send_items(self, batch: Iterable[InputItem], number: int) -> int:
        """Send the steps of these items; returns the number of the last one."""
        plain: Steps = []
        for item in batch:
            number += 1
            selector = item.selector if isinstance(item, InputSelector) else None
            if isinstance(selector, RepositoryPattern):
                plain = await self._send_all(plain)
                await self._start_catalog(selector, item.place, number)
            elif not self._is_in_shard(selector):
                continue
            elif isinstance(selector, TagPattern):
                plain = await self._send_all(plain)
                await self._start_tag_list(selector, item.place, None, (number, 0))
            else:
                plain.append(((number, 0), item))
                if len(plain) == ITEMS_PER_SEND:
                    plain = await self._send_all(plain)
        await self._send_all(plain)
        return number

    async def _send_all(self, steps: Steps) -> Steps:
        if steps:
            await self.send.send(steps)
        return []

    def _is_in_shard(self, selector: Reference | TagPattern | None) -> bool:
        if self.shard is None:
            return True
        if selector is None:  # a malformed line has no repository
            return self.shard.takes("", "")
        return self.shard.takes(selector.registry, selector.repository)

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
            registry = await self.registries.get(pattern.registry)
            pages = self.tag_lists.pages(
                turn, functools.partial(registry.list_tags, pattern.repository)
            )
            name = f"the tag list of {pattern.repository}"
            async for page in self._until_deadline(pages, name):
                await send_page.send(page)

    async def _start_catalog(
        self, pattern: RepositoryPattern, place: str, item: int
    ) -> None:
        catalog = CatalogListing(pattern, self.selection)
        number = 0
        await self.send.send([((item, number), catalog)])
        registry = await self.registries.get(pattern.registry)
        pages = self.catalogs.pages(
            self.catalogs.turn((pattern.registry, pattern.below)),
            functools.partial(registry.list_repositories, pattern.below),
        )
        failure: Failure | None = None
        name = f"the catalog of {pattern.registry}"
        async for page in self._until_deadline(pages, name):
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
        self, pages: AsyncIterator[Page[ListEntry] | Failure], name: str
    ) -> AsyncIterator[Page[ListEntry] | Failure]:
        """The pages that arrive before the deadline; after it, a failure."""
        while True:
            with self.deadline.scope() as waiting:
                page = await anext(pages, None)
            if waiting.cancelled_caught:
                yield listing_not_finished(name)
                return
            if page is None:
                return
            yield page
